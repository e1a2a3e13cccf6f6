//! What to do about an array that is not well: steps in the controller guide's order, with the real names.
//!
//! The order is: back up, find the disk, put it back or another in, rebuild. Pure: what is known is handed in, by a verb that
//! looks at images or by the controller, which also knows where missing members were.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::raid::{
    Slot,
    discover::{ArraySet, SetMember, Standing},
    health::ArrayState,
};

/// What is known of an array's place, beside what its images say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Where it is served, or would be.
    pub socket: PathBuf,
    /// The directory of its images.
    pub directory: PathBuf,
    /// The store, where a controller takes care of it.
    pub store: Option<PathBuf>,
    /// Where members were that are missing now.
    pub last: BTreeMap<Slot, PathBuf>,
    /// Disks that were unplugged to rehearse.
    pub pulled: Vec<PathBuf>,
    /// Disks that hold nothing.
    pub blank: Vec<PathBuf>,
    /// True where somebody stopped what was being done.
    pub halted: bool,
}

impl Place {
    /// The place of an array whose images nobody takes care of.
    pub fn of(set: &ArraySet, socket: PathBuf) -> Self {
        let first = set.members.first().map(|member| member.image.path());
        let directory = first.as_deref().and_then(Path::parent);
        Self {
            socket,
            directory: directory.unwrap_or(Path::new(".")).to_path_buf(),
            ..Self::default()
        }
    }
}

/// Members that are there but of no use as they are.
fn doubtful(set: &ArraySet) -> impl Iterator<Item = &SetMember> {
    let doubtful = |member: &&SetMember| matches!(member.standing, Standing::Stale | Standing::Failed);
    set.members.iter().filter(doubtful)
}

/// The steps for an array in a state.
pub fn steps(set: &ArraySet, state: ArrayState, place: &Place) -> Vec<String> {
    let advice = Advice { set, state, place };
    match state {
        ArrayState::Disabled => advice.disabled(),
        state if state.is_critical() || state == ArrayState::Rebuilding => advice.critical(),
        ArrayState::Reshaping | ArrayState::Initializing | ArrayState::Verifying if place.store.is_some() => {
            vec![format!("Nothing is to be done but to wait: {}", advice.look())]
        }
        ArrayState::Reshaping | ArrayState::ReshapeStopped | ArrayState::InitializationStopped => vec![advice.go_on()],
        _ => vec!["Nothing is to be done.".to_owned()],
    }
}

/// An array that is to be helped.
struct Advice<'a> {
    set: &'a ArraySet,
    state: ArrayState,
    place: &'a Place,
}

impl Advice<'_> {
    /// A verb on the array, as it has to be typed.
    fn verb(&self, verb: &str, rest: &str) -> String {
        let name = &self.set.name;
        let rest = if rest.is_empty() {
            String::new()
        } else {
            format!(" {rest}")
        };
        format!(
            "headstack array {verb} {name}{rest} --in {}",
            self.place.directory.display()
        )
    }

    /// How one sees what became of it.
    fn look(&self) -> String {
        match &self.place.store {
            Some(store) => format!("headstack status {}", store.display()),
            None => self.verb("show", ""),
        }
    }

    fn go_on(&self) -> String {
        if self.place.store.is_some() {
            return format!("Let the work go on: {}", self.verb("resume", ""));
        }
        let directory = self.place.directory.display();
        format!("Serve it, which goes on with the work: headstack nbd {directory}")
    }

    /// Missing members, each with the place where it was.
    fn missing(&self) -> Vec<String> {
        let of = |slot: &Slot| match self.place.last.get(slot) {
            Some(path) => format!("member {slot} ({})", path.display()),
            None => format!("member {slot}"),
        };
        self.set.missing.iter().map(of).collect()
    }

    fn disabled(&self) -> Vec<String> {
        let (set, missing, directory) = (self.set, self.missing(), self.place.directory.display());
        let mut steps = Vec::new();
        if let Some(refusal) = &set.refusal {
            steps.push(format!(
                "It cannot be started: {refusal}. Nothing is written to its images in this state."
            ));
        }
        let conflicts = set.conflicts.iter();
        steps.extend(conflicts.map(|conflict| format!("Images contradict each other: {conflict}.")));
        steps.extend(doubtful(set).map(|member| {
            let path = member.image.path();
            format!("{} is there but {}.", path.display(), member.standing.name())
        }));
        if !missing.is_empty() {
            steps.push(format!(
                "Put the images of {} back where they were: {directory}.",
                missing.join(" and ")
            ));
        }
        if let Some(store) = &self.place.store {
            let store = store.display();
            steps.push(format!(
                "Let the controller look, which starts the array again: headstack disk rescan --store {store}"
            ));
        }
        steps.push(format!("Look again: {}", self.look()));
        steps.push(format!(
            "If they are lost, restore the data from a backup; to save what is left, copy the images first and serve the \
             copies: headstack nbd --force --read-only {directory}"
        ));
        steps
    }

    fn critical(&self) -> Vec<String> {
        let (name, missing) = (&self.set.name, self.missing());
        let mut steps = vec![format!(
            "Back up the array now, while it can be read: nbdcopy 'nbd+unix:///{name}?socket={}' BACKUP",
            self.place.socket.display()
        )];
        if self.state == ArrayState::Rebuilding {
            steps.push(match self.place.halted {
                true => self.go_on(),
                false => format!("Wait for the rebuild: {}", self.verb("rebuild", "")),
            });
            return steps;
        }
        if self.place.halted {
            steps.push(self.go_on());
            // All places are taken: nothing has to be put back.
            if self.state == ArrayState::CriticalInconsistency {
                steps.push(format!("See that all is well: {}", self.look()));
                return steps;
            }
        }
        if missing.is_empty() && self.set.inconsistent {
            steps.push(format!(
                "A verify found that redundancy does not go with the data, or sectors are lost. Mend what can be proven \
                 wrong: {}",
                self.verb("verify", "--repair")
            ));
            steps.push(format!(
                "Compare what is left of it with your backup; then take the data for right: {}",
                self.verb("verify", "--repair redundancy")
            ));
            return steps;
        }
        if missing.is_empty() {
            steps.push(format!("Make redundancy right: {}", self.verb("rebuild", "")));
            return steps;
        }
        steps.push(self.find(&missing));
        self.replace(&mut steps);
        steps.push(format!(
            "The rebuild begins by itself; wait for it: {}",
            self.verb("rebuild", "")
        ));
        steps.push(format!("See that all is well: {}", self.look()));
        steps
    }

    /// How the disk is found that is missing.
    fn find(&self, missing: &[String]) -> String {
        let gone = missing.join(" and ");
        let Some(store) = self.place.store.as_ref().map(|store| store.display()) else {
            let show = self.verb("show", "");
            return format!("Find the disk: {gone} is missing; its slot shows in {show}");
        };
        match self.set.missing.iter().find_map(|slot| self.place.last.get(slot)) {
            Some(path) => {
                let path = path.display();
                format!(
                    "Find the disk: {gone} is missing; its light: headstack disk identify {path}; what happened to it: \
                     headstack event ls --store {store}"
                )
            }
            None => {
                format!("Find the disk: {gone} is missing; what happened to it: headstack event ls --store {store}")
            }
        }
    }

    /// How the disk that is missing is put back, or another one in its place.
    fn replace(&self, steps: &mut Vec<String>) {
        let mut returning = doubtful(self.set).peekable();
        let came_back = returning.peek().is_some();
        for member in returning {
            let path = member.image.path();
            let (path, word) = (path.display(), member.standing.name());
            steps.push(format!(
                "{path} was a member ({word}). If it is sound, take it back: {}",
                self.verb("add", &path.to_string())
            ));
        }
        let another = match self.place.blank.first() {
            Some(blank) => self.verb("add", &blank.display().to_string()),
            None => format!(
                "headstack disk create {0} --size SIZE; {1}",
                "NEW.img",
                self.verb("add", "NEW.img")
            ),
        };
        let pulled = self
            .place
            .pulled
            .iter()
            .find(|pulled| self.place.last.values().any(|last| last == *pulled));
        let back = match (came_back, pulled, &self.place.store) {
            (true, ..) => format!("If it is not, add another: {another}"),
            (false, Some(pulled), _) => format!(
                "Put it back, which fills it where it missed something: headstack disk insert {}. Or add another: {another}",
                pulled.display()
            ),
            (false, None, Some(store)) => format!(
                "Put it back, which fills it where it missed something: headstack disk rescan --store {}. Or add another: \
                 {another}",
                store.display()
            ),
            (false, None, None) => format!("Put its image back, or add another: {another}"),
        };
        steps.push(back);
    }
}
