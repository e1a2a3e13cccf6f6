//! What happened to an array between two looks at it, told as events.
//!
//! Pure: a look gives an [`Observed`], and two of them the events. What began and ended between two looks, such as a
//! rebuild of a moment, is not seen; the next look tells its result.

use std::path::PathBuf;

use super::event::{Event, Level, Name};
use crate::{
    nbd::{Keeper, keeper::Work},
    raid::{Array, health::ArrayState},
};

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// File of the member; none where the slot is empty.
    pub path: Option<PathBuf>,
    /// True where it is not yet filled.
    pub unfilled: bool,
    /// Reads that it failed.
    pub read_errors: u64,
}

/// An array at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ArrayState,
    /// By slot.
    pub seats: Vec<Seat>,
    /// What is done to its redundancy, and how many fifths of it are done.
    pub work: Option<(Work, u64)>,
}

impl Observed {
    /// Looks at an array.
    pub fn of(keeper: &Keeper) -> Self {
        let array: &Array = keeper.array();
        let status = array.status();
        let fifths = |progress: Option<crate::raid::rebuild::Progress>| {
            progress.map_or(0, |progress| {
                let whole = u128::from(progress.whole_bytes.max(1));
                u64::try_from(u128::from(progress.done_bytes) * 5 / whole).unwrap_or(5)
            })
        };
        Self {
            name: status.name,
            state: array.state(),
            seats: status
                .members
                .into_iter()
                .map(|member| Seat {
                    path: member.path,
                    unfilled: member.rebuilt_bytes.is_some(),
                    read_errors: member.read_errors,
                })
                .collect(),
            work: keeper.work().map(|(work, progress)| (work, fifths(progress))),
        }
    }

    /// Files of its members.
    pub fn members(&self) -> impl Iterator<Item = &PathBuf> {
        self.seats.iter().filter_map(|seat| seat.path.as_ref())
    }

    /// Slots without a member.
    pub fn empty_slots(&self) -> impl Iterator<Item = usize> {
        let seats = self.seats.iter().enumerate();
        seats.filter(|(_, seat)| seat.path.is_none()).map(|(slot, _)| slot)
    }

    /// What is told of an array that was not seen before.
    pub fn greeting(&self) -> Vec<Event> {
        let name = &self.name;
        let mut events = vec![Event::new(Name::NewArray, format!("array {name} is in use: {}", self.state)).of(name)];
        let missing: Vec<String> = self.empty_slots().map(|slot| slot.to_string()).collect();
        if !missing.is_empty() {
            let text = format!("array {name} misses member {}", missing.join(" and "));
            events.push(Event::new(Name::DegradedArray, text).of(name));
        }
        events
    }

    /// What happened since an earlier look.
    pub fn since(&self, before: &Self) -> Vec<Event> {
        let mut events = Vec::new();
        self.work_since(before, &mut events);
        for (slot, seat) in self.seats.iter().enumerate() {
            if let Some(old) = before.seats.get(slot) {
                self.seat_since(slot, old, seat, &mut events);
            }
        }
        self.state_since(before, &mut events);
        events
    }

    fn seat_since(&self, slot: usize, before: &Seat, now: &Seat, events: &mut Vec<Event>) {
        let name = &self.name;
        if let Some(lost) = before.path.as_ref().filter(|_| before.path != now.path) {
            let place = lost.display().to_string();
            let event = if before.unfilled {
                Event::new(
                    Name::FailSpare,
                    format!("array {name}: {place} failed while it was filled as member {slot}"),
                )
            } else {
                Event::new(Name::Fail, format!("array {name}: member {slot} failed: {place}"))
            };
            events.push(event.of(name).at(place));
        }
        let Some(path) = &now.path else { return };
        let place = path.display().to_string();
        let same = before.path == now.path;
        if same && before.unfilled && !now.unfilled {
            let text = format!("array {name}: member {slot} is filled: {place}");
            events.push(Event::new(Name::SpareActive, text).of(name).at(&place));
        }
        if same && now.read_errors > before.read_errors {
            let count = now.read_errors - before.read_errors;
            let text = format!("array {name}: {count} reads of member {slot} failed: {place}");
            events.push(Event::new(Name::BadSector, text).of(name).at(&place));
        }
    }

    fn work_since(&self, before: &Self, events: &mut Vec<Event>) {
        let name = &self.name;
        let kind = |work: Option<(Work, u64)>| work.map(|(work, _)| work);
        if let Some((work, fifths)) = before.work.filter(|_| kind(before.work) != kind(self.work)) {
            let text = format!("array {name}: {} ended, over {} %", work.name(), fifths * 20);
            events.push(Event::new(Name::RebuildFinished, text).of(name));
        }
        let Some((work, fifths)) = self.work else { return };
        if kind(before.work) != kind(self.work) {
            let text = format!("array {name}: {} begins", work.name());
            events.push(Event::new(Name::RebuildStarted, text).of(name));
        }
        let told = before
            .work
            .filter(|(old, _)| *old == work)
            .map_or(0, |(_, fifths)| fifths);
        if let Some(event) = Name::of_progress(fifths).filter(|_| fifths > told) {
            let text = format!("array {name}: {} is at {} %", work.name(), fifths * 20);
            events.push(Event::new(event, text).of(name));
        }
    }

    fn state_since(&self, before: &Self, events: &mut Vec<Event>) {
        if self.state == before.state {
            return;
        }
        let name = &self.name;
        let mut tell = |event, text: String| events.push(Event::new(event, text).of(name));
        if before.state == ArrayState::Verifying {
            tell(Name::VerifyFinished, format!("array {name}: the verify ended"));
        }
        match self.state {
            ArrayState::Disabled => tell(
                Name::ArrayDisabled,
                format!("array {name} has too few members left: its data cannot be reached; put the disks back"),
            ),
            ArrayState::Verifying => tell(Name::VerifyStarted, format!("array {name}: a verify begins")),
            ArrayState::CriticalInconsistency => tell(
                Name::Inconsistent,
                format!("array {name}: redundancy does not agree with the data everywhere"),
            ),
            ArrayState::Normal if before.state.is_critical() || before.state >= ArrayState::Rebuilding => {
                tell(Name::ArrayNormal, format!("array {name} works as it should again"));
            }
            _ => {}
        }
    }
}

/// An event about work that failed.
pub fn work_failed(array: &str, reason: &str) -> Event {
    Event::new(Name::WorkFailed, format!("array {array}: {reason}"))
        .of(array)
        .with_level(Level::Warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(path: &str) -> Seat {
        Seat {
            path: Some(path.into()),
            unfilled: false,
            read_errors: 0,
        }
    }

    fn well() -> Observed {
        Observed {
            name: "r5".to_owned(),
            state: ArrayState::Normal,
            seats: vec![seat("a"), seat("b"), seat("c")],
            work: None,
        }
    }

    fn names(events: &[Event]) -> Vec<Name> {
        events.iter().map(|event| event.event).collect()
    }

    /// R25: the life of a failure, in the events of mdadm's monitor.
    #[test]
    fn a_failure_and_its_repair_are_told_in_order() {
        let mut now = well();
        let mut told = Vec::new();
        let mut step = |change: &dyn Fn(&mut Observed)| {
            let before = now.clone();
            change(&mut now);
            told.extend(names(&now.since(&before)));
        };
        step(&|now| {
            now.seats[1].path = None;
            now.state = ArrayState::CriticalMissingDisk;
        });
        step(&|now| {
            now.seats[1] = Seat {
                unfilled: true,
                ..seat("spare")
            };
            now.work = Some((Work::Rebuild, 0));
            now.state = ArrayState::Rebuilding;
        });
        step(&|now| now.work = Some((Work::Rebuild, 1)));
        step(&|now| now.work = Some((Work::Rebuild, 3)));
        step(&|now| now.work = Some((Work::Rebuild, 3)));
        step(&|now| {
            now.work = None;
            now.seats[1].unfilled = false;
            now.state = ArrayState::Normal;
        });
        assert_eq!(
            told,
            [
                Name::Fail,
                Name::RebuildStarted,
                Name::Rebuild20,
                Name::Rebuild60,
                Name::RebuildFinished,
                Name::SpareActive,
                Name::ArrayNormal,
            ]
        );
    }

    /// R50: each cause of a critical array is told with the disk's own path.
    #[test]
    fn failures_name_the_disk() {
        let before = well();
        let mut now = well();
        now.seats[2].read_errors = 2;
        now.seats[0] = Seat {
            path: None,
            ..seat("a")
        };
        now.state = ArrayState::Disabled;
        let events = now.since(&before);
        assert_eq!(names(&events), [Name::Fail, Name::BadSector, Name::ArrayDisabled]);
        assert_eq!(events[0].disk.as_deref(), Some("a"));
        assert_eq!(events[1].disk.as_deref(), Some("c"));
        assert!(events.iter().all(|event| event.array.as_deref() == Some("r5")));
        assert_eq!(names(&now.greeting()), [Name::NewArray, Name::DegradedArray]);
        let filling = Observed {
            seats: vec![Seat {
                unfilled: true,
                ..seat("a")
            }],
            ..well()
        };
        let lost = Observed {
            seats: vec![Seat {
                path: None,
                ..seat("a")
            }],
            ..well()
        };
        assert_eq!(names(&lost.since(&filling)), [Name::FailSpare]);
    }
}
