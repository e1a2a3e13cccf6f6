//! What verbs that dump share: signals that stop the dump, how far it is, and what is told at its end.
//!
//! The first signal stops the dump in good order, a second one ends the process at once. What a dump keeps of itself stays
//! where it can go on, and is removed where not.

pub mod backup_log;
pub mod source;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use self::{backup_log::Log, source::release};
use super::{
    arguments::size,
    dump::time_of,
    exit::{Code, resumable},
    output::{Cell, Output, Progress, Unit, time_text},
    reels::tell,
};
use crate::{
    dump::{
        context::{Context, Keeper},
        locks::{self, Held},
        writer::{Notice, Order, Summary, Watch},
    },
    storage::Directory,
};

/// Roman numbers of the passes.
const PASSES: [&str; 6] = ["0", "I", "II", "III", "IV", "V"];

/// Memory of this machine, in bytes; `HEADSTACK_MEM` in the environment says otherwise.
pub fn memory_bytes() -> u64 {
    let told = std::env::var("HEADSTACK_MEM").ok().and_then(|text| size(&text).ok());
    told.or_else(|| {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    })
    .unwrap_or(0)
}

/// Takes a place among the dumps and restores that the machine's memory is good for.
///
/// # Errors
/// All are taken.
pub fn session(state: &dyn Directory) -> Result<Held> {
    Ok(locks::session(state, locks::session_limit(memory_bytes()))?)
}

/// The backup log for a dump.
pub fn log_of(state: &dyn Directory, context: &Context) -> Log {
    let id = context.id();
    let number = id.split('-').next().unwrap_or_default();
    Log::open(state.path(), &context.order.path, number)
}

/// Runs a dump that signals stop, and tells how far it is, on standard error and in the log.
///
/// # Errors
/// The dump's.
pub fn watched(
    events: &Log,
    context: Context,
    dump: &mut dyn FnMut(&mut Watch<'_>) -> Result<Summary>,
) -> Result<Summary> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The first in the list ends the process, but only once the second has set the flag.
        flag::register_conditional_default(signal, stop.clone()).context("signals")?;
        flag::register(signal, stop.clone()).context("signals")?;
    }
    if let Some(snapshot) = &context.snapshot {
        events.tell("Snapshot", &snapshot.name);
    }
    let (mut progress, mut open): (_, Option<PathBuf>) = (None, None);
    let notice = &mut |notice: &Notice| match notice {
        Notice::Pass(pass, what) => {
            log::info!("pass {pass}: {what}");
            events.tell("Phase_change", PASSES.get(usize::from(*pass)).unwrap_or(&"?"));
            if let Some(progress) = &mut progress {
                Progress::enter(progress, &format!("pass {pass}"));
            }
        }
        Notice::Base(level, date_s) => {
            events.tell("Base_dump", &format!("Level {level}, {}", time_text(time_of(*date_s))));
        }
        Notice::Volume(tape) => {
            if let Some(before) = open.replace(tape.clone()) {
                events.tell("Tape_close", &before.display().to_string());
            }
            events.tell("Tape_open", &tape.display().to_string());
        }
        Notice::Estimate(blocks) => progress = Some(Progress::new("dump", Unit::Bytes, blocks * 1024, false)),
        Notice::Written(blocks) => {
            if let Some(progress) = &mut progress {
                progress.reach(blocks * 1024);
            }
        }
        Notice::Trouble(trouble) => events.tell("Error", &format!("{}: {}", trouble.path.display(), trouble.what)),
    };
    let result = dump(&mut Watch { notice, stop: &stop });
    if let Some(last) = open {
        events.tell("Tape_close", &last.display().to_string());
    }
    result
}

/// Removes the context of a dump that is done or cannot go on, and its snapshot; what can go on says how.
///
/// # Errors
/// The dump's; the snapshot or the context cannot be removed.
pub fn ended(mut keeper: Keeper, log: &Log, result: Result<Summary>) -> Result<Summary> {
    match result {
        Ok(summary) => {
            log.tell("End", &format!("{} KB", summary.blocks));
            release(&mut keeper)?;
            keeper.remove()?;
            Ok(summary)
        }
        Err(error) => {
            log.tell("Abort", &error.to_string());
            if keeper.context().hindrance(true).is_none() {
                return Err(resumable(&error, &keeper.context().id()));
            }
            release(&mut keeper)?;
            keeper.remove()?;
            Err(error)
        }
    }
}

/// Tells what became of a dump; the code says whether anything is lost.
///
/// # Errors
/// Standard output cannot be written.
pub fn told(output: Output, order: &Order, summary: &Summary) -> Result<Code> {
    let level = order.level;
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
        ("scope", Cell::Json(serde_json::to_value(order.scope)?)),
        ("objects", Cell::Number(summary.objects)),
        ("size_bytes", Cell::Bytes(summary.blocks * 1024)),
        ("volumes", Cell::Number(summary.volumes.into())),
        ("troubles", Cell::Number(losses as u64)),
    ];
    output.done(&sentence, &facts)?;
    Ok(code)
}
