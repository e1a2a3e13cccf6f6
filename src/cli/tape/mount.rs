//! `headstack tape mount`: a dump as a tree of files that any program reads.
//!
//! The names and places of its objects come from the catalogue, into which the tape is read first where it is not there
//! yet. The verb waits for a daemon, as `headstack mount` does.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    cli::{
        exit::Code,
        mount::{self, daemon},
        output::{self, Cell, JsonOption, Output},
        reels::{StateArgument, TapesArgument, absolute, tell},
    },
    dump::{
        browse::Browser,
        catalog::{Catalog, Entry, Noted, Places, key_of, scan},
        reader::Reader,
    },
    mount::{kernel, session::StopSignals},
    tapefs::session,
};

/// Mount a dump: what is on the tape as files, to look at and to copy, and nothing to be written
///
/// Names and places come from the catalogue; a tape that is not in it is read once first, and noted there. What the tape
/// has lost cannot be read; of an increment only what is on this tape is there. It ends as other mounts do.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack tape mount -f full.tap /mnt
  headstack tape mount -f full.tap -s 2 /mnt
      the second dump on the tape
  headstack umount /mnt")]
pub struct Mount {
    #[command(flatten)]
    tapes: TapesArgument,
    /// Tape file that the dump is in, from 1
    #[arg(short = 's', long = "fileno", value_name = "FILENO", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    file: u32,
    /// Directory to mount on
    #[arg(value_name = "MOUNTPOINT", value_hint = clap::ValueHint::DirPath)]
    mount_point: PathBuf,
    /// Let other users look in
    #[arg(long)]
    allow_other: bool,
    /// Serve the mount in this process instead of a daemon
    #[arg(long)]
    foreground: bool,
    /// Tell the process that waits on standard output when the mount is ready
    #[arg(long, hide = true, requires = "foreground")]
    tell_ready: bool,
    #[command(flatten)]
    state: StateArgument,
    #[command(flatten)]
    json: JsonOption,
}

impl Mount {
    /// Mounts; in the foreground it returns after the mount's end.
    pub(super) fn run(self) -> Result<Code> {
        if !self.tell_ready {
            self.note()?;
        }
        if self.foreground {
            return self.serve();
        }
        let pid = match daemon::start(self.command()?, &self.mount_point)? {
            daemon::Started::Ready(pid) => pid,
            daemon::Started::Failed(code) => return Ok(code),
        };
        let facts = [
            ("tape", Cell::path(self.tapes.first())),
            ("mount_point", Cell::path(&self.mount_point)),
            ("pid", Cell::Number(pid.into())),
        ];
        Output::of_json("tape mount", self.json).facts(&facts)?;
        Ok(Code::Success)
    }

    /// Puts the dump into the catalogue, unless it is there: from the tape's own, or by reading all of it.
    fn note(&self) -> Result<()> {
        let catalog = Catalog::new(self.state.open()?);
        let mut reader = self.tapes.reader(self.file)?.copying();
        if known(&catalog, &reader).is_some() {
            return Ok(());
        }
        let key = key_of(reader.label());
        let told = reader.catalogue()?.into_iter().find(|noted| noted.entry.key == key);
        if let Some(noted) = told {
            return Ok(catalog.add(&noted)?);
        }
        let scanned = scan(&mut reader)?;
        tell(&scanned.troubles);
        Ok(catalog.add(&Noted {
            entry: Entry::of(reader.label(), reader.tapes(), self.file, scanned.objects),
            contents: scanned.contents,
            places: scanned.places,
        })?)
    }

    fn command(&self) -> Result<std::process::Command> {
        let mut command = daemon::program(&["tape", "mount", "--foreground", "--tell-ready"])?;
        self.tapes.pass_on(&mut command);
        command.args(["-s", &self.file.to_string()]);
        self.state.pass_on(&mut command);
        command.args(self.allow_other.then_some("--allow-other"));
        command.arg("--").arg(&self.mount_point);
        Ok(command)
    }

    fn serve(self) -> Result<Code> {
        let mount_point = kernel::absolute(&self.mount_point);
        let source = absolute(self.tapes.first())?;
        let catalog = Catalog::new(self.state.open()?);
        let reader = self.tapes.reader(self.file)?;
        let (mut names, places) = known(&catalog, &reader).context("the catalogue does not know the dump any more")?;
        let browser = Browser::new(&mut names, reader, places)?;
        tell(browser.troubles());
        if self.tell_ready {
            mount::detach()?;
        }
        let signals = StopSignals::catch().context("signals")?;
        let mounted = session::mount(browser, &source, &mount_point, self.allow_other)?;
        if self.tell_ready {
            output::leave_standard_streams(None)?;
        }
        daemon::notify_ready();
        mounted.wait(signals)?;
        Ok(Code::Success)
    }
}

/// The names of a dump and where its files lie, if the catalogue knows both.
fn known(catalog: &Catalog, reader: &Reader) -> Option<(Reader, Places)> {
    let key = key_of(reader.label());
    catalog.contents(&key).zip(catalog.places(&key))
}
