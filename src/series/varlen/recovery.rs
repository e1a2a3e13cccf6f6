//! Brings the parts of a variable-length series level after a crash.
//!
//! Our writer stores the root last, so parts may be ahead of it; the reference library stores it first, so its last
//! value may lack parts. Both are cut back to the last whole value. What was synced is never cut: if the marks say that
//! it was durable, its loss is damage, and it is named.

use std::{path::Path, sync::Arc};

use super::{VarlenContents, part_bytes};
use crate::series::{Contents, Damage, Error, Result, Timestamp, context::Context, marks::PreviousEnd, part::Part};

/// Cuts parts and root back to the last value that is whole in all of them.
pub(super) fn level(
    context: &Context,
    directory: &Path,
    root: &Part,
    parts: &[Arc<Part>],
    contents: &VarlenContents,
    durable: Option<Timestamp>,
) -> Result<()> {
    let broken = match first_broken(context, contents, durable) {
        Ok(broken) => broken,
        // Damage that is no matter of recovery: readers meet it where it is, and it is not made worse.
        Err(Error::Damaged { path, damage }) => {
            log::error!("{} is damaged: {damage}", path.display());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if let Some((timestamp, before)) = broken {
        if durable.is_some_and(|durable| durable >= timestamp) {
            let error = contents.missing(timestamp, 1);
            log::error!("{error}, which was synced; it is left as it is");
            return Ok(());
        }
        let dropped = root.cut_after(before)?;
        context.recovered(
            directory,
            format!(
                "{dropped} entries from {timestamp} on were cut away, since the value there was never wholly stored"
            ),
        );
    }
    let last = contents.last_timestamp()?;
    if durable > last {
        return Ok(()); // the root lost synced entries: nothing may be cut to match it
    }
    for part in parts {
        if part.contents().last_timestamp()? > last {
            let dropped = part.cut_after(last)?;
            context.recovered(
                &part.directory(),
                format!("{dropped} pieces behind the last whole value were cut away"),
            );
        }
    }
    Ok(())
}

/// The first value behind `durable` that lacks a part, and the timestamp before it. Unless the machine crashed only
/// the last value can.
fn first_broken(
    context: &Context,
    contents: &VarlenContents,
    durable: Option<Timestamp>,
) -> Result<Option<(Timestamp, Option<Timestamp>)>> {
    let Some((from, last)) = last_two(contents.root())? else {
        return Ok(None);
    };
    let crashed = context.previous_end(contents.id()) == PreviousEnd::Crashed;
    let (mut before, mut suspects) = (None, contents.range(from, Timestamp::MAX)?);
    if crashed {
        // Only here entries are counted, which opens every chunk of the root.
        let entries = contents.entries()?;
        let known = durable.map_or(Ok(0), |durable| contents.upper_bound(durable))?;
        let from = known.min(entries.saturating_sub(2));
        before = match from.checked_sub(1) {
            Some(previous) => contents.root().timestamp_of(previous)?,
            None => None,
        };
        suspects = contents.range_by_index(from..entries)?;
    }
    for entry in suspects {
        let entry = entry?;
        match is_whole(contents, entry.timestamp(), entry.len()) {
            Ok(true) => before = Some(entry.timestamp()),
            Ok(false) if crashed || entry.timestamp() == last => return Ok(Some((entry.timestamp(), before))),
            Ok(false) => return Err(contents.missing(entry.timestamp(), 1)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The last timestamp and the one before it, which is looked at too: where several values lack parts, that is damage,
/// and nothing is cut. Where there is but one, it is both.
fn last_two(root: &Contents) -> Result<Option<(Timestamp, Timestamp)>> {
    let Some((chunk, entries)) = root.chunk_at(Timestamp::MAX)? else {
        return Ok(None);
    };
    let last = chunk.timestamp_at(entries - 1)?;
    if let Some(previous) = entries.checked_sub(2) {
        return Ok(Some((chunk.timestamp_at(previous)?, last)));
    }
    let earlier = last.0.checked_sub(1).map(|earlier| root.chunk_at(Timestamp(earlier)));
    Ok(match earlier.transpose()?.flatten() {
        Some((chunk, entries)) => Some((chunk.timestamp_at(entries - 1)?, last)),
        None => Some((last, last)),
    })
}

/// True where every part that a value of `length` bytes needs has a piece at `timestamp`.
fn is_whole(contents: &VarlenContents, timestamp: Timestamp, length: usize) -> Result<bool> {
    let parameters = contents.parameters_now();
    let (mut covered, mut number) = (part_bytes(&parameters, 0), 1);
    while covered < length {
        let found = match contents.part(number) {
            Some(part) => part.contains(timestamp)?,
            None => false,
        };
        if !found {
            return Ok(false);
        }
        covered += part_bytes(&parameters, number);
        number += 1;
    }
    Ok(true)
}

/// All values of `contents` that lack a part, each with the first part that it lacks.
pub(in crate::series) fn incomplete(contents: &VarlenContents) -> Result<Vec<(Timestamp, Damage)>> {
    let parameters = contents.parameters_now();
    let mut found = Vec::new();
    for entry in contents.range(Timestamp::MIN, Timestamp::MAX)? {
        let entry = entry?;
        let (mut covered, mut number) = (part_bytes(&parameters, 0), 1);
        while covered < entry.len() {
            let there = contents
                .part(number)
                .map(|part| part.contains(entry.timestamp()))
                .transpose()?;
            if there != Some(true) {
                let damage = Damage::MissingPart {
                    timestamp: entry.timestamp(),
                    part: number,
                };
                found.push((entry.timestamp(), damage));
                break;
            }
            covered += part_bytes(&parameters, number);
            number += 1;
        }
    }
    Ok(found)
}
