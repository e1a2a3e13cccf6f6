//! A dump that begins at once: a tree, a level, and a tape of the store; and one that stopped and goes on. Nothing is lost by
//! either, as a dump goes behind what is on the tape.
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
    controller::{images::path_on_tape, schedule::task::Deed},
};

/// How the name of a tape ends.
const ENDING: &str = ".tap";

/// The form, for those who may.
pub fn card(visit: &Visit, status: &Value, tapes: &Value) -> Markup {
    let store = text(status, "store");
    let arrays = list(status, "arrays").iter().map(|array| text(array, "name"));
    html! {
        form.card method="post" action="/tapes/dump" {
            h2 { "New dump" }
            (frame::token(visit))
            div.field {
                label for="what" { "What" }
                select #what name="what" {
                    option value=(store) { "The store: series and arrays" }
                    @for name in arrays { option value={ (store) "/" (path_on_tape(name).display()) } { "Array " (name) } }
                    @if let Some(mount) = status["settings"]["mount"].as_str() { option value=(mount) { "Mounted series" } }
                    option value="" { "Directory" }
                }
            }
            div.field {
                label for="tree" { "Directory" }
                input #tree name="tree" placeholder="/srv/data" autocomplete="off";
                p.hint { "On the controller's machine; one that is named here is dumped in place of the choice above. It is read as the user " strong { (text(status, "user")) } "." }
            }
            div.field {
                label for="level" { "Level" }
                input #level name="level" type="number" min="0" max="31" value="0" required;
                p.hint { "0 takes everything, a higher level what changed since the latest dump of a lower one." }
            }
            div.field {
                label for="tape" { "Tape" }
                input #tape name="tape" list="tapes" placeholder={ "full" (ENDING) } autocomplete="off" required;
                datalist #tapes { @for tape in list(tapes, "tapes") { option value=(text(tape, "name")) {} } }
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
    let tree = form.given("tree").unwrap_or(form.text("what"));
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

/// `POST /tapes/resume`: a dump that stopped goes on.
pub async fn resume(visit: Visit) -> Result<Response, Problem> {
    let context = visit.form().text("context").to_owned();
    let what = format!("let the dump of context {context} go on");
    now(&visit, Role::Operate, &what, Deed::Resume { context }).await
}
