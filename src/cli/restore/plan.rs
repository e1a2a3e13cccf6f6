//! What a restore needs and what of it is missing, told before anything is made.
//!
//! The tapes are read to their end for it, so what they do not hold is known.

use anyhow::Result;

use crate::{
    cli::{
        dump::time_of,
        exit::{Code, Failure},
        output::{Cell, FormOptions, Output},
        reels::tell,
    },
    dump::{
        catalog::scan,
        reader::Reader,
        restore::{Catalogue, Choice, Destination, last_restored, vanishing},
    },
};

/// Tells of a restore of `choice`; `chain` is true where it goes on top of what is there.
///
/// # Errors
/// A volume is missing, the base is, or files are in the way; all of it is told first.
pub(super) fn tell_plan(
    reader: &mut Reader,
    destination: &Destination,
    choice: &Choice,
    chain: bool,
    form: FormOptions,
) -> Result<Code> {
    let label = reader.label().clone();
    let mut names = Catalogue::read(reader)?;
    let listed = names.list();
    reader.rewind()?;
    let scanned = scan(reader)?;
    let damaged = tell(&scanned.troubles);
    let restored = last_restored(destination)?;
    let base_missing = chain && label.base_date_s != 0 && restored != Some(label.base_date_s);
    let removed = match chain && !base_missing {
        true => vanishing(&mut names, destination)?,
        false => Vec::new(),
    };
    let clashes: Vec<_> = listed
        .iter()
        .filter(|(path, target)| !target.is_directory && choice.takes(path) && names.here.contains(target.number))
        .filter(|(path, _)| destination.has(path))
        .collect();
    let clashing = if label.base_date_s == 0 { clashes.len() } else { 0 };
    let time = |date_s: i64| {
        if date_s == 0 {
            Cell::None
        } else {
            Cell::Time(time_of(date_s))
        }
    };
    let text = |bytes: &[u8]| Cell::text(String::from_utf8_lossy(bytes).into_owned());
    let facts = [
        ("level", Cell::Number(u64::try_from(label.label.level).unwrap_or(0))),
        ("date", time(label.date_s)),
        ("base", time(label.base_date_s)),
        ("base_is_restored", Cell::Flag(!base_missing)),
        ("path", text(&label.label.filesystem)),
        ("directory", Cell::path(destination.path())),
        ("blocking_factor", Cell::Number(label.factor.into())),
        ("volumes", Cell::Number(reader.volumes().into())),
        ("objects", Cell::Number(scanned.objects)),
        ("size_bytes", Cell::Bytes(reader.dump_bytes()?)),
        ("clashes", Cell::Number(clashing as u64)),
        ("removed", Cell::Number(removed.len() as u64)),
    ];
    Output::new("restore", form).record(&facts)?;
    check_tapes(reader, base_missing)?;
    for path in &removed {
        log::warn!("{}: is gone from the dump, and would be removed", path.display());
    }
    if clashing > 0 {
        for (path, _) in &clashes {
            log::warn!("{}: would be overwritten", path.display());
        }
        let message = format!("{clashing} files would be overwritten");
        return Err(Failure::new(Code::Exists, message, "another directory, or --rename").into());
    }
    Ok(damaged)
}

/// Refuses a restore that lacks a volume or the base.
fn check_tapes(reader: &Reader, base_missing: bool) -> Result<()> {
    if !reader.is_complete() {
        let message = format!("volume {} of the dump is missing", reader.volumes() + 1);
        return Err(Failure::new(Code::NotFound, message, "again with -f for each volume, in order").into());
    }
    if base_missing {
        let message = format!(
            "level {} needs the dump of its base restored here first",
            reader.label().label.level
        );
        return Err(Failure::new(
            Code::Refused,
            message,
            "the tapes of the chain in the order of their dates",
        )
        .into());
    }
    Ok(())
}
