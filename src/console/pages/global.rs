//! Global View: what is wrong first, with what to do about it; then arrays, disks and the last events.
//!
//! It is the first page: whoever opens it sees at once whether something has to be done, and what. It keeps itself up to
//! date.

use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize as _;
use serde_json::Value;

use super::{logical, runs};
use crate::{
    console::{
        frame, icons,
        users::Role,
        visit::{Problem, Visit},
        words::{duration, file_name, list, size, size_of, text},
    },
    controller::{Action, ArrayState, explain::Way},
};

/// `GET /`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let body = frame::live(
        &visit,
        html! {
            h1 { "Global View" }
            (troubles(&visit, &status))
            (runs::under_way(&visit, &status))
            section.panel {
                h2 { "Logical Device Information" }
                (logical::table(&status))
            }
            section.panel {
                h2 { "Physical Device Information" }
                (disks(&status))
            }
            section.panel {
                h2 { "Last events" a.more href="/event" { "All events" } }
                ul.events { @for event in list(&status, "events") { li { (event.as_str().unwrap_or_default()) } } }
            }
            p.hint {
                "Store " code { (text(&status, "store")) } " · running for " (duration(status["seconds"].as_u64().unwrap_or(0)))
            }
        },
    );
    Ok(frame::page(&visit, "Global View", &status, body))
}

/// What is not well, the worst first: the controller explains each array that is not, with the steps that bring it back.
fn troubles(visit: &Visit, status: &Value) -> Markup {
    let mut advice: Vec<&Value> = list(status, "advice").iter().collect();
    advice.sort_by_key(|advice| std::cmp::Reverse(icons::array_state(text(advice, "state"))));
    let lost: Vec<&str> = list(status, "disks")
        .iter()
        .filter(|disk| disk["pulled"] == true)
        .map(|disk| text(disk, "name"))
        .collect();
    let cards = [
        ("not_started", "An array is not started"),
        ("nameless", "An array works on an image that was deleted"),
    ];
    html! {
        @if advice.is_empty() && cards.iter().all(|(key, _)| list(status, key).is_empty()) {
            @if !list(status, "arrays").is_empty() { p.allwell { "All arrays are well." } }
            @else if visit.may(Role::Admin) && !list(status, "disks").is_empty() { p { a.button.primary href="/logical/create" { "Create Array" } } }
        }
        @for (number, advice) in advice.iter().enumerate() { (trouble(visit, status, advice, if number == 0 { &lost } else { &[] })) }
        @for (key, title) in cards {
            @for text in list(status, key).iter().filter_map(Value::as_str) {
                section.trouble-card.bad { h2 { (title) } p { (text) } }
            }
        }
        @if let Some(trouble) = status["telemetry_trouble"].as_str() {
            section.trouble-card.warning { h2 { "Events and counters cannot be stored" } p { (trouble) } }
        }
    }
}

/// One array that is not well.
fn trouble(visit: &Visit, status: &Value, advice: &Value, lost: &[&str]) -> Markup {
    let state = icons::array_state(text(advice, "state"));
    let name = text(advice, "name");
    let array = list(status, "arrays")
        .iter()
        .find(|array| array["uuid"] == advice["uuid"]);
    html! {
        section class={ "trouble-card " (icons::tone_of(state).class()) } {
            h2 { (name) " " (icons::array(state)) }
            p {
                (text(advice, "explanation"))
                @if !lost.is_empty() { " Missing: " strong { (lost.join(", ")) } "." }
            }
            @if let Some(array) = array.filter(|array| !array["work"].is_null()) { (logical::work(&array["work"])) }
            @if array.is_some() { p { a.button.primary id={ "t-" (name) } href={ "/logical/array/" (name) } { "Maintenance" } } }
            details open {
                summary { "What to do, step by step" }
                ol.steps { @for (number, step) in list(advice, "steps").iter().enumerate() {
                    li {
                        (step.as_str().unwrap_or_default())
                        @let ways = advice["ways"][number].as_array().into_iter().flatten();
                        @let ways = ways.filter_map(|way| Way::deserialize(way).ok());
                        @for way in ways { " " (by(visit, name, array.map(|_| state), &way)) }
                    }
                } }
            }
        }
    }
}

/// The same step on a page, where the user's role and the array's state allow it.
fn by(visit: &Visit, name: &str, state: Option<ArrayState>, way: &Way) -> Markup {
    let allows = |action| state.is_some_and(|state| state.allows(action));
    let array = |rest: &str| format!("/logical/array/{name}/{rest}");
    let (operates, administers) = (visit.may(Role::Operate), visit.may(Role::Admin));
    html! { @match way {
        Way::Events => { a.button href="/event" { "Events" } }
        Way::BackUp if operates => { a.button href="/tapes" { "Tapes" } }
        Way::Identify(disk) if operates => { (frame::button(visit, "/physical/identify", "Identify", &[("disk", disk)])) }
        Way::Rescan if operates => { (frame::button(visit, "/rescan", "Rescan now", &[])) }
        Way::Insert(disk) if administers => { (frame::button(visit, "/lab/disk", "Insert", &[("verb", "insert"), ("disk", disk)])) }
        Way::AddDisk if operates && allows(Action::AddDisk) => { a.button href=(array("add")) { "Add Disk" } }
        Way::Repair if operates && state == Some(ArrayState::CriticalInconsistency) => { a.button href=(array("repair")) { "Verify and Repair" } }
        Way::Rebuild | Way::Resume if operates && allows(Action::Rebuild) => {
            (frame::button(visit, &array("rebuild"), "Rebuild", &[]))
        }
        Way::Resume if operates && (allows(Action::ResumeReshape) || allows(Action::ResumeInitialization)) => {
            (frame::button(visit, &array("resume"), "Resume", &[]))
        }
        _ => {}
    } }
}

fn disks(status: &Value) -> Markup {
    html! {
        table.cards {
            thead { tr { th { "Disk" } th { "Status" } th { "Array" } th.number { "Capacity" } th.number { "Max Free" } th.number { "Written" } } }
            tbody {
                @for disk in list(status, "disks") {
                    tr {
                        td data-label="Disk" { a href={ "/shi/disk/" (text(disk, "name")) } title=(text(disk, "path")) { (file_name(text(disk, "name"))) } }
                        td data-label="Status" { (icons::disk(icons::disk_state(text(disk, "state")))) }
                        td data-label="Array" { (disk["array"].as_str().unwrap_or("–")) }
                        td.number data-label="Capacity" { (size_of(disk, "size_bytes")) }
                        td.number data-label="Max Free" { (size_of(disk, "free_bytes")) }
                        td.number data-label="Written" { (size(disk["written_bytes"].as_u64().unwrap_or(0))) }
                    }
                }
                @if list(status, "disks").is_empty() { tr { td colspan="6" { span { "There are no disks: " code { "headstack disk create " (text(status, "store")) "/disks/d0.img --size 1G" } } } } }
            }
        }
    }
}
