//! How mount(8) runs this program: `mount.fuse.headstack SPEC DIR [-sfnv] [-o OPT,OPT] [-t TYPE] [-N NAMESPACE]`.
//!
//! The program takes this form where its own name begins with `mount.`, which is how mount(8) finds it for the file
//! system type `fuse.headstack` of fstab. It always leaves a daemon behind.

use std::{ffi::OsString, path::PathBuf};

use anyhow::Result;

use super::{Plan, daemon};
use crate::{
    cli::{
        arguments::DatabaseArgument,
        exit::{Code, Failure},
        output,
    },
    mount::options::Options,
};

/// What mount(8) passes on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Call {
    places: Vec<PathBuf>,
    lists: Vec<String>,
    /// `-s`: options that are not known are let pass.
    sloppy: bool,
    /// `-f`: everything but the mount itself.
    fake: bool,
    verbose: bool,
}

/// Mounts as mount(8) asks, with a daemon.
///
/// # Errors
/// As `headstack mount`.
pub(in crate::cli) fn run(arguments: &[OsString]) -> Result<Code> {
    let call = parse(arguments)?;
    output::start_log(if call.verbose {
        log::LevelFilter::Info
    } else {
        log::LevelFilter::Warn
    });
    let lists = if call.sloppy {
        call.lists.iter().map(|list| known(list)).collect()
    } else {
        call.lists
    };
    let Ok([database, mount_point]) = <[PathBuf; 2]>::try_from(call.places) else {
        return Err(wrong("a database and a mount point are needed"));
    };
    let plan = Plan::new(DatabaseArgument::new(database), mount_point, lists, None)?;
    if call.fake {
        return Ok(Code::Success);
    }
    match daemon::start(plan.command()?, &plan.mount_point)? {
        daemon::Started::Ready(_) => Ok(Code::Success),
        daemon::Started::Failed(code) => Ok(code),
    }
}

fn wrong(message: &str) -> anyhow::Error {
    let usage = "'mount.fuse.headstack DB MOUNTPOINT [-sfnv] [-o OPT,OPT]'";
    Failure::new(Code::Usage, format!("mount.fuse.headstack: {message}"), usage).into()
}

fn parse(arguments: &[OsString]) -> Result<Call> {
    let mut call = Call::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let flags = match argument.to_str().and_then(|argument| argument.strip_prefix('-')) {
            Some(flags) if !flags.is_empty() => flags,
            _ => {
                call.places.push(argument.into());
                continue;
            }
        };
        for (i, flag) in flags.char_indices() {
            match flag {
                's' => call.sloppy = true,
                'f' => call.fake = true,
                'v' => call.verbose = true,
                'n' => {}
                'o' | 't' | 'N' => {
                    let inline = flags.get(i + 1..).filter(|value| !value.is_empty()).map(OsString::from);
                    let Some(value) = inline.or_else(|| rest.next().cloned()) else {
                        return Err(wrong(&format!("-{flag} needs a value")));
                    };
                    if flag == 'o' {
                        call.lists.push(value.to_string_lossy().into_owned());
                    }
                    break;
                }
                _ => return Err(wrong(&format!("option -{flag} is unknown"))),
            }
        }
    }
    Ok(call)
}

/// The options of a list that are known.
fn known(list: &str) -> String {
    let known = |option: &&str| option.parse::<Options>().is_ok();
    list.split(',').filter(known).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::{Call, known, parse};
    use crate::cli::exit::Report;

    fn parsed(words: &[&str]) -> Call {
        parse(&words.iter().map(Into::into).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn mount8_syntax_is_understood() {
        let call = parsed(&[
            "/data/db",
            "/mnt",
            "-sfnv",
            "-o",
            "ro,nofail",
            "-t",
            "fuse.headstack",
            "-orw",
        ]);
        let expected = Call {
            places: vec!["/data/db".into(), "/mnt".into()],
            lists: vec!["ro,nofail".into(), "rw".into()],
            sloppy: true,
            fake: true,
            verbose: true,
        };
        assert_eq!(call, expected);
        assert_eq!(
            parsed(&["-o", "ro", "a", "b"]).places.len(),
            2,
            "options may come first"
        );
    }

    #[test]
    fn a_wrong_call_names_the_option() {
        for (words, named) in [(&["a", "b", "-x"][..], "-x"), (&["a", "b", "-o"][..], "-o")] {
            let error = parse(&words.iter().map(Into::into).collect::<Vec<_>>()).unwrap_err();
            let report = Report::of(&error);
            assert_eq!(report.code as u8, 64);
            assert!(report.message.is_some_and(|message| message.contains(named)));
        }
    }

    #[test]
    fn sloppy_drops_what_is_unknown_and_keeps_the_rest() {
        assert_eq!(known("ro,frob=1,uid=5"), "ro,uid=5");
    }
}
