//! Verify and repair: what would be written is said first, for each of the two ways, and only then it begins.
//!
//! What is proven wrong can be mended by whoever may verify. To take the data for right where nobody knows who is writes over
//! what may have been the right bytes: that needs an admin, who types the name of the array.

use axum::{extract::Path, response::Response};
use maud::{Markup, html};
use serde_json::Value;

use super::maintenance::{array_of, begin, check, state_of};
use crate::{
    console::{
        frame,
        users::Role,
        visit::{Problem, Visit},
        words::{list, text},
    },
    controller::{
        Action, ArrayState,
        order::{Mending, Order},
    },
};

/// True where an array can be compared with itself, and what is found mended.
pub fn is_for(array: &Value) -> bool {
    let state = state_of(array);
    let filled = |member: &Value| text(member, "standing") == "in sync";
    let is_whole = list(array, "members").iter().all(filled);
    state.allows(Action::Verify) || state == ArrayState::CriticalInconsistency && is_whole
}

/// The status, where the array of a name is in a state for it.
async fn found(visit: &Visit, name: &str) -> Result<Value, Problem> {
    let (status, array) = array_of(visit, name).await?;
    if !is_for(&array) {
        check(&array, Action::Verify, "Verify")?;
    }
    Ok(status)
}

/// `GET /logical/array/NAME/repair`.
pub async fn page(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    visit.need(Role::Operate)?;
    let status = found(&visit, &name).await?;
    let body = html! {
        h1 { "Verify and repair " (name) }
        p { "All of the array is read and its redundancy is compared with its data, while it is in use. What is found, and what was written, is told on the page of " a href="/event" { "events" } "." }
        (way(&visit, &name, "provable", "Mend what can be proven wrong", html! {
            p { "Written are: sectors that cannot be read, from the redundancy; the one member of a RAID 6 that both parities tell to be wrong; the one copy that most others outvote. Where nobody knows who is right nothing is changed." }
        }))
        @if visit.may(Role::Admin) {
            (way(&visit, &name, "redundancy", "Make redundancy fit the data", html! {
                p { "Beyond that, where nobody knows who is right: the data, or the first copy, are taken for right, and parity and other copies are written over. If they were the right ones, that is lost. Compare with a backup first." }
                label { "Type " strong { (name) } " to go on" input name="typed" autocomplete="off" required; }
            }))
        }
        p { a.button href={ "/logical/array/" (name) } { "Back" } }
    };
    Ok(frame::page(&visit, "Logical", &status, body))
}

fn way(visit: &Visit, name: &str, repair: &str, title: &str, meaning: Markup) -> Markup {
    html! {
        form.card.danger[repair == "redundancy"] method="post" action={ "/logical/array/" (name) "/repair" } {
            h2 { (title) }
            (frame::token(visit))
            input type="hidden" name="repair" value=(repair);
            (meaning)
            p.row { button.primary type="submit" { (title) } }
        }
    }
}

/// `POST /logical/array/NAME/repair`.
pub async fn repair(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let (role, repair) = match visit.form().text("repair") {
        "provable" => (Role::Operate, Mending::Provable),
        "redundancy" => (Role::Admin, Mending::Redundancy),
        _ => return Err(Problem::usage("there is no such repair", "provable or redundancy")),
    };
    visit.need(role)?;
    found(&visit, &name).await?;
    if repair == Mending::Redundancy && visit.form().text("typed").trim() != name {
        return Err(Problem::conflict(
            "the name that was typed is another one; nothing was changed",
            format!("{name}, typed as it is"),
        ));
    }
    begin(&visit, &name, "verify and repair", Order::Verify { repair }).await?;
    Ok(visit.done(&format!("/logical/array/{name}"), "It has begun."))
}
