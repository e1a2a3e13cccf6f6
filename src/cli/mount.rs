//! `headstack mount`: a database as files.
//!
//! The verb waits for a daemon, which is this program again, started anew before it has threads; in the foreground it
//! serves the mount itself. Both open the database, attach it and hand it to the mount layer ([`session`]).

pub(super) mod daemon;
pub(super) mod mount8;

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};
use clap::Args;

pub(super) use daemon::detach;

use super::{
    arguments::{DatabaseArgument, options_for},
    exit::{Code, Failure},
    output::{self, Cell, JsonOption, Output},
};
use crate::{
    mount::{
        options::{OptionError, Options},
        session::{self, MountRequest, StopSignals},
    },
    series::{Database, Mode},
};

/// Mount a database: its series are directories of files
///
/// It returns when the mount is ready; a daemon serves it until `headstack umount`, umount(8), fusermount3(1) or a
/// signal ends it. Unprivileged users mount through fusermount3. Also as `mount.fuse.headstack`, for mount(8) and
/// fstab: `DB MOUNTPOINT fuse.headstack nofail 0 0`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack mount db /mnt
  headstack mount db /mnt -o ro,allow_other
  headstack mount db /mnt --foreground --log /var/log/headstack.log
      for systemd: Type=notify
  echo '1700000000 21.5' >> /mnt/temperature/text")]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArgument,
    /// Directory to mount on
    #[arg(value_name = "MOUNTPOINT", value_hint = clap::ValueHint::DirPath)]
    mount_point: PathBuf,
    /// Mount options, with commas between them
    #[arg(short, value_name = "OPT,OPT", long_help = options_help())]
    options: Vec<String>,
    /// Serve the mount in this process instead of a daemon
    #[arg(short, long)]
    foreground: bool,
    /// Add what is logged to this file instead of dropping it once the mount is ready
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    log: Option<PathBuf>,
    /// Tell the process that waits on standard output when the mount is ready
    #[arg(long, hide = true, requires = "foreground")]
    tell_ready: bool,
    #[command(flatten)]
    json: JsonOption,
}

/// One mount that is to be made.
#[derive(Debug)]
struct Plan {
    /// Database or store, absolute.
    database: DatabaseArgument,
    /// Mount point, absolute.
    mount_point: PathBuf,
    /// Arguments of `-o` as they were given.
    lists: Vec<String>,
    options: Options,
    log: Option<PathBuf>,
}

impl Arguments {
    /// Mounts; in the foreground it returns after the mount's end.
    ///
    /// # Errors
    /// [`Code::Usage`] for an unknown option; there is no such database or mount point, the database is locked, FUSE is
    /// not usable.
    pub fn run(self) -> Result<Code> {
        let plan = Plan::new(self.database, self.mount_point, self.options, self.log)?;
        if self.foreground {
            return plan.serve(self.tell_ready);
        }
        let daemon = match daemon::start(plan.command()?, &plan.mount_point)? {
            daemon::Started::Ready(daemon) => daemon,
            daemon::Started::Failed(code) => return Ok(code),
        };
        let facts = [
            ("database", Cell::path(&plan.database.path())),
            ("mount_point", Cell::path(&plan.mount_point)),
            ("pid", Cell::Number(daemon.into())),
        ];
        Output::of_json("mount", self.json).facts(&facts)?;
        Ok(Code::Success)
    }
}

impl Plan {
    fn new(database: DatabaseArgument, mount_point: PathBuf, lists: Vec<String>, log: Option<PathBuf>) -> Result<Self> {
        let absolute = |path: PathBuf| std::path::absolute(&path).with_context(|| path.display().to_string());
        let mut options = Options::default();
        for list in &lists {
            options.apply(list).map_err(wrong_option)?;
        }
        Ok(Self {
            database: database.absolute()?,
            mount_point: absolute(mount_point)?,
            lists,
            options,
            log: log.map(absolute).transpose()?,
        })
    }

    /// The daemon that serves it.
    fn command(&self) -> Result<Command> {
        let mut command = daemon::program(&["mount", "--foreground", "--tell-ready"])?;
        for list in &self.lists {
            command.args(["-o", list]);
        }
        if let Some(log) = &self.log {
            command.arg("--log").arg(log);
        }
        command.arg("--").arg(self.database.given()).arg(&self.mount_point);
        Ok(command)
    }

    /// Mounts in this process and serves until the mount's end.
    fn serve(self, tell_ready: bool) -> Result<Code> {
        let Self {
            database,
            mount_point,
            options,
            log,
            ..
        } = self;
        let log = log.map(|path| output::open_log(&path)).transpose()?;
        if tell_ready {
            detach()?;
        }
        let signals = StopSignals::catch().context("signals")?;
        let mode = if options.read_only {
            Mode::ReadOnly
        } else {
            Mode::ReadWrite
        };
        let holder = format!("pid {}, mounted at {}", std::process::id(), mount_point.display());
        let path = database.path();
        let opened = Database::open(&path, options_for(mode, holder))?;
        let request = MountRequest {
            database: path,
            mount_point,
            options,
        };
        let mounted = session::mount(&request, opened)?;
        if tell_ready {
            output::leave_standard_streams(log)?;
        } else if let Some(log) = log {
            output::log_into(&log)?;
        }
        daemon::notify_ready();
        mounted.wait(signals)?;
        Ok(Code::Success)
    }
}

fn wrong_option(error: OptionError) -> anyhow::Error {
    Failure::new(
        Code::Usage,
        error.to_string(),
        "'headstack mount --help' for all of them",
    )
    .into()
}

/// The mount options for the help and the manual.
fn options_help() -> String {
    let mut help = "Mount options, with commas between them:\n".to_owned();
    for (option, what) in Options::described() {
        help.push_str(&format!("\n  {option:<24} {what}"));
    }
    help.push_str("\n\nro, rw, dev, suid, exec, their opposites, and what fstab passes on besides are taken too.");
    help
}
