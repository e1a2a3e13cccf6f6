//! `headstack man`: the manual, a page for every verb.
//!
//! The texts are those of the help. What the help has no room for, the exit status and the files, is added here, the
//! same on every page; the examples after a verb's help become its section EXAMPLES.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use clap_mangen::{
    Man,
    roff::{Inline, Roff, bold, italic, roman},
};

use super::{
    exit::Code,
    output::{Cell, JsonOption, Output},
};

/// Files that the verbs read and write.
const FILES: [(&str, &str); 7] = [
    (
        "DB/NAME/",
        "A series of fixed length: metadata.txt, and chunks named for their first timestamp.",
    ),
    (
        "DB/varlen/NAME/",
        "A variable-length series: root holds the head of each value, 1, 2 and so on the rest.",
    ),
    ("DB/metadata.txt", "Metadata of the database."),
    ("STORE/series/", "The database of a store."),
    ("/dev/fuse", "What a mount talks to the kernel through."),
    (
        "/etc/fuse.conf",
        "Has user_allow_other where other users may see the mounts of unprivileged users.",
    ),
    (
        "/proc/pressure/memory",
        "Tells a mount when to close chunks that nobody reads.",
    ),
];

/// Write the manual pages into a directory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack man ~/.local/share/man/man1
  man headstack-series-append")]
pub struct Arguments {
    /// Directory for the pages; it is made where there is none
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: PathBuf,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Writes the pages.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn run(self) -> Result<Code> {
        let place = || self.directory.display().to_string();
        fs::create_dir_all(&self.directory).with_context(place)?;
        let mut command = super::command();
        command.build();
        let mut pages = Vec::new();
        write_pages(&self.directory, &command, &mut pages)?;
        let path = self.directory.join("mount.fuse.headstack.8");
        fs::write(&path, mount8_page().render()).with_context(|| path.display().to_string())?;
        pages.push(path);
        let facts = [(
            "pages",
            Cell::Json(pages.iter().map(|page| page.to_string_lossy()).collect()),
        )];
        Output::of_json("man", self.json).done(&format!("wrote {} pages into {}", pages.len(), place()), &facts)?;
        Ok(Code::Success)
    }
}

fn write_pages(directory: &Path, command: &clap::Command, pages: &mut Vec<PathBuf>) -> Result<()> {
    let man = Man::new(command.clone());
    let path = directory.join(man.get_filename());
    fs::write(&path, page(command, man)?).with_context(|| path.display().to_string())?;
    pages.push(path);
    command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .try_for_each(|verb| write_pages(directory, verb, pages))
}

/// A verb's page in roff.
fn page(command: &clap::Command, man: Man) -> Result<Vec<u8>> {
    let man = man
        .source(format!("headstack {}", env!("CARGO_PKG_VERSION")))
        .manual("Headstack");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    examples(&mut rest, command);
    exit_status(&mut rest);
    files(&mut rest);
    rest.control("SH", ["SEE ALSO"]);
    rest.text([
        bold("headstack"),
        roman("(1), "),
        bold("mount.fuse.headstack"),
        roman("(8)"),
    ]);
    rest.to_writer(&mut text)?;
    Ok(text)
}

/// The help's examples, as they stand there, and the words that follow them.
fn examples(roff: &mut Roff, command: &clap::Command) {
    let Some(help) = command.get_after_help() else { return };
    let help = help.to_string();
    let (examples, notes) = help.split_once("\n\n").unwrap_or((&help, ""));
    if !notes.is_empty() {
        roff.control("SH", ["NOTES"]);
        roff.text([roman(notes.replace('\n', " "))]);
    }
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in examples.lines().skip(1) {
        let words = line.trim_start();
        roff.text([if line.starts_with("   ") {
            roman(format!("    {words}"))
        } else {
            bold(words)
        }]);
    }
    roff.control("fi", []);
}

/// The page of the name that mount(8) runs the program under.
fn mount8_page() -> Roff {
    let source = format!("headstack {}", env!("CARGO_PKG_VERSION"));
    let mut roff = Roff::new();
    roff.control("TH", ["mount.fuse.headstack", "8", "", &source, "Headstack"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(
        "mount.fuse.headstack - mount a database, as mount(8) and fstab do",
    )]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([
        bold("mount.fuse.headstack"),
        roman(" <DB> <MOUNTPOINT> [-sfnv] [-o OPT,OPT]"),
    ]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "A link to headstack under this name in /sbin lets mount(8) mount databases: it does what headstack mount does, \
         with a daemon. The options of -o are the same.",
    )]);
    roff.control("SH", ["OPTIONS"]);
    item(&mut roff, bold("-s"), "Let options pass that are not known.");
    item(&mut roff, bold("-f"), "Do everything but the mount.");
    item(&mut roff, bold("-v"), "Tell what is mounted.");
    item(
        &mut roff,
        bold("-n"),
        "Nothing: there is no mount table to leave alone.",
    );
    roff.control("SH", ["EXAMPLES"]);
    roff.text([roman("A line of fstab:")]);
    roff.control("PP", []);
    roff.text([bold("/srv/store /mnt fuse.headstack nofail,allow_other 0 0")]);
    exit_status(&mut roff);
    files(&mut roff);
    roff
}

fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in Code::MEANINGS {
        item(roff, bold((code as u8).to_string()), meaning);
    }
}

fn files(roff: &mut Roff) {
    roff.control("SH", ["FILES"]);
    for (path, meaning) in FILES {
        item(roff, italic(path), meaning);
    }
}

fn item(roff: &mut Roff, term: Inline, meaning: &str) {
    roff.control("TP", []);
    roff.text([term]);
    roff.text([roman(meaning)]);
}
