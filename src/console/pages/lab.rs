//! Lab: faults on purpose, so that what happens on the day a disk fails has been seen before.
//!
//! Faults are set up by hand or come by themselves, as a scenario says; one with the same seed and the same requests is the
//! same each time, which makes it a replay. All of it is a rehearsal: the log says so.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use crate::{
    console::{
        frame, icons,
        users::Role,
        visit::{Problem, Visit},
        words::{list, text},
    },
    controller::interface::{Ask, DiskDeed, StoreAsk},
};

/// Faults as they are written, and what they do.
const FAULTS: [(&str, &str); 8] = [
    ("bad-sector@1M+4K", "reads there fail until the place is written"),
    ("read-error", "every read fails; read-error:N every Nth"),
    ("write-error", "every write fails; write-error:N every Nth"),
    ("bit-flip@1M", "one bit of the image is turned over, and nobody is told"),
    ("torn-write", "the next write stores its first sector and fails"),
    ("lost-flush", "flushes do nothing: what was written is lost with a pull"),
    ("slow:20", "every request takes 20 ms more"),
    ("hang", "requests do not end until the disk is healed or pulled"),
];

const EXAMPLE: &str = "seed 7\nafter 0 random bad-sector@random+4K\nafter 500 random pull\n";

/// `GET /lab`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let body = html! {
        h1 { "Lab" }
        p { "What is done here is done to the disks as the controller sees them. Arrays react as they would to the real thing, so rehearse with arrays whose data you can do without." }
        (frame::live(&visit, html! { section.panel { h2 { "Disks" } (disks(&visit, &status)) } }))
        @if visit.may(Role::Admin) {
            (inject(&visit, &status))
            (scenario(&visit))
        }
    };
    Ok(frame::page(&visit, "Lab", &status, body))
}

fn disks(visit: &Visit, status: &Value) -> Markup {
    html! {
        table.cards {
            thead { tr { th { "Disk" } th { "Status" } th { "Array" } th { "Faults" } th {} } }
            tbody {
                @for disk in list(status, "disks") {
                    @let name = text(disk, "name");
                    @let faults = list(disk, "faults");
                    tr {
                        td data-label="Disk" { strong { (name) } }
                        td data-label="Status" { (icons::disk(icons::disk_state(text(disk, "state")))) }
                        td data-label="Array" { (disk["array"].as_str().unwrap_or("–")) }
                        td data-label="Faults" {
                            @if faults.is_empty() { "–" }
                            @for fault in faults { code { (fault.as_str().unwrap_or_default()) } " " }
                        }
                        td.actions {
                            @if visit.may(Role::Admin) {
                                @if disk["pulled"] == true { (verb(visit, name, "insert", "Insert")) } @else { (verb(visit, name, "pull", "Pull")) }
                                @if !faults.is_empty() { " " (verb(visit, name, "heal", "Heal")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn verb(visit: &Visit, disk: &str, verb: &str, label: &str) -> Markup {
    frame::button(visit, "/lab/disk", label, &[("verb", verb), ("disk", disk)])
}

fn inject(visit: &Visit, status: &Value) -> Markup {
    html! {
        form.card method="post" action="/lab/disk" {
            h2 { "Inject" }
            (frame::token(visit))
            input type="hidden" name="verb" value="inject";
            div.field {
                label for="lab-disk" { "Disk" }
                select #lab-disk name="disk" { @for disk in list(status, "disks") { option { (text(disk, "name")) } } }
            }
            div.field {
                label for="fault" { "Fault" }
                input #fault name="fault" list="faults" value=(FAULTS[0].0) autocomplete="off" required;
                datalist #faults { @for (fault, meaning) in FAULTS { option value=(fault) { (meaning) } } }
            }
            dl.facts { @for (fault, meaning) in FAULTS { dt { code { (fault) } } dd.hint { (meaning) } } }
            button type="submit" { "Inject" }
        }
    }
}

fn scenario(visit: &Visit) -> Markup {
    html! {
        form.card method="post" action="/lab/scenario" {
            h2 { "Scenario" }
            p.hint { "Lines " code { "after REQUESTS DISK FAULT" } ", where DISK may be random and FAULT also pull, insert or heal. The same seed replays the same." }
            (frame::token(visit))
            textarea name="scenario" rows="6" aria-label="Scenario" spellcheck="false" { (EXAMPLE) }
            p.row {
                button type="submit" name="verb" value="start" { "Replay" }
                button type="submit" name="verb" value="stop" { "End the scenario" }
            }
        }
    }
}

/// `POST /lab/disk`.
pub async fn disk(visit: Visit) -> Result<Response, Problem> {
    let form = visit.form();
    let (name, fault) = (form.text("disk").to_owned(), form.text("fault").trim().to_owned());
    let (deed, what) = match form.text("verb") {
        "pull" => (DiskDeed::Pull, format!("pulled {name}")),
        "insert" => (DiskDeed::Insert, format!("inserted {name}")),
        "heal" => (DiskDeed::Heal, format!("healed {name}")),
        "inject" => (DiskDeed::Inject(fault.clone()), format!("injected {fault} into {name}")),
        other => return Err(Problem::missing(format!("there is no deed {other}"))),
    };
    visit
        .change(Role::Admin, &what, Ask::Store(StoreAsk::Disk { name, deed }))
        .await?;
    Ok(visit.done("/lab", format!("Done: {what}.")))
}

/// `POST /lab/scenario`.
pub async fn replay(visit: Visit) -> Result<Response, Problem> {
    let stops = visit.form().text("verb") == "stop";
    let scenario = if stops {
        String::new()
    } else {
        visit.form().text("scenario").replace('\r', "")
    };
    let what = if stops {
        "ended the scenario"
    } else {
        "began a scenario"
    };
    visit
        .change(Role::Admin, what, Ask::Store(StoreAsk::Rehearse { scenario }))
        .await?;
    Ok(visit.done("/lab", format!("Done: {what}.")))
}
