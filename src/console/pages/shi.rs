//! SHI, the storage health inspector: counters of every disk as SMART has them, and what was written in its life.
//!
//! The values are counters of what was really asked of a disk, over all of its life; a disk that answers with errors shows
//! here before it is missed.

use axum::{extract::Path, response::Response};
use maud::{Markup, html};
use serde_json::Value;

use crate::console::{
    frame, icons,
    visit::{Problem, Visit},
    words::{count, list, size, text},
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

/// `GET /shi`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let body = html! {
        h1 { "SHI – Storage Health Inspector" }
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
        p { a.button href="/shi" { "SHI" } }
    };
    Ok(frame::page(&visit, "SHI", &status, body))
}
