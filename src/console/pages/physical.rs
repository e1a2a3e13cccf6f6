//! Physical: every disk with the eight fields of the guide, and its light.
//!
//! What a virtual disk has not, such as a width of its slot, is a dash unless the store says what it stands for. Rescan,
//! in the list of tabs, is here too, because it concerns disks first.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use crate::{
    console::{
        frame, icons,
        users::Role,
        visit::{Problem, Visit},
        words::{list, size_of, text},
    },
    controller::interface::{Ask, DiskDeed, StoreAsk},
};

/// `GET /physical`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let body = html! {
        h1 { "Physical" }
        (frame::live(&visit, html! {
            section.panel { h2 { "Physical Device Information" } (table(&visit, &status)) }
        }))
        p.hint { "After a disk was plugged in, wait until it is listed, then " strong { "Rescan" } " lets arrays take it back." }
    };
    Ok(frame::page(&visit, "Physical", &status, body))
}

fn field(disk: &Value, key: &str) -> String {
    match &disk[key] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "–".to_owned(),
    }
}

/// Controller and port.
fn location(disk: &Value) -> String {
    let place = &disk["location"];
    match (place["controller"].as_u64(), place["port"].as_u64()) {
        (Some(controller), Some(port)) => format!("{controller}/{port}"),
        _ => "–".to_owned(),
    }
}

fn width(disk: &Value) -> String {
    let lanes = disk["pcie_width"].as_u64();
    lanes.map_or_else(|| field(disk, "pcie_width"), |lanes| format!("x{lanes}"))
}

fn table(visit: &Visit, status: &Value) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th { "Location" } th { "Model" } th.number { "Capacity" } th.number { "Max Free" } th { "Revision" }
                th { "Status" } th { "PCIe Width" } th { "PCIe Speed" } th {}
            } }
            tbody {
                @for disk in list(status, "disks") {
                    @let name = text(disk, "name");
                    tr {
                        td data-label="Location" { strong { (location(disk)) } " " span.hint { (name) } }
                        td data-label="Model" { (field(disk, "model")) }
                        td.number data-label="Capacity" { (size_of(disk, "size_bytes")) }
                        td.number data-label="Max Free" { (size_of(disk, "free_bytes")) }
                        td data-label="Revision" { (field(disk, "revision")) }
                        td data-label="Status" { (icons::disk(icons::disk_state(text(disk, "state")))) }
                        td data-label="PCIe Width" { (width(disk)) }
                        td data-label="PCIe Speed" { (field(disk, "pcie_speed")) }
                        td.actions { @if visit.may(Role::Operate) { (frame::button(visit, "/physical/identify", "Identify", &[("disk", name)])) } }
                    }
                }
                @if list(status, "disks").is_empty() { tr { td colspan="9" { "There are no disks." } } }
            }
        }
    }
}

/// `POST /rescan`.
pub async fn rescan(visit: Visit) -> Result<Response, Problem> {
    visit
        .change(Role::Operate, "rescan", Ask::Store(StoreAsk::Rescan))
        .await?;
    Ok(visit.done("/physical", "All disks were looked at again."))
}

/// `POST /physical/identify`.
pub async fn identify(visit: Visit) -> Result<Response, Problem> {
    let name = visit.form().text("disk").to_owned();
    let ask = Ask::Store(StoreAsk::Disk {
        name: name.clone(),
        deed: DiskDeed::Identify,
    });
    let facts = visit.change(Role::Operate, &format!("identify {name}"), ask).await?;
    let path = facts.get("path").and_then(Value::as_str).unwrap_or(&name).to_owned();
    Ok(visit.done("/physical", format!("{name} shows where it is: {path}")))
}
