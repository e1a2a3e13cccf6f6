//! `headstack array explain`: what is wrong with an array and what to do, step by step, with its own names.
//!
//! The order is the controller guide's: back up, find the disk, put it back or another in, rebuild.

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    facts::{facts, standing_word, state},
    target::PlaceArguments,
};
use crate::{
    cli::{
        exit::Code,
        images::chosen,
        nbd::default_socket,
        output::{JsonOption, Output},
    },
    controller::Store,
    raid::{
        discover::{ArraySet, SetMember, Standing},
        health::ArrayState,
    },
};

/// Tell what is wrong with an array and which steps bring it back
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array explain r5
  headstack array explain r5 --in disks/")]
pub struct Arguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Prints the steps.
    ///
    /// # Errors
    /// There is no such array.
    pub fn run(self) -> Result<Code> {
        let found = self.place.found(None)?;
        let set = chosen(&found, Some(&self.name))?;
        let live = facts(set)?;
        let state = ArrayState::ALL
            .into_iter()
            .find(|known| live.get("state").and_then(Value::as_str) == Some(known.name()))
            .unwrap_or_else(|| state(set));
        let steps = steps(set, state);
        let output = Output::of_json("array explain", self.json);
        if output.is_json() {
            output.document(Map::from_iter([
                ("name".to_owned(), json!(set.name)),
                ("state".to_owned(), json!(state.name())),
                ("explanation".to_owned(), json!(state.explanation())),
                ("steps".to_owned(), json!(steps)),
            ]))?;
            return Ok(Code::Success);
        }
        output.told(&format!("{}: {}. {}", set.name, state.name(), state.explanation()), &[])?;
        for (number, step) in (1..).zip(&steps) {
            output.told(&format!("{number}. {step}"), &[])?;
        }
        Ok(Code::Success)
    }
}

/// Members that are there but of no use as they are.
fn doubtful(set: &ArraySet) -> impl Iterator<Item = &SetMember> {
    set.members
        .iter()
        .filter(|member| matches!(member.standing, Standing::Stale | Standing::Failed))
}

/// What to do in a state.
pub fn steps(set: &ArraySet, state: ArrayState) -> Vec<String> {
    let name = &set.name;
    let directory = set
        .members
        .first()
        .and_then(|member| Some(member.image.path().parent()?.display().to_string()));
    let directory = directory.unwrap_or_else(|| ".".to_owned());
    let place = format!("--in {directory}");
    let missing: Vec<String> = set.missing.iter().map(|slot| format!("member {slot}")).collect();
    let mut steps = Vec::new();
    match state {
        ArrayState::Disabled => {
            if let Some(refusal) = &set.refusal {
                steps.push(format!(
                    "It cannot be started: {refusal}. Nothing is written to its images in this state."
                ));
            }
            steps.extend(
                set.conflicts
                    .iter()
                    .map(|conflict| format!("Images contradict each other: {conflict}.")),
            );
            steps.extend(doubtful(set).map(|member| {
                let path = member.image.path();
                format!("{} is there but {}.", path.display(), standing_word(member.standing))
            }));
            if !missing.is_empty() {
                steps.push(format!(
                    "Put the images of {} back where they were: {directory}.",
                    missing.join(" and ")
                ));
            }
            steps.push(format!("Look again: headstack array show {name} {place}"));
            steps.push(format!(
                "If they are lost, restore the data from a backup; to save what is left, copy the images first and \
                 serve the copies: headstack nbd --force --read-only {directory}"
            ));
        }
        state if state.is_critical() || state == ArrayState::Rebuilding => {
            critical(set, state, &missing, &place, &mut steps)
        }
        ArrayState::Reshaping | ArrayState::ReshapeStopped | ArrayState::InitializationStopped => {
            steps.push(format!(
                "Serve it, which goes on with the work: headstack nbd {directory}"
            ));
        }
        _ => steps.push("Nothing is to be done.".to_owned()),
    }
    steps
}

fn critical(set: &ArraySet, state: ArrayState, missing: &[String], place: &str, steps: &mut Vec<String>) {
    let name = &set.name;
    let image = set.members.first().map(|member| member.image.path());
    let socket =
        image.map(|image| Store::around(&image).map_or_else(|| default_socket(&image, name), |store| store.socket()));
    let socket = socket.map_or_else(|| "SOCKET".to_owned(), |socket| socket.display().to_string());
    steps.push(format!(
        "Back up the array now, while it can be read: nbdcopy 'nbd+unix:///{name}?socket={socket}' BACKUP"
    ));
    if state == ArrayState::Rebuilding {
        steps.push(format!("Wait for the rebuild: headstack array rebuild {name} {place}"));
        return;
    }
    if missing.is_empty() && set.inconsistent {
        steps.push(format!(
            "A verify found that redundancy does not go with the data, or sectors are lost. Mend what can be proven wrong: \
             headstack array verify {name} --repair {place}"
        ));
        steps.push(format!(
            "Compare what is left of it with your backup; then take the data for right: \
             headstack array verify {name} --repair redundancy {place}"
        ));
        return;
    }
    if missing.is_empty() {
        steps.push(format!("Make redundancy right: headstack array rebuild {name} {place}"));
        return;
    }
    steps.push(format!(
        "Find the disk: {} is missing; its slot shows in headstack array show {name} {place}",
        missing.join(" and ")
    ));
    let mut returning = doubtful(set).peekable();
    if returning.peek().is_some() {
        for member in returning {
            let path = member.image.path();
            let path = path.display();
            steps.push(format!(
                "{path} was a member ({}). If it is sound, take it back: headstack array add {name} {path} {place}",
                standing_word(member.standing)
            ));
        }
        steps.push(format!("If it is not, make another and add that: headstack disk create NEW.img --size SIZE; headstack array add {name} NEW.img {place}"));
    } else {
        steps.push(format!("Put its image back, or make another and add it: headstack disk create NEW.img --size SIZE; headstack array add {name} NEW.img {place}"));
    }
    steps.push(format!(
        "The rebuild begins by itself; wait for it: headstack array rebuild {name} {place}"
    ));
    steps.push(format!("See that all is well: headstack array show {name} {place}"));
}
