//! The command line: one file a verb; `output.rs` is the only place that prints.
//!
//! This file is the tree of verbs and its dispatch. A verb's file holds its arguments and `run`, which gives an exit
//! `Code` or an error; `exit.rs` chooses the code and the words of an error. The help texts written here
//! and in the verbs are also the manual pages (`manual.rs`).

mod arguments;
mod array;
mod completions;
#[cfg(feature = "console")]
mod console;
mod context;
mod copy;
mod disk;
mod doctor;
mod dump;
mod dumpdates;
mod dumping;
mod event;
mod exit;
mod help;
mod images;
mod init;
mod manual;
mod mount;
mod nbd;
mod notify;
mod output;
#[cfg(feature = "console")]
mod passwd;
mod reels;
mod restore;
mod restoring;
mod rmt;
mod sched;
mod series;
mod serve;
mod setting;
mod snapshot;
mod spare;
mod status;
mod store;
mod tape;
mod umount;

use std::{ffi::OsString, path::Path, process::ExitCode};

use anyhow::Result;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use exit::Code;

/// Time series as files, RAID arrays of image files over NBD, dump tapes that any restore reads
#[derive(Debug, Parser)]
#[command(
    name = "headstack",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
#[command(after_help = "\
Examples:
  headstack series create db temperature --block-size 8 --format f64
  headstack mount db /mnt && tail -f /mnt/temperature/text
  headstack array create r5 --level 5 disk0.img disk1.img disk2.img
  headstack array start r5
      prints a URI for qemu, nbdcopy, nbdfuse and the kernel's nbd-client
  headstack dump -0 -u -f full.tap /srv/data
  headstack restore -x -f full.tap -D /srv/new etc/fstab")]
struct Cli {
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(subcommand)]
    verb: Verb,
}

/// How much is told on standard error; `RUST_LOG` overrides it.
#[derive(Debug, Clone, Copy, Args)]
struct Verbosity {
    /// Tell more on standard error; twice for debugging
    #[arg(short, long, action = ArgAction::Count, global = true, display_order = 900)]
    verbose: u8,
    /// Tell nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 901)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Mount(mount::Arguments),
    Umount(umount::Arguments),
    /// Make, read, append to, trim and check time series
    #[command(subcommand)]
    Series(series::Verb),
    /// Make, list, hold and remove frozen states of all series
    #[command(subcommand)]
    Snapshot(snapshot::Verb),
    /// Make, show and keep whole the arrays of images
    #[command(subcommand)]
    Array(array::Verb),
    /// Make and list the images that arrays are made of
    #[command(subcommand)]
    Disk(disk::Verb),
    Nbd(nbd::Arguments),
    Dump(dump::Arguments),
    Restore(restore::Arguments),
    Copy(copy::Arguments),
    /// Make, move, list, check and copy tapes
    #[command(subcommand)]
    Tape(tape::Verb),
    /// List and forget remembered dumps
    #[command(subcommand)]
    Dumpdates(dumpdates::Verb),
    /// List, show, resume and remove dumps that stopped
    #[command(subcommand)]
    Context(context::Verb),
    Rmt(rmt::Arguments),
    Init(init::Arguments),
    Serve(serve::Arguments),
    /// Open the console of a store's controller
    #[cfg(feature = "console")]
    #[command(subcommand)]
    Console(console::Verb),
    #[cfg(feature = "console")]
    Passwd(passwd::Arguments),
    Status(status::Arguments),
    /// Put disks into the spare pool and take them out
    #[command(subcommand)]
    Spare(spare::Verb),
    /// List, follow, download and clear the log of what happened
    #[command(subcommand)]
    Event(event::Verb),
    /// List and change what an operator can choose
    #[command(subcommand)]
    Setting(setting::Verb),
    /// Choose who is told about events, by mail and by a webhook
    #[command(subcommand)]
    Notify(notify::Verb),
    /// Let verifies, dumps and restore drills happen at their time
    #[command(subcommand)]
    Sched(sched::Verb),
    Doctor(doctor::Arguments),
    Help(help::Arguments),
    Completions(completions::Arguments),
    Man(manual::Arguments),
}

/// Verbs under their headings in the help.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Time series", &["mount", "umount", "series", "snapshot"]),
    ("Arrays", &["disk", "array", "nbd"]),
    (
        "Dumps",
        &["dump", "restore", "copy", "tape", "dumpdates", "context", "rmt"],
    ),
    (
        "Controller",
        &[
            "init", "serve", "console", "passwd", "status", "spare", "event", "setting", "notify", "sched",
        ],
    ),
    ("This machine", &["doctor", "help", "completions", "man"]),
];

/// The tree of verbs with its grouped help.
fn command() -> clap::Command {
    let command = Cli::command();
    let mut listing = String::new();
    for (heading, verbs) in GROUPS {
        listing.push_str(&format!("{heading}:\n"));
        for verb in verbs {
            // A program that was built without the console lacks its verbs.
            let Some(known) = command.find_subcommand(verb) else {
                continue;
            };
            let about = known.get_about().cloned().unwrap_or_default();
            listing.push_str(&format!("  {verb:<12} {about}\n"));
        }
        listing.push('\n');
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{listing}Options:\n{{options}}{{after-help}}"
    ))
}

/// Runs the command line of this process and returns its exit code.
pub fn run() -> ExitCode {
    run_arguments(std::env::args_os().collect()).into()
}

fn run_arguments(arguments: Vec<OsString>) -> Code {
    let name = arguments.first().and_then(|name| Path::new(name).file_name()?.to_str());
    if name.is_some_and(|name| name.starts_with("mount.")) {
        return finish(mount::mount8::run(&arguments[1..]));
    }
    let parsed = command()
        .try_get_matches_from(dump::with_levels(arguments))
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => {
            start_log(cli.verbosity);
            finish(cli.verb.run())
        }
        Err(error) => output::usage(&error),
    }
}

fn finish(result: Result<Code>) -> Code {
    result.unwrap_or_else(|error| output::failure(&error))
}

impl Verb {
    fn run(self) -> Result<Code> {
        match self {
            Self::Mount(arguments) => arguments.run(),
            Self::Umount(arguments) => arguments.run(),
            Self::Series(verb) => verb.run(),
            Self::Snapshot(verb) => verb.run(),
            Self::Array(verb) => verb.run(),
            Self::Disk(verb) => verb.run(),
            Self::Nbd(arguments) => arguments.run(),
            Self::Dump(arguments) => arguments.run(),
            Self::Restore(arguments) => arguments.run(),
            Self::Copy(arguments) => arguments.run(),
            Self::Tape(verb) => verb.run(),
            Self::Dumpdates(verb) => verb.run(),
            Self::Context(verb) => verb.run(),
            Self::Rmt(arguments) => arguments.run(),
            Self::Init(arguments) => arguments.run(),
            Self::Serve(arguments) => arguments.run(),
            #[cfg(feature = "console")]
            Self::Console(verb) => verb.run(),
            #[cfg(feature = "console")]
            Self::Passwd(arguments) => arguments.run(),
            Self::Status(arguments) => arguments.run(),
            Self::Spare(verb) => verb.run(),
            Self::Event(verb) => verb.run(),
            Self::Setting(verb) => verb.run(),
            Self::Notify(verb) => verb.run(),
            Self::Sched(verb) => verb.run(),
            Self::Doctor(arguments) => arguments.run(),
            Self::Help(arguments) => arguments.run(),
            Self::Completions(arguments) => arguments.run(),
            Self::Man(arguments) => arguments.run(),
        }
    }
}

fn start_log(verbosity: Verbosity) {
    let level = match verbosity {
        Verbosity { quiet: true, .. } => log::LevelFilter::Error,
        Verbosity { verbose: 0, .. } => log::LevelFilter::Warn,
        Verbosity { verbose: 1, .. } => log::LevelFilter::Info,
        Verbosity { .. } => log::LevelFilter::Debug,
    };
    output::start_log(level);
}

#[cfg(test)]
mod tests {
    use super::{Cli, GROUPS, command};
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_has_a_heading_in_the_help() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, verbs)| verbs.iter().copied()).collect();
        let tree = Cli::command();
        let mut verbs: Vec<&str> = tree.get_subcommands().map(clap::Command::get_name).collect();
        grouped.sort_unstable();
        verbs.sort_unstable();
        assert_eq!(grouped, verbs);
        let help = command().render_help().to_string();
        for (heading, verbs) in GROUPS {
            assert!(help.contains(&format!("{heading}:\n  {}", verbs[0])), "{help}");
        }
    }

    #[test]
    fn every_verb_has_a_summary_and_an_example() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no summary");
            if command.has_subcommands() {
                command.get_subcommands().for_each(|verb| visit(verb, &path));
            } else {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.starts_with("Examples:\n  headstack "), "{path} has no example");
            }
        }
        command().get_subcommands().for_each(|verb| visit(verb, ""));
    }
}
