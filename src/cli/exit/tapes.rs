//! Exit codes and remedies of tapes, dumps and restores.
//!
//! The words of the errors are the engines'; what a script sees and what a person may try next is chosen here.

use super::{Code, Failure, chain_text, code_of_io, judge, remedy_of_io};
use crate::{dump, tape};

/// Code and remedy of an error of a tape.
pub(super) fn judge_tape(error: &tape::Error) -> (Code, Option<String>) {
    use tape::Error;
    let (code, remedy) = match error {
        Error::Io { source, .. } => return (code_of_io(source), remedy_of_io(source)),
        Error::WriteProtected { .. } => (
            Code::NotPermitted,
            "'headstack tape protect --off' on it, or another tape",
        ),
        Error::Full { .. } => (Code::Io, "another tape, or several: -f once for each"),
        Error::BadLength { .. } => (Code::Usage, "another blocking factor"),
        Error::OutOfTape { .. } => (Code::NotFound, "'headstack tape ls' for what is on it"),
        Error::Damaged { .. } => (Code::Corrupt, "'headstack tape rewind', and forward from there"),
        Error::NoVolume { .. } => (Code::NotFound, "again with -f for each volume of the set, in order"),
        Error::Changed { .. } => (Code::Refused, "'headstack context rm', and the dump anew"),
        Error::Exists { .. } => (Code::Exists, "another name"),
    };
    (code, Some(remedy.into()))
}

/// Code and remedy of an error of a dump or a restore.
pub(super) fn judge_dump(error: &dump::Error) -> (Code, Option<String>) {
    use dump::Error;
    let (code, remedy) = match error {
        Error::Tape(error) => return judge_tape(error),
        Error::Tree { source, .. } | Error::State { source, .. } => return (code_of_io(source), remedy_of_io(source)),
        Error::DamagedState { .. } => (Code::Corrupt, "a dump of level 0, which begins a new chain"),
        Error::NoBase { .. } => (Code::Refused, "level 0 with -u, which remembers it as a base"),
        Error::BaselineRequired { .. } => (Code::Refused, "a dump of level 0 with -u, which begins a new chain"),
        Error::BadParameter { .. } => (Code::Usage, "a value in that range"),
        Error::NoDump { .. } => (Code::Corrupt, "'headstack tape ls' for what is on the tape"),
        Error::NoRoom { .. } => (
            Code::Busy,
            "a directory with more room, or --force, which restores as much as fits",
        ),
        Error::Claimed { .. } => (Code::Busy, "again when it is done"),
        Error::Interrupted { .. } => (Code::Busy, "the dump again"),
        Error::NoContext { .. } => (Code::NotFound, "'headstack context ls' for those that are"),
        Error::NotRestartable { .. } => (Code::Refused, "'headstack context rm', and the dump anew"),
        Error::TooManySessions { .. } => (Code::Busy, "again when one of them has ended"),
        Error::Busy { .. } => (Code::Busy, "again when that has ended"),
        Error::WrongTape { .. } => (Code::Refused, "the tapes of the chain in the order of their dates"),
    };
    (code, Some(remedy.into()))
}

/// The error of a dump that can go on where it stopped.
pub fn resumable(error: &anyhow::Error, id: &str) -> anyhow::Error {
    let (code, _) = error.chain().find_map(judge).unwrap_or((Code::Failure, None));
    let no_more = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.downcast_ref::<dump::Error>();
        matches!(cause, Some(dump::Error::Tape(tape::Error::NoVolume { path: None, .. })))
    };
    let more = if error.chain().any(no_more) { " -f TAPE" } else { "" };
    let remedy = format!("'headstack context resume {id}{more}', which goes on where it stopped");
    Failure::new(code, chain_text(error), remedy).into()
}
