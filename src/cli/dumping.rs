//! What verbs that dump share: signals that stop the dump, how far it is, and what is told at its end.
//!
//! The first signal stops the dump in good order, a second one ends the process at once. What a dump keeps of itself stays
//! where it can go on, and is removed where not.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use super::{
    dump::time_of,
    exit::{Code, resumable},
    output::{Cell, Output, Progress, Unit},
    reels::tell,
};
use crate::dump::{
    context::{Context, Keeper, Snapshot},
    writer::{Notice, Summary, Watch},
};

/// Runs a dump that signals stop, and tells how far it is.
///
/// # Errors
/// The dump's.
pub fn watched(dump: &mut dyn FnMut(&mut Watch<'_>) -> Result<Summary>) -> Result<Summary> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The first in the list ends the process, but only once the second has set the flag.
        flag::register_conditional_default(signal, stop.clone()).context("signals")?;
        flag::register(signal, stop.clone()).context("signals")?;
    }
    let mut progress = None;
    let notice = &mut |notice: &Notice| match notice {
        Notice::Pass(pass, what) => {
            log::info!("pass {pass}: {what}");
            if let Some(progress) = &mut progress {
                Progress::enter(progress, &format!("pass {pass}"));
            }
        }
        Notice::Estimate(blocks) => progress = Some(Progress::new("dump", Unit::Bytes, blocks * 1024, false)),
        Notice::Written(blocks) => {
            if let Some(progress) = &mut progress {
                progress.reach(blocks * 1024);
            }
        }
        Notice::Trouble(_) => {}
    };
    dump(&mut Watch { notice, stop: &stop })
}

/// True where the snapshot that a dump reads is there, or it reads none.
pub fn is_there(context: &Context) -> bool {
    let path = |snapshot: &Snapshot| snapshot.volume.join(".snapshot").join(&snapshot.name);
    context.snapshot.as_ref().is_none_or(|snapshot| path(snapshot).is_dir())
}

/// Removes the context of a dump that is done or cannot go on; what can go on says how.
///
/// # Errors
/// The dump's; the context cannot be removed.
pub fn ended(keeper: Keeper, result: Result<Summary>) -> Result<Summary> {
    match result {
        Ok(summary) => {
            keeper.remove()?;
            Ok(summary)
        }
        Err(error) if keeper.context().hindrance(true).is_none() => Err(resumable(&error, &keeper.context().id())),
        Err(error) => {
            keeper.remove()?;
            Err(error)
        }
    }
}

/// Tells what became of a dump; the code says whether anything is lost.
///
/// # Errors
/// Standard output cannot be written.
pub fn told(output: Output, level: u8, summary: &Summary) -> Result<Code> {
    let code = tell(&summary.troubles);
    let losses = summary.troubles.iter().filter(|trouble| trouble.loss).count();
    let sentence = format!(
        "level {level}: {} objects, {} KiB on {} volumes, {losses} troubles",
        summary.objects, summary.blocks, summary.volumes
    );
    let base = summary.base_s.map_or(Cell::None, |base| Cell::Time(time_of(base)));
    let facts = [
        ("level", Cell::Number(level.into())),
        ("date", Cell::Time(time_of(summary.date_s))),
        ("base", base),
        ("objects", Cell::Number(summary.objects)),
        ("size_bytes", Cell::Bytes(summary.blocks * 1024)),
        ("volumes", Cell::Number(summary.volumes.into())),
        ("troubles", Cell::Number(losses as u64)),
    ];
    output.done(&sentence, &facts)?;
    Ok(code)
}
