//! Logical: the arrays, each with what is being done to it and its Maintenance button.
//!
//! The parts of it that draw an array, its work and its members are shared with Global View and with Maintenance, so that
//! one array looks the same everywhere.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use crate::console::{
    frame, icons,
    users::Role,
    visit::{Problem, Visit},
    words::{duration, file_name, list, percent, size, size_of, text},
};

/// `GET /logical`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let body = html! {
        h1 { "Logical" }
        nav.sub aria-label="Logical" {
            @if visit.may(Role::Admin) { a.button href="/logical/create" { "Create Array" } }
            a.button href="/logical/spares" { "Spare Pool" }
        }
        (frame::live(&visit, html! {
            section.panel { h2 { "Logical Device Information" } (table(&status)) }
            @for array in list(&status, "arrays") { (members(array)) }
        }))
    };
    Ok(frame::page(&visit, "Logical", &status, body))
}

/// The arrays of a store.
pub fn table(status: &Value) -> Markup {
    html! {
        table.cards {
            thead { tr { th { "Name" } th { "Type" } th.number { "Capacity" } th { "Status" } th { "Work" } th {} } }
            tbody {
                @for array in list(status, "arrays") {
                    @let name = text(array, "name");
                    tr {
                        td data-label="Name" { strong { (name) } }
                        td data-label="Type" { (level(text(array, "level"))) }
                        td.number data-label="Capacity" { (size_of(array, "size_bytes")) }
                        td data-label="Status" { (icons::array(icons::array_state(text(array, "state")))) }
                        td data-label="Work" { (work(&array["work"])) }
                        td.actions { a.button id={ "m-" (name) } href={ "/logical/array/" (name) } { "Maintenance" } }
                    }
                }
                @if list(status, "arrays").is_empty() { tr { td colspan="6" { "There are no arrays yet." } } }
            }
        }
    }
}

/// `raid5` as people write it.
pub fn level(name: &str) -> String {
    name.strip_prefix("raid")
        .map_or_else(|| name.to_uppercase(), |number| format!("RAID {number}"))
}

/// What is being done, and how far it is.
pub fn work(work: &Value) -> Markup {
    let numbers = (work["done_bytes"].as_u64(), work["whole_bytes"].as_u64());
    html! {
        @if let Some(kind) = work["kind"].as_str() {
            div.work {
                span { (kind) }
                @if let (Some(done), Some(whole)) = numbers {
                    progress value=(done) max=(whole.max(1)) aria-label=(kind) {}
                    span.number { (percent(done, whole)) " %" }
                    span.hint {
                        (size(done)) " of " (size(whole))
                        @if let Some(left) = work["eta_seconds"].as_u64() { ", " (duration(left)) " left" }
                    }
                }
            }
        } @else { span.hint { "–" } }
    }
}

/// The members of an array, each drawn as a bar that is filled as far as the member is.
pub fn members(array: &Value) -> Markup {
    let whole = array["work"]["whole_bytes"].as_u64();
    html! {
        section.panel {
            h2 { (text(array, "name")) " – members" }
            ol.members {
                @for member in list(array, "members") {
                    @let standing = text(member, "standing");
                    @let class = match standing { "in sync" => "good", "rebuilding" => "warning", _ => "bad" };
                    @let done = match (standing, member["rebuilt_bytes"].as_u64(), whole) {
                        ("in sync", ..) => 100,
                        (_, Some(done), Some(whole)) => percent(done, whole),
                        _ => 0,
                    };
                    li class=(class) {
                        span.slot { (member["slot"]) }
                        svg.bar viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
                            rect.groove width="100" height="6" rx="1" {}
                            rect.fill width=(done) height="6" rx="1" {}
                        }
                        span.name { (member["path"].as_str().map_or("no disk", file_name)) }
                        span.standing {
                            (standing)
                            @if standing == "rebuilding" { " " (done) " %" }
                            @if let Some(errors) = member["read_errors"].as_u64().filter(|errors| *errors > 0) { ", " (errors) " read errors" }
                        }
                    }
                }
            }
        }
    }
}
