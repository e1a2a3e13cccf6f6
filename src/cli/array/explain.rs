//! `headstack array explain`: what is wrong with an array and what to do, step by step, with its own names.
//!
//! The order is the controller guide's: back up, find the disk, put it back or another in, rebuild.

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    facts::{facts, state},
    target::PlaceArguments,
};
use crate::{
    cli::{
        exit::Code,
        images::chosen,
        nbd::default_socket,
        output::{JsonOption, Output},
        store::ask_if_running,
    },
    controller::{
        Store,
        explain::{Place, steps, texts},
        interface::StoreAsk,
    },
    raid::{discover::ArraySet, health::ArrayState},
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
        let output = Output::of_json("array explain", self.json);
        let facts = explained(set)?;
        if output.is_json() {
            output.document(facts)?;
            return Ok(Code::Success);
        }
        let word = |key: &str| facts.get(key).and_then(Value::as_str).unwrap_or_default();
        output.told(
            &format!("{}: {}. {}", word("name"), word("state"), word("explanation")),
            &[],
        )?;
        let steps = facts.get("steps").and_then(Value::as_array).into_iter().flatten();
        for (number, step) in (1..).zip(steps.filter_map(Value::as_str)) {
            output.told(&format!("{number}. {step}"), &[])?;
        }
        Ok(Code::Success)
    }
}

/// What the controller says of an array, or what its images do where they have none.
fn explained(set: &ArraySet) -> Result<Map<String, Value>> {
    let name = set.uuid.to_string();
    if let Some(facts) = ask_controller(set, StoreAsk::Explain { name })? {
        return Ok(facts);
    }
    let live = facts(set)?;
    let known = |state: &ArrayState| live.get("state").and_then(Value::as_str) == Some(state.name());
    let state = ArrayState::ALL.into_iter().find(known).unwrap_or_else(|| state(set));
    Ok(Map::from_iter([
        ("name".to_owned(), json!(set.name)),
        ("state".to_owned(), json!(state.name())),
        ("explanation".to_owned(), json!(state.explanation())),
        ("steps".to_owned(), json!(texts(steps(set, state, &place_of(set))))),
    ]))
}

/// The store that the images of an array are in.
pub fn store_of(set: &ArraySet) -> Option<Store> {
    Store::of_images(set.members.first()?.image.directory.path())
}

/// Asks the controller that takes care of an array; none where there is none.
///
/// # Errors
/// What the controller says.
pub fn ask_controller(set: &ArraySet, ask: StoreAsk) -> Result<Option<Map<String, Value>>> {
    store_of(set).map_or(Ok(None), |store| ask_if_running(&store, ask))
}

/// The place of an array that no controller takes care of.
pub fn place_of(set: &ArraySet) -> Place {
    let image = set.members.first().map(|member| member.image.path());
    let socket = store_of(set).map(|store| store.socket());
    let socket = socket.or_else(|| Some(default_socket(&image?, &set.name)));
    Place::of(set, socket.unwrap_or_else(|| "SOCKET".into()))
}
