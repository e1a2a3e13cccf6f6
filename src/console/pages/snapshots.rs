//! Snapshots of the store's database: the list on the page of series, and how they are made and removed.
//!
//! A snapshot is a state of all series at one moment, which takes no space but for what is trimmed later. One that a tag
//! holds cannot be removed.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use crate::{
    console::{
        frame,
        users::Role,
        visit::{Problem, Visit},
        words::{count, list, text},
    },
    controller::interface::{Ask, StoreAsk},
};

/// The list, with what may be done.
///
/// # Errors
/// What the controller says.
pub async fn panel(visit: &Visit) -> Result<Markup, Problem> {
    let all = Value::Object(visit.ask_store(StoreAsk::Snapshots).await?);
    Ok(html! {
        section.panel #snapshots {
            h2 { "Snapshots" }
            @if list(&all, "snapshots").is_empty() { p.hint { "There are none." } } @else {
                table.cards {
                    thead { tr { th { "Name" } th { "Made" } th.number { "Series" } th { "Held by" } th {} } }
                    tbody { @for snapshot in list(&all, "snapshots") { (row(visit, snapshot)) } }
                }
            }
            @if visit.may(Role::Operate) {
                form.row.sub method="post" action="/series/snapshot" {
                    (frame::token(visit))
                    label { span.hidden { "Name" } input name="name" placeholder="its name, or the time" autocomplete="off" maxlength="200"; }
                    button type="submit" name="verb" value="create" { "Create Snapshot" }
                }
            }
        }
    })
}

fn row(visit: &Visit, snapshot: &Value) -> Markup {
    let name = text(snapshot, "name");
    let tags: Vec<&str> = list(snapshot, "tags").iter().filter_map(Value::as_str).collect();
    html! {
        tr {
            td data-label="Name" { strong { (name) } }
            td data-label="Made" { (text(snapshot, "created")) }
            td.number data-label="Series" { (count(snapshot["series"].as_u64().unwrap_or(0))) }
            td data-label="Held by" { @if tags.is_empty() { "–" } @else { (tags.join(", ")) } }
            td.actions {
                @if visit.may(Role::Admin) && tags.is_empty() {
                    (frame::button(visit, "/series/snapshot", "Remove", &[("verb", "remove"), ("name", name)]))
                }
            }
        }
    }
}

/// `POST /series/snapshot`.
pub async fn change(visit: Visit) -> Result<Response, Problem> {
    let form = visit.form();
    let name = form.given("name").map(str::to_owned);
    if form.text("verb") == "remove" {
        let name = name.unwrap_or_default();
        let what = format!("removed snapshot {name}");
        let ask = Ask::Store(StoreAsk::RemoveSnapshot { name: name.clone() });
        visit.change(Role::Admin, &what, ask).await?;
        return Ok(visit.done("/series", format!("The snapshot {name} was removed.")));
    }
    let what = format!("made a snapshot {}", name.as_deref().unwrap_or("named for the time"));
    let ask = Ask::Store(StoreAsk::CreateSnapshot { name });
    visit.change(Role::Operate, &what, ask).await?;
    Ok(visit.done("/series", "A snapshot was made."))
}
