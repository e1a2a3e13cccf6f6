//! SHI, the storage health inspector: counters of every disk as SMART has them, and what was written in its life.
//!
//! The values are counters of what was really asked of a disk, over all of its life; a disk that answers with errors shows
//! here before it is missed.

use axum::{
    Json,
    extract::Path,
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use serde_json::Value;

use crate::{
    console::{
        frame, icons,
        visit::{Problem, Visit},
        words::{count, list, size, text},
    },
    controller::interface::{Span, StoreAsk},
};

/// Attributes: key, name of the NVMe log page, what it says.
const ATTRIBUTES: [(&str, &str, &str); 8] = [
    ("data_units_read", "Data Units Read", "in thousands of 512 bytes"),
    ("data_units_written", "Data Units Written", "in thousands of 512 bytes"),
    ("host_read_commands", "Host Read Commands", "requests to read"),
    ("host_write_commands", "Host Write Commands", "requests to write"),
    (
        "power_cycles",
        "Power Cycles",
        "starts of the controller with this disk",
    ),
    ("power_on_hours", "Power On Hours", "hours under a controller"),
    (
        "media_errors",
        "Media and Data Integrity Errors",
        "sectors that could not be read",
    ),
    (
        "num_err_log_entries",
        "Error Information Log Entries",
        "requests that failed",
    ),
];

/// Points of a plot.
const POINTS: usize = 1000;

/// `GET /shi`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let body = html! {
        h1 { "SHI – Storage Health Inspector" }
        nav.sub aria-label="SHI" { a.button href="/shi/schedule" { "Schedule" } }
        (frame::live(&visit, html! { section.panel { h2 { "Disks" } (table(&status)) } }))
    };
    Ok(frame::page(&visit, "SHI", &status, body))
}

fn table(status: &Value) -> Markup {
    html! {
        table.cards {
            thead { tr { th { "Disk" } th { "Status" } th.number { "TBW" } th.number { "Media errors" } th.number { "Hours" } th {} } }
            tbody {
                @for disk in list(status, "disks") {
                    @let (name, smart) = (text(disk, "name"), &disk["smart"]);
                    @let errors = smart["media_errors"].as_u64().unwrap_or(0);
                    tr {
                        td data-label="Disk" { strong { (name) } }
                        td data-label="Status" { (icons::disk(icons::disk_state(text(disk, "state")))) }
                        td.number data-label="TBW" { (size(disk["written_bytes"].as_u64().unwrap_or(0))) }
                        td.number data-label="Media errors" { @if errors > 0 { strong.bad { (count(errors)) } } @else { "0" } }
                        td.number data-label="Hours" { (count(smart["power_on_hours"].as_u64().unwrap_or(0))) }
                        td.actions { a.button id={ "d-" (name) } href={ "/shi/disk/" (name) } { "Detail" } }
                    }
                }
                @if list(status, "disks").is_empty() { tr { td colspan="6" { "There are no disks." } } }
            }
        }
    }
}

/// `GET /shi/disk/NAME`.
pub async fn detail(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let disk = list(&status, "disks").iter().find(|disk| text(disk, "name") == name);
    let disk = disk.ok_or_else(|| Problem::missing(format!("there is no disk {name}")))?;
    let wanted = visit.query().text("attribute");
    let drawn = ATTRIBUTES
        .iter()
        .map(|(key, ..)| *key)
        .find(|key| *key == wanted)
        .unwrap_or(ATTRIBUTES[1].0);
    let body = html! {
        h1 { (name) " " (icons::disk(icons::disk_state(text(disk, "state")))) }
        (frame::live(&visit, html! {
            section.panel {
                h2 { "S.M.A.R.T. attributes" }
                p { "Total bytes written (TBW): " strong { (size(disk["written_bytes"].as_u64().unwrap_or(0))) } }
                table.cards {
                    thead { tr { th { "Attribute" } th.number { "Value" } th { "Meaning" } } }
                    tbody {
                        @for (key, label, meaning) in ATTRIBUTES {
                            tr {
                                td data-label="Attribute" { (label) }
                                td.number data-label="Value" { (count(disk["smart"][key].as_u64().unwrap_or(0))) }
                                td data-label="Meaning" { (meaning) }
                            }
                        }
                    }
                }
            }
        }))
        section.panel {
            h2 { "History" }
            nav.sub aria-label="Attribute" {
                @for (key, label, _) in ATTRIBUTES { a.button href={ "/shi/disk/" (name) "?attribute=" (key) } aria-current=[(key == drawn).then_some("true")] { (label) } }
            }
            div.plot data-plot={ "/shi/disk/" (name) "/plot/" (drawn) } data-label=(label_of(drawn)) {}
            p.hint { "Stored each minute in which something was asked of the disk." }
        }
        p { a.button href="/shi" { "SHI" } }
    };
    Ok(frame::page(&visit, "SHI", &status, body))
}

fn label_of(key: &str) -> &'static str {
    ATTRIBUTES
        .iter()
        .find(|(known, ..)| *known == key)
        .map_or("", |(_, label, _)| label)
}

/// `GET /shi/disk/NAME/plot/ATTRIBUTE`: points to draw.
pub async fn plot(visit: Visit, Path((disk, attribute)): Path<(String, String)>) -> Result<Response, Problem> {
    let span = Span {
        points: POINTS,
        ..Span::default()
    };
    let mut facts = visit.ask_store(StoreAsk::History { disk, attribute, span }).await?;
    // The last stored value may be a minute old; the plot ends with the one of now.
    let now = (std::time::SystemTime::UNIX_EPOCH.elapsed()).map_or(0, |since| since.as_micros());
    if let (Some(value), Some(points)) = (
        facts.get("now").cloned(),
        facts.get_mut("points").and_then(Value::as_array_mut),
    ) {
        points.push(serde_json::json!([u64::try_from(now).unwrap_or(u64::MAX), value]));
    }
    Ok(Json(facts).into_response())
}
