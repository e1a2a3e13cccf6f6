//! Tests of health: the guide's tables, severity, allowed actions, and walks through events.

use std::collections::BTreeSet;

use super::{Action, ArrayState, DiskState, Event, Facts, SlotState, Work};

/// The guide's first group of icons, in its order.
const DISK_ICONS: [&str; 12] = [
    "Critical – missing disk",
    "Verifying",
    "Rebuilding",
    "Critical – rebuild required",
    "Disabled",
    "Initializing",
    "Uninitialized",
    "Not Initialized",
    "OCE/ORLM",
    "OCE/ORLM has stopped",
    "Legacy",
    "Spare",
];

/// The guide's second group of icons, in its order.
const ARRAY_ICONS: [&str; 12] = [
    "Normal",
    "Initializing",
    "Initialization Stopped",
    "Critical – Inconsistency",
    "Critical – missing disk",
    "Rebuilding",
    "Verifying",
    "Disabled",
    "OCE/ORLM",
    "OCE/ORLM stopped",
    "Critical – OCE/ORLM",
    "Critical – OCE/ORLM - rebuild",
];

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}

/// R57: every icon of the guide's first group has a state, and only a member in sync is added.
#[test]
fn disk_states_are_those_of_the_guide() {
    let names = DiskState::ALL
        .into_iter()
        .filter(|state| *state != DiskState::Normal)
        .map(DiskState::name);
    assert_eq!(sorted(names), sorted(DISK_ICONS));
    let icons: BTreeSet<&str> = DiskState::ALL.iter().map(|state| state.icon()).collect();
    assert_eq!(icons.len(), DiskState::ALL.len());
    assert!(DiskState::ALL.is_sorted());
}

/// R58: every icon of the guide's second group has a state; statuses are the guide's.
#[test]
fn array_states_are_those_of_the_guide() {
    assert_eq!(sorted(ArrayState::ALL.map(ArrayState::name)), sorted(ARRAY_ICONS));
    let icons: BTreeSet<&str> = ArrayState::ALL.iter().map(|state| state.icon()).collect();
    assert_eq!(icons.len(), ArrayState::ALL.len());
    assert!(ArrayState::ALL.is_sorted());
    assert_eq!(ArrayState::Reshaping.status(), "Expanding/Migrating");
    assert_eq!(ArrayState::ReshapeStopped.status(), "Need Expanding/Migrating");
    assert_eq!(ArrayState::InitializationStopped.status(), "Uninitialized");
    let critical = ArrayState::ALL.into_iter().filter(|state| state.is_critical());
    assert!(
        critical
            .clone()
            .all(|state| state.status() == "Critical" && state < ArrayState::Disabled)
    );
    assert_eq!(critical.count(), 4);
}

/// R27, R28, R30: of the guide's menu, each state allows what the guide says.
#[test]
fn actions_are_gated_as_in_the_guide() {
    let menu = [Action::Delete, Action::Verify, Action::Rename, Action::AddDisk];
    let allowed = |state: ArrayState| menu.map(|action| state.allows(action));
    assert_eq!(allowed(ArrayState::Normal), [true, true, true, false]);
    assert_eq!(allowed(ArrayState::CriticalMissingDisk), [true, false, false, true]);
    assert_eq!(allowed(ArrayState::CriticalInconsistency), [true, false, false, true]);
    assert_eq!(ArrayState::Disabled.actions(), [Action::Delete]);
    for state in ArrayState::ALL {
        assert!(state.allows(Action::Delete), "{state}");
        assert!(
            !(state.is_critical() && (state.allows(Action::Verify) || state.allows(Action::Rename))),
            "{state}"
        );
    }
}

fn walk(events: &[(Event, ArrayState)]) -> Facts {
    let mut facts = Facts::default();
    for (event, state) in events {
        facts = facts
            .after(*event)
            .unwrap_or_else(|| panic!("{event:?} was refused at {facts:?}"));
        assert_eq!(ArrayState::of(facts), *state, "after {event:?}");
    }
    facts
}

/// R28, R29, R54: losing a disk, pulling a wrong one, putting it back, rebuilding.
#[test]
fn pulling_the_wrong_disk_is_undone_by_putting_it_back() {
    let lost = Event::MemberLost { readable: true };
    let facts = walk(&[
        (lost, ArrayState::CriticalMissingDisk),
        (Event::MemberLost { readable: false }, ArrayState::Disabled),
    ]);
    assert_eq!(facts.after(Event::MemberAdded), None);
    assert_eq!(facts.after(Event::RebuildStarted), None);
    walk(&[
        (lost, ArrayState::CriticalMissingDisk),
        (Event::MemberLost { readable: false }, ArrayState::Disabled),
        (Event::MemberBack { readable: true }, ArrayState::CriticalMissingDisk),
        (Event::MemberAdded, ArrayState::CriticalInconsistency),
        (Event::RebuildStarted, ArrayState::Rebuilding),
        (Event::RebuildStopped, ArrayState::CriticalInconsistency),
        (Event::RebuildStarted, ArrayState::Rebuilding),
        (Event::RebuildFinished, ArrayState::Normal),
        (Event::VerifyStarted, ArrayState::Verifying),
        (Event::MismatchFound, ArrayState::CriticalInconsistency),
        (Event::VerifyEnded, ArrayState::CriticalInconsistency),
        (Event::MismatchRepaired, ArrayState::Normal),
    ]);
}

/// R58, R59: initialising and reshaping, stopped and resumed, with the loss of a member in the middle.
#[test]
fn initialisation_and_reshape_stop_and_go_on() {
    walk(&[
        (Event::InitializationStarted, ArrayState::Initializing),
        (Event::InitializationStopped, ArrayState::InitializationStopped),
        (Event::InitializationStarted, ArrayState::Initializing),
        (Event::InitializationFinished, ArrayState::Normal),
        (Event::ReshapeStarted, ArrayState::Reshaping),
        (Event::ReshapeStopped, ArrayState::ReshapeStopped),
        (Event::ReshapeStarted, ArrayState::Reshaping),
        (Event::MemberLost { readable: true }, ArrayState::CriticalReshape),
        (Event::MemberAdded, ArrayState::CriticalReshapeRebuild),
        (Event::ReshapeFinished, ArrayState::CriticalInconsistency),
        (Event::RebuildStarted, ArrayState::Rebuilding),
        (Event::RebuildFinished, ArrayState::Normal),
    ]);
}

/// Every facts that events lead to from a healthy array, with at most two members gone and two out of date.
fn reachable() -> BTreeSet<String> {
    let mut states = BTreeSet::new();
    let mut seen = vec![Facts::default()];
    let mut next = 0;
    while let Some(facts) = seen.get(next).copied() {
        next += 1;
        let state = ArrayState::of(facts);
        states.insert(state.name().to_owned());
        for event in Event::ALL {
            let Some(after) = facts.after(event) else { continue };
            check_step(facts, event, after);
            if after.missing <= 2 && after.out_of_date <= 2 && !seen.contains(&after) {
                seen.push(after);
            }
        }
    }
    states
}

/// What no event may do, wherever it happens.
fn check_step(facts: Facts, event: Event, after: Facts) {
    let (before, state) = (ArrayState::of(facts), ArrayState::of(after));
    let context = format!("{facts:?} {event:?}");
    if before == ArrayState::Disabled {
        let back = matches!(event, Event::MemberBack { .. });
        assert!(back || state == ArrayState::Disabled, "{context}");
        assert!(
            event != Event::RebuildStarted && event != Event::MemberAdded,
            "{context}"
        );
    }
    if matches!(event, Event::MemberLost { .. }) {
        assert!(
            state.is_critical() || state == ArrayState::Disabled || facts.rebuilding,
            "{context}"
        );
    }
    if state == ArrayState::Normal {
        assert!(after.is_complete() && !after.inconsistent, "{context}");
    }
    if event == Event::VerifyStarted {
        assert_eq!(
            before,
            if facts.inconsistent { before } else { ArrayState::Normal },
            "{context}"
        );
    }
    let running = |work| work == Work::Running;
    let works = [
        after.rebuilding,
        after.verifying,
        running(after.initialization),
        running(after.reshape),
    ];
    assert!(works.iter().filter(|work| **work).count() <= 1, "{context}");
    assert!(after.readable || works == [false; 4], "{context}");
}

/// R57, R58: events reach every state of the guide, and none breaks a rule.
#[test]
fn every_array_state_is_reached() {
    assert_eq!(
        sorted(reachable()),
        sorted(ArrayState::ALL.map(|state| state.name().to_owned()))
    );
}

/// R57: every state of a member is reached from an array's.
#[test]
fn every_state_of_a_member_is_reached() {
    let slots = [
        SlotState::InSync,
        SlotState::Rebuilding,
        SlotState::OutOfDate,
        SlotState::Missing,
    ];
    let states: BTreeSet<DiskState> = ArrayState::ALL
        .into_iter()
        .flat_map(|array| slots.map(|slot| DiskState::of_member(array, slot)))
        .collect();
    let loose = [DiskState::Spare, DiskState::Legacy, DiskState::NotInitialized];
    let expected: BTreeSet<DiskState> = DiskState::ALL
        .into_iter()
        .filter(|state| !loose.contains(state))
        .collect();
    assert_eq!(states, expected);
    let pulled = DiskState::of_member(ArrayState::Disabled, SlotState::Missing);
    assert_eq!(pulled, DiskState::CriticalMissingDisk);
}
