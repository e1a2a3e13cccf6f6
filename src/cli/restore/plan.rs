//! What a restore needs and what of it is missing, told before anything is made.
//!
//! The tapes are read to their end for it, so what they do not hold is known; or only to the end of the names, which is
//! soon done and tells what would be overwritten.

use std::path::PathBuf;

use anyhow::Result;

use super::options::Look;
use crate::{
    cli::{
        dump::time_of,
        exit::{Code, Failure},
        output::{Cell, FormOptions, Output},
        reels::tell,
    },
    controller::{Store, images::paths_in},
    dump::{
        reader::Reader,
        record::Header,
        restore::{Catalogue, Choice, Destination, last_restored, vanishing},
    },
};

/// Names that a document has of what would be overwritten, at most.
const NAMES_MAX: usize = 100;

/// Tells of a restore of `choice`; `chain` is true where it goes on top of what is there.
///
/// # Errors
/// A volume is missing, the base is, or files are in the way; all of it is told first.
pub(super) fn tell_plan(
    reader: &mut Reader,
    destination: &Destination,
    choice: &Choice,
    chain: bool,
    look: Look,
    form: FormOptions,
) -> Result<Code> {
    let label = reader.label().clone();
    let mut names = Catalogue::read(reader)?;
    let rest = match look {
        Look::All => Some((names.read_rest(reader)?, reader.read_bytes())),
        Look::Names => None,
    };
    let listed = names.list();
    let arrays = match Store::open(destination.path()) {
        Ok(store) => paths_in(&store)?,
        Err(_) => Vec::new(),
    };
    let restored = last_restored(destination)?;
    let base_missing = chain && label.base_date_s != 0 && restored != Some(label.base_date_s);
    let removed = match chain && !base_missing {
        true => vanishing(&mut names, destination)?,
        false => Vec::new(),
    };
    let chosen = || {
        let here = listed.iter().filter(|(_, target)| names.here.contains(target.number));
        here.filter(|(path, _)| choice.takes(path))
    };
    let (objects, size_bytes) = match rest {
        Some((objects, bytes)) => (objects, Cell::Bytes(bytes)),
        None => (chosen().count() as u64, Cell::None),
    };
    let damaged = tell(&names.troubles);
    let clashes: Vec<&PathBuf> = chosen()
        .filter(|(path, target)| !target.is_directory && (destination.has(path) || arrays.contains(path)))
        .map(|(path, _)| path)
        .collect();
    let clashing = if label.base_date_s == 0 { clashes.len() } else { 0 };
    let output = Output::new("restore", form);
    let mut facts = facts_of(&label);
    facts.extend([
        ("base_is_restored", Cell::Flag(!base_missing)),
        ("directory", Cell::path(destination.path())),
        ("volumes", Cell::Number(reader.volumes().into())),
        ("objects", Cell::Number(objects)),
        ("size_bytes", size_bytes),
        ("clashes", Cell::Number(clashing as u64)),
        ("removed", Cell::Number(removed.len() as u64)),
    ]);
    if output.is_json() {
        let names = clashes.iter().take(NAMES_MAX).map(|path| path.to_string_lossy());
        facts.push(("overwritten", Cell::Json(names.collect())));
    }
    output.record(&facts)?;
    check_tapes(reader, look, base_missing)?;
    for path in &removed {
        log::warn!("{}: is gone from the dump, and would be removed", path.display());
    }
    if clashing > 0 {
        for path in &clashes {
            log::warn!("{}: would be overwritten", path.display());
        }
        let message = format!("{clashing} files would be overwritten");
        return Err(Failure::new(Code::Exists, message, "another directory, or --rename").into());
    }
    Ok(damaged)
}

/// What a label tells of its dump.
fn facts_of(label: &Header) -> Vec<(&'static str, Cell)> {
    let time = |date_s: i64| {
        if date_s == 0 {
            Cell::None
        } else {
            Cell::Time(time_of(date_s))
        }
    };
    let path = String::from_utf8_lossy(&label.label.filesystem).into_owned();
    vec![
        ("level", Cell::Number(u64::try_from(label.label.level).unwrap_or(0))),
        ("date", time(label.date_s)),
        ("base", time(label.base_date_s)),
        ("path", Cell::text(path)),
        ("blocking_factor", Cell::Number(label.factor.into())),
    ]
}

/// Refuses a restore that lacks a volume or the base.
fn check_tapes(reader: &Reader, look: Look, base_missing: bool) -> Result<()> {
    if look == Look::All && !reader.is_complete() {
        let message = format!("volume {} of the dump is missing", reader.volumes() + 1);
        return Err(Failure::new(Code::NotFound, message, "again with -f for each volume, in order").into());
    }
    if base_missing {
        let level = reader.label().label.level;
        let message = format!("level {level} needs the dump of its base restored here first");
        let remedy = "the tapes of the chain in the order of their dates";
        return Err(Failure::new(Code::Refused, message, remedy).into());
    }
    Ok(())
}
