//! Spare Pool: disks that take the place of members that fail, and disks that could.
//!
//! Both are lists with boxes to tick. A disk that holds something goes in only where the box for that is ticked, too: what
//! it holds is lost when it is used.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::disks;
use crate::{
    console::{
        frame,
        users::Role,
        visit::{Problem, Visit},
        words::list,
    },
    controller::interface::{Ask, StoreAsk},
};

/// `GET /logical/spares`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let in_pool = |disk: &Value| list(&status, "spares").iter().any(|spare| *spare == disk["name"]);
    let pool: Vec<&Value> = list(&status, "disks").iter().filter(|disk| in_pool(disk)).collect();
    let mut free = disks::free(&status);
    free.retain(|disk| !in_pool(disk));
    let body = html! {
        h1 { "Spare Pool" }
        p { "A spare takes the place of the next member that fails, in whichever array it fits, and is rebuilt at once." }
        (form(&visit, "Spare Pool", &pool, "remove", "Remove Spare", "No disk is a spare."))
        (form(&visit, "Available Disks", &free, "add", "Add Spare", "No disk is free."))
        p { a.button href="/logical" { "Logical" } }
    };
    Ok(frame::page(&visit, "Logical", &status, body))
}

fn form(visit: &Visit, title: &str, listed: &[&Value], verb: &str, label: &str, none: &str) -> Markup {
    html! {
        section.panel {
            h2 { (title) }
            @if listed.is_empty() { p.hint { (none) } } @else {
                form method="post" action="/logical/spares" {
                    (frame::token(visit))
                    input type="hidden" name="verb" value=(verb);
                    (disks::ticks(listed, "size_bytes", false))
                    @if verb == "add" {
                        label.tick { input type="checkbox" name="yes" value="1"; "Also disks that hold something, which is lost when they are used" }
                    }
                    @if visit.may(Role::Operate) { button.primary type="submit" { (label) } }
                }
            }
        }
    }
}

/// `POST /logical/spares`.
pub async fn change(visit: Visit) -> Result<Response, Problem> {
    let form = visit.form();
    let (add, yes) = (form.text("verb") == "add", form.ticked("yes"));
    let names: Vec<&str> = form.all("disk").collect();
    if names.is_empty() {
        return Err(Problem::usage("no disk is ticked", "to tick the disks that are meant"));
    }
    for name in &names {
        let ask = Ask::Store(StoreAsk::Spare {
            name: (*name).to_owned(),
            add,
            yes,
        });
        let what = format!("{} spare {name}", if add { "add" } else { "remove" });
        visit.change(Role::Operate, &what, ask).await?;
    }
    let done = if add {
        "in the spare pool now"
    } else {
        "out of the spare pool"
    };
    Ok(visit.done("/logical/spares", format!("{}: {done}.", names.join(", "))))
}
