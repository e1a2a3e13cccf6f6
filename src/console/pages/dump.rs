//! A dump that begins at once: a tree, a level, and a tape of the store. Nothing is lost by it, as it goes behind what is on
//! the tape.
//!
//! It is a task of the schedule like one that comes at its time, and the controller's user reads the tree.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::{restore::tape_of, runs::now};
use crate::{
    console::{
        frame,
        users::Role,
        visit::{Problem, Visit},
        words::{list, text},
    },
    controller::schedule::task::Deed,
};

/// How the name of a tape ends.
const ENDING: &str = ".tap";

/// The form, for those who may.
pub fn card(visit: &Visit, status: &Value, tapes: &Value) -> Markup {
    let mount = status["settings"]["mount"].as_str();
    let trees = [Some(text(status, "store")), mount];
    html! {
        form.card method="post" action="/tapes/dump" {
            h2 { "New dump" }
            (frame::token(visit))
            div.field {
                label for="tree" { "Tree" }
                input #tree name="tree" list="trees" placeholder="/srv/data" autocomplete="off" required;
                datalist #trees { @for tree in trees.into_iter().flatten() { option value=(tree) {} } }
                p.hint { "A directory of the controller's machine, or the store for its series and arrays. It is read as the user " strong { (text(status, "user")) } "." }
            }
            div.field {
                label for="level" { "Level" }
                input #level name="level" type="number" min="0" max="31" value="0" required;
                p.hint { "0 takes everything, a higher level what changed since the latest dump of a lower one." }
            }
            div.field {
                label for="tape" { "Tape" }
                input #tape name="tape" list="reels" placeholder={ "full" (ENDING) } autocomplete="off" required;
                datalist #reels { @for tape in list(tapes, "tapes") { option value=(text(tape, "name")) {} } }
                p.hint { "One of the store or a new one; the dump goes behind what is on it." }
            }
            p.row { button.primary type="submit" { "Start Dump" } }
        }
    }
}

/// `POST /tapes/dump`.
pub async fn begin(visit: Visit) -> Result<Response, Problem> {
    visit.need(Role::Operate)?;
    let form = visit.form();
    let name = form.text("tape").trim();
    let name = match name.ends_with(ENDING) {
        true => name.to_owned(),
        false => format!("{name}{ENDING}"),
    };
    let tape = tape_of(&visit, &name)?;
    let tree = form.text("tree").trim();
    let level = form.number("level")?.and_then(|level| u8::try_from(level).ok());
    let level = level.ok_or_else(|| Problem::usage("there is no such level", "0 to 31"))?;
    let deed = Deed::Dump {
        source: tree.into(),
        tape,
        levels: vec![level],
    };
    now(
        &visit,
        Role::Operate,
        &format!("began a dump of {tree} to {name}"),
        deed,
    )
    .await
}
