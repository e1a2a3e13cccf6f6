//! Verifying: comparing all redundancy with the data while the array is in use, and repairing what can be proven wrong.
//!
//! The array is cut into runs, which a few threads read and compare ([`compare`]); a run's lanes are held while it is
//! read, so that no write is seen half done. What is wrong is looked at again, alone, and mended ([`mend`]) if the caller
//! wants that. What md calls *check* and *repair* only counts; here is said where, and who is to blame as far as anybody
//! can know. Regions that wait for a resync are resynced first and are no mismatch.

mod compare;
mod mend;
mod report;

#[cfg(test)]
mod tests;

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

pub use report::{LISTED_MAX, Mismatch, Repair, Report, Suspect, Unreadable};

use super::{
    array::{Array, Roster, crew::hands},
    error::{Error, Result},
    geometry::Geometry,
    rebuild::{Ending, Pace, Progress},
};

/// What is compared and blamed at once; md's unit too.
const GRANULE_BYTES: u64 = 4096;

/// Bytes of a member that are read at once, where members are few.
const RUN_BYTES: u64 = 128 << 10;

/// Most bytes that one thread holds of all members.
const HELD_BYTES: u64 = 4 << 20;

/// A verify under way, as its threads see it.
struct Scrub<'a> {
    array: &'a Array,
    geometry: Arc<Geometry>,
    repair: Repair,
    run_bytes: u64,
    runs: u64,
    next: AtomicU64,
}

/// What became of one run.
enum Step {
    /// So many bytes were looked at.
    Done(Report),
    /// A member was lost meanwhile, or the array got another shape, so that nothing can be compared.
    Lost,
}

impl Array {
    /// Compares all redundancy with the data, and repairs as far as `repair` goes. Levels without redundancy are only
    /// read. The array is in use meanwhile.
    ///
    /// # Errors
    /// [`Error::WrongState`] where a member is missing or a verify is under way already, [`Error::ReadOnly`] where repairs
    /// are asked for and cannot be written, [`Error::FlushLost`]; and those of [`Array::resync`], which comes first where
    /// it has to.
    pub fn verify(&self, repair: Repair, pace: Pace<'_>) -> Result<Report> {
        if let Some(report) = self.verify_legs(repair, &mut *pace)? {
            return Ok(report);
        }
        if repair != Repair::Report && self.is_read_only() {
            return Err(Error::ReadOnly {
                array: self.name().to_owned(),
            });
        }
        if self.roster().moving().is_some() {
            return Err(self.wrong_state("it is reshaped; it can be verified after that"));
        }
        if self.roster().is_degraded() {
            return Err(Error::WrongState {
                array: self.name().to_owned(),
                reason: "a member is missing or has to be rebuilt; there is nothing to compare before it is there",
            });
        }
        let _running = self.activity().verifying().ok_or_else(|| Error::WrongState {
            array: self.name().to_owned(),
            reason: "it is being verified already",
        })?;
        let mut report = Report::new();
        let unsynced = self.has_blank() || self.intent().next_unsynced(0).is_some();
        if unsynced && !self.is_read_only() && self.resync(&mut *pace)? == Ending::Stopped {
            report.ending = Ending::Stopped;
            return Ok(report);
        }
        let scrub = Scrub::new(self, repair);
        report.ending = scrub.run_all(&mut report, pace);
        if repair != Repair::Report {
            self.flush()?;
        }
        let report = report.finish();
        let inconsistent = report.unrepaired_bytes > 0;
        if inconsistent || report.ending == Ending::Complete {
            let roster = self.roster();
            let members = roster.members().map(|(_, member)| member);
            self.journal()
                .set_inconsistent(inconsistent, members.filter(|_| !self.is_read_only()));
        }
        Ok(report)
    }
}

impl<'a> Scrub<'a> {
    fn new(array: &'a Array, repair: Repair) -> Self {
        let geometry = array.geometry();
        let most = HELD_BYTES / u64::from(geometry.slots()).max(1);
        let run_bytes = RUN_BYTES.min(most - most % GRANULE_BYTES).max(GRANULE_BYTES);
        let runs = if geometry.stripes() > 0 {
            compare::stripe_runs(&geometry, run_bytes)
        } else {
            geometry.capacity_bytes().div_ceil(run_bytes)
        };
        Self {
            array,
            geometry,
            repair,
            run_bytes,
            runs,
            next: AtomicU64::new(0),
        }
    }

    /// Looks at all runs, by several threads where they can be had.
    fn run_all(&self, report: &mut Report, pace: Pace<'_>) -> Ending {
        let count = hands();
        let (sender, receiver) = mpsc::sync_channel(count);
        thread::scope(|scope| {
            let work = |sender: mpsc::SyncSender<Step>| {
                let mut buffers = Vec::new();
                while let Some(step) = self.step(&mut buffers) {
                    if sender.send(step).is_err() {
                        break;
                    }
                }
            };
            let spawn = |sender| {
                thread::Builder::new()
                    .name("verify".to_owned())
                    .spawn_scoped(scope, move || work(sender))
            };
            let started = (0..count).filter(|_| spawn(sender.clone()).is_ok()).count();
            drop(sender);
            if started > 0 {
                return self.collect(receiver.into_iter(), report, pace);
            }
            let mut buffers = Vec::new();
            self.collect(std::iter::from_fn(|| self.step(&mut buffers)), report, pace)
        })
    }

    /// Takes in what was found until all is done or the caller has enough; what is behind `steps` ends with it.
    fn collect(&self, steps: impl Iterator<Item = Step>, report: &mut Report, pace: Pace<'_>) -> Ending {
        let geometry = &self.geometry;
        let whole_bytes = if geometry.stripes() > 0 {
            geometry.stripes() * geometry.chunk_bytes()
        } else {
            geometry.capacity_bytes()
        };
        for step in steps {
            let Step::Done(found) = step else {
                return Ending::Stopped;
            };
            report.merge(found);
            let done_bytes = report.compared_bytes;
            let told = pace(Progress {
                done_bytes,
                whole_bytes,
            });
            if told == ControlFlow::Break(()) && done_bytes < whole_bytes {
                return Ending::Stopped;
            }
        }
        Ending::Complete
    }

    /// True where all members are there, and the shape is the one that was begun with.
    fn is_comparable(&self, roster: &Roster) -> bool {
        !roster.is_degraded() && Arc::ptr_eq(roster.geometry(), &self.geometry)
    }

    /// Takes the next run and looks at it; none where there is none left.
    fn step(&self, buffers: &mut Vec<Vec<u8>>) -> Option<Step> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.runs {
            return None;
        }
        let step = if self.geometry.stripes() > 0 {
            self.compare_stripes(number, buffers)
        } else {
            self.compare_copies(number, buffers)
        };
        Some(step.map_or(Step::Lost, Step::Done))
    }
}
