//! What to do about an array that is not well: steps in the controller guide's order, with the real names.
//!
//! The order is: back up, find the disk, put it back or another in, rebuild. Pure: what is known is handed in, by a verb that
//! looks at images or by the controller, which also knows where missing members were.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

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
    /// Places that are taken by members which are not filled yet.
    pub taken: Vec<Slot>,
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

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What to do, with the command that does it.
    pub text: String,
    /// The same where there is no command line, as far as it can be done there.
    pub ways: Vec<Way>,
}

/// What a step asks for, of the controller or of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// A dump of the store, which has its arrays in it.
    BackUp,
    /// The log of events.
    Events,
    /// The light of a disk, by its name.
    Identify(String),
    /// A look at the disks.
    Rescan,
    /// A disk put in that was unplugged to rehearse, by its name.
    Insert(String),
    /// A disk for the empty place.
    AddDisk,
    /// Redundancy made right.
    Rebuild,
    /// A verify that repairs.
    Repair,
    /// Work that goes on.
    Resume,
}

impl Step {
    /// The same step with a way to do it.
    fn by(mut self, way: Way) -> Self {
        self.ways.push(way);
        self
    }
}

impl<T: Into<String>> From<T> for Step {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            ways: Vec::new(),
        }
    }
}

/// The texts of steps, for whoever has a command line.
pub fn texts(steps: Vec<Step>) -> Vec<String> {
    steps.into_iter().map(|step| step.text).collect()
}

/// Name of a disk by its path.
fn disk(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Members that are there but of no use as they are.
fn doubtful(set: &ArraySet) -> impl Iterator<Item = &SetMember> {
    let doubtful = |member: &&SetMember| matches!(member.standing, Standing::Stale | Standing::Failed);
    set.members.iter().filter(doubtful)
}

/// The steps for an array in a state.
pub fn steps(set: &ArraySet, state: ArrayState, place: &Place) -> Vec<Step> {
    let advice = Advice { set, state, place };
    match state {
        ArrayState::Disabled => advice.disabled(),
        state if state.is_critical() || state == ArrayState::Rebuilding => advice.critical(),
        ArrayState::Reshaping | ArrayState::Initializing | ArrayState::Verifying if place.store.is_some() => {
            vec![format!("Nothing is to be done but to wait: {}", advice.look()).into()]
        }
        ArrayState::Reshaping | ArrayState::ReshapeStopped | ArrayState::InitializationStopped => vec![advice.go_on()],
        _ => vec!["Nothing is to be done.".into()],
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

    fn go_on(&self) -> Step {
        if self.place.store.is_some() {
            let text = format!("Let the work go on: {}", self.verb("resume", ""));
            return Step::from(text).by(Way::Resume);
        }
        let directory = self.place.directory.display();
        format!("Serve it, which goes on with the work: headstack nbd {directory}").into()
    }

    /// Missing members, each with the place where it was.
    fn missing(&self) -> Vec<String> {
        let of = |slot: &Slot| match self.place.last.get(slot) {
            Some(path) => format!("member {slot} ({})", path.display()),
            None => format!("member {slot}"),
        };
        self.gone().map(of).collect()
    }

    /// Places that nobody has.
    fn gone(&self) -> impl Iterator<Item = &Slot> {
        self.set.missing.iter().filter(|slot| !self.place.taken.contains(slot))
    }

    fn disabled(&self) -> Vec<Step> {
        let (set, missing, directory) = (self.set, self.missing(), self.place.directory.display());
        let mut steps: Vec<Step> = Vec::new();
        if let Some(refusal) = &set.refusal {
            let text = format!("It cannot be started: {refusal}. Nothing is written to its images in this state.");
            steps.push(text.into());
        }
        let conflicts = set.conflicts.iter();
        steps.extend(conflicts.map(|conflict| format!("Images contradict each other: {conflict}.").into()));
        steps.extend(doubtful(set).map(|member| {
            let path = member.image.path();
            format!("{} is there but {}.", path.display(), member.standing.name()).into()
        }));
        if !missing.is_empty() {
            let gone = missing.join(" and ");
            steps.push(format!("Put the images of {gone} back where they were: {directory}.").into());
        }
        if let Some(store) = &self.place.store {
            let store = store.display();
            let text =
                format!("Let the controller look, which starts the array again: headstack disk rescan --store {store}");
            steps.push(Step::from(text).by(Way::Rescan));
        }
        steps.push(format!("Look again: {}", self.look()).into());
        let text = format!(
            "If they are lost, restore the data from a backup; to save what is left, copy the images first and serve the \
             copies: headstack nbd --force --read-only {directory}"
        );
        steps.push(text.into());
        steps
    }

    fn critical(&self) -> Vec<Step> {
        let (name, missing) = (&self.set.name, self.missing());
        let first = format!(
            "Back up the array now, while it can be read: nbdcopy 'nbd+unix:///{name}?socket={}' BACKUP",
            self.place.socket.display()
        );
        let mut steps = vec![Step::from(first).by(Way::BackUp)];
        if self.state == ArrayState::Rebuilding {
            steps.push(match self.place.halted {
                true => self.go_on(),
                false => format!("Wait for the rebuild: {}", self.verb("rebuild", "")).into(),
            });
            return steps;
        }
        if self.place.halted {
            steps.push(self.go_on());
            // All places are taken: nothing has to be put back.
            if missing.is_empty() {
                steps.push(format!("See that all is well: {}", self.look()).into());
                return steps;
            }
        }
        if missing.is_empty() && self.set.inconsistent {
            let (mend, take) = (
                self.verb("verify", "--repair"),
                self.verb("verify", "--repair redundancy"),
            );
            let text = format!(
                "A verify found that redundancy does not go with the data, or sectors are lost. Mend what can be proven \
                 wrong: {mend}"
            );
            steps.push(Step::from(text).by(Way::Repair));
            let text = format!("Compare what is left of it with your backup; then take the data for right: {take}");
            steps.push(Step::from(text).by(Way::Repair));
            return steps;
        }
        if missing.is_empty() {
            let text = format!("Make redundancy right: {}", self.verb("rebuild", ""));
            steps.push(Step::from(text).by(Way::Rebuild));
            return steps;
        }
        steps.push(self.find(&missing));
        self.replace(&mut steps);
        let text = format!(
            "The rebuild begins by itself; wait for it: {}",
            self.verb("rebuild", "")
        );
        steps.push(text.into());
        steps.push(format!("See that all is well: {}", self.look()).into());
        steps
    }

    /// How the disk is found that is missing.
    fn find(&self, missing: &[String]) -> Step {
        let gone = missing.join(" and ");
        let Some(store) = self.place.store.as_ref().map(|store| store.display()) else {
            let show = self.verb("show", "");
            return format!("Find the disk: {gone} is missing; its slot shows in {show}").into();
        };
        match self.gone().find_map(|slot| self.place.last.get(slot)) {
            Some(path) => {
                let text = format!(
                    "Find the disk: {gone} is missing; its light: headstack disk identify {}; what happened to it: \
                     headstack event ls --store {store}",
                    path.display()
                );
                Step::from(text).by(Way::Identify(disk(path))).by(Way::Events)
            }
            None => {
                let text = format!(
                    "Find the disk: {gone} is missing; what happened to it: headstack event ls --store {store}"
                );
                Step::from(text).by(Way::Events)
            }
        }
    }

    /// How the disk that is missing is put back, or another one in its place.
    fn replace(&self, steps: &mut Vec<Step>) {
        let mut returning = doubtful(self.set).peekable();
        let came_back = returning.peek().is_some();
        for member in returning {
            let path = member.image.path();
            let (path, word) = (path.display(), member.standing.name());
            let add = self.verb("add", &path.to_string());
            let text = format!("{path} was a member ({word}). If it is sound, take it back: {add}");
            steps.push(Step::from(text).by(Way::AddDisk));
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
        let first = match (came_back, pulled, &self.place.store) {
            (true, ..) => format!("If it is not, add another: {another}").into(),
            (false, Some(pulled), _) => Step::from(format!(
                "Put it back, which fills it where it missed something: headstack disk insert {}. Or add another: {another}",
                pulled.display()
            ))
            .by(Way::Insert(disk(pulled))),
            (false, None, Some(store)) => Step::from(format!(
                "Put it back, which fills it where it missed something: headstack disk rescan --store {}. Or add another: \
                 {another}",
                store.display()
            ))
            .by(Way::Rescan),
            (false, None, None) => format!("Put its image back, or add another: {another}").into(),
        };
        steps.push(first.by(Way::AddDisk));
    }
}
