//! `ctl`: one command a line, for what no file operation says.
//!
//! Lines are run as they end, in order, until one is refused; a write that holds several says by a short count how far
//! it came.

use super::{Effect, Filesystem, Stale, locks::Held};
use crate::{
    mount::{
        appending::{Appending, Framing},
        errno::{Refusal, Result},
        nodes::{Item, Place},
        view::SeriesView,
    },
    series::{AnySeries, Timestamp},
};

/// Longest line in bytes.
const LINE_MAX_BYTES: u64 = 4096;

/// What one open `ctl` has.
#[derive(Debug)]
pub struct Commands {
    /// The line that is not whole yet.
    line: Appending,
    /// Its series, which a process has for itself as long as this is open.
    locked: Option<Held>,
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            line: Appending::new(Framing::Lines { limit: LINE_MAX_BYTES }),
            locked: None,
        }
    }
}

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    /// Makes everything durable.
    Sync,
    /// Drops whole chunks before a timestamp.
    Trim(Timestamp),
    /// Sets the user's mark.
    Synced(Timestamp),
    /// Syncs and closes chunks that nobody reads.
    Close,
    /// Reads and writes chunks through shared memory, or through descriptors.
    Access { mapped: bool },
    /// Gives the series to a process.
    Lock { process: u32 },
}

fn parse(line: &[u8]) -> Result<Command> {
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let timestamp = |word: &str| word.parse().ok();
    let command = match words.as_slice() {
        ["sync"] => Some(Command::Sync),
        ["trim", before] => timestamp(before).map(Command::Trim),
        ["synced", up_to] => timestamp(up_to).map(Command::Synced),
        ["close"] => Some(Command::Close),
        ["access", "mmap"] => Some(Command::Access { mapped: true }),
        ["access", "descriptor"] => Some(Command::Access { mapped: false }),
        ["lock", process] => process.parse().ok().map(|process| Command::Lock { process }),
        _ => None,
    };
    command.ok_or_else(|| Refusal::BadCommand {
        line: text.trim_end().to_owned(),
    })
}

impl Filesystem {
    /// Takes bytes of `ctl` and runs the lines that are whole; returns how many bytes were taken.
    pub(super) fn write_control(&self, view: &SeriesView, open: &mut Commands, data: &[u8]) -> Result<Effect<usize>> {
        let (mut stale, locked) = (Vec::new(), &mut open.locked);
        let value = open
            .line
            .write(data, &mut |lines| self.run_lines(view, lines, &mut stale, locked))?;
        Ok(Effect::new(value, stale))
    }

    /// Runs a line that lacks its end.
    pub(super) fn finish_control(&self, view: &SeriesView, open: &mut Commands) -> Result<Effect<()>> {
        let (mut stale, locked) = (Vec::new(), &mut open.locked);
        open.line
            .finish(&mut |lines| self.run_lines(view, lines, &mut stale, locked))?;
        Ok(Effect::new((), stale))
    }

    fn run_lines(
        &self,
        view: &SeriesView,
        lines: &[u8],
        stale: &mut Vec<Stale>,
        locked: &mut Option<Held>,
    ) -> (usize, Result<()>) {
        let mut done = 0;
        for line in lines.split_inclusive(|&b| b == b'\n') {
            match parse(line).and_then(|command| self.run(view, command, locked)) {
                Ok(more) => stale.extend(more),
                Err(error) => return (done, Err(error)),
            }
            done += line.len();
        }
        (done, Ok(()))
    }

    fn run(&self, view: &SeriesView, command: Command, locked: &mut Option<Held>) -> Result<Vec<Stale>> {
        let series = view.live().ok_or(Refusal::Frozen)?;
        match command {
            Command::Sync => self.sync_series(view)?,
            Command::Trim(before) => return self.trim(view, before).map(|done| done.stale),
            Command::Synced(up_to) => {
                mark_synced(series, up_to)?;
                return Ok(self.all_stale(view.node(), Stale::Attributes));
            }
            Command::Close => {
                self.sync_series(view)?;
                match series {
                    AnySeries::Fixed(series) => series.close_chunks(),
                    AnySeries::Varlen(series) => series.close_chunks(),
                };
            }
            Command::Lock { process } => *locked = Some(self.lock_series(view, process)?),
            Command::Access { mapped } => {
                match (series, mapped) {
                    (AnySeries::Fixed(series), true) => series.enable_mmap()?,
                    (AnySeries::Fixed(series), false) => series.disable_mmap()?,
                    (AnySeries::Varlen(series), true) => series.enable_mmap()?,
                    (AnySeries::Varlen(series), false) => series.disable_mmap()?,
                }
                return Ok(self.all_stale(view.node(), Stale::Attributes));
            }
        }
        Ok(Vec::new())
    }

    /// Drops whole chunks that end before a timestamp; returns how many.
    pub(super) fn trim(&self, view: &SeriesView, before: Timestamp) -> Result<Effect<usize>> {
        let series = view.live().ok_or(Refusal::Frozen)?;
        let dropped = view.renumber(|| {
            Ok(match series {
                AnySeries::Fixed(series) => series.trim(before)?,
                AnySeries::Varlen(series) => series.trim(before)?,
            })
        })?;
        if dropped == 0 {
            return Ok(0.into());
        }
        let mut stale = Vec::new();
        for (node, place) in self.nodes.of_series(view.node()) {
            let Place::Series(_, item) = place else { continue };
            match item {
                Item::Chunk { part, first } if !view.has_chunk(part, first) => stale.extend(self.gone(node, place)),
                Item::ChunkText { first } if !view.has_chunk(0, first) => stale.extend(self.gone(node, place)),
                // Chunks that stay are as they were.
                Item::Chunk { .. } | Item::ChunkText { .. } => {}
                // Everything else is counted from the oldest entry, which is another one now.
                _ => stale.push(Stale::Contents(node)),
            }
        }
        Ok(Effect::new(dropped, stale))
    }

    /// What is stale when a chunk is gone: its attributes, so that the kernel asks and hears of it, and its name.
    fn gone(&self, node: u64, place: Place) -> impl Iterator<Item = Stale> {
        let directory = self.nodes.number(place.parent());
        let name = directory.zip(super::lookup::name_of_chunk_file(place));
        let name = name.map(|(directory, name)| Stale::Name(directory, name));
        std::iter::once(Stale::Attributes(node)).chain(name)
    }
}

/// Sets the user's mark.
pub(super) fn mark_synced(series: &AnySeries, up_to: Timestamp) -> Result<()> {
    match series {
        AnySeries::Fixed(series) => series.mark_synced_up_to(up_to)?,
        AnySeries::Varlen(series) => series.mark_synced_up_to(up_to)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood() {
        assert_eq!(parse(b"sync\n").unwrap(), Command::Sync);
        assert_eq!(
            parse(b" trim  18446744073709551615 \n").unwrap(),
            Command::Trim(Timestamp::MAX)
        );
        assert_eq!(parse(b"synced 0").unwrap(), Command::Synced(Timestamp(0)));
        assert_eq!(
            parse(b"access descriptor\n").unwrap(),
            Command::Access { mapped: false }
        );
        assert_eq!(parse(b"lock 4711\n").unwrap(), Command::Lock { process: 4711 });
        for bad in [
            "", "\n", "lock", "lock x", "lock -1", "trim", "trim x", "trim 1 2", "sync now", "halt", "\u{0}",
        ] {
            assert!(
                matches!(parse(bad.as_bytes()), Err(Refusal::BadCommand { .. })),
                "{bad:?}"
            );
        }
    }
}
