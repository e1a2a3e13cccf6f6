//! Help: levels, states with their pictures, what the roles may do, and where to turn to.
//!
//! It needs nothing from elsewhere: all of it is in the program. States are listed from the harmless to the worst, with
//! the words that all other pages use.

use axum::response::Response;
use maud::{Markup, html};

use crate::{
    console::{
        frame, icons,
        visit::{Problem, Visit},
    },
    controller::{ArrayState, DiskState},
};

/// The guide's table: level, least disks, usable space, faults survived, advantage, use.
const LEVELS: [[&str; 6]; 7] = [
    [
        "JBOD",
        "1",
        "100 %",
        "none",
        "Each disk's space is used, one after the other",
        "Backup",
    ],
    [
        "RAID 0",
        "2",
        "100 %",
        "none",
        "The highest performance",
        "Temporary files, whatever needs speed",
    ],
    [
        "RAID 1",
        "2",
        "50 %",
        "one",
        "Simple redundancy for small systems",
        "Operating systems, backup, databases with transactions",
    ],
    [
        "RAID 10",
        "4",
        "50 %",
        "up to two",
        "Fast reads, good writes, redundancy",
        "Fast databases and application servers",
    ],
    [
        "RAID 5",
        "3",
        "67–87 %",
        "one",
        "Fast reads, redundancy at the price of one disk",
        "Archives, data that are read more than written",
    ],
    [
        "RAID 50",
        "6",
        "67–75 %",
        "up to two",
        "Fast reads, faster writes than RAID 5",
        "Archives, data that are read more than written",
    ],
    [
        "RAID 6",
        "4",
        "50–75 %",
        "two",
        "Any two disks may fail",
        "Archives that have to last",
    ],
];

/// `GET /help`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let body = html! {
        h1 { "Help" }
        (recovery())
        (levels())
        section.panel {
            h2 { "States of an array" }
            dl.states { @for state in ArrayState::ALL { dt { (icons::array(state)) } dd { (state.explanation()) } } }
        }
        section.panel {
            h2 { "States of a disk" }
            dl.states { @for state in DiskState::ALL { dt { (icons::disk(state)) } dd { (state.explanation()) } } }
        }
        section.panel {
            h2 { "More" }
            ul {
                li { "Online Help: " code { "headstack help" } ", " code { "headstack VERB --help" } ", the manual pages of " code { "headstack man DIR" } }
                li { "What this machine offers: " code { "headstack doctor" } }
                li { "Report a fault, ask, register a wish: " a href=(concat!(env!("CARGO_PKG_REPOSITORY"), "/issues")) rel="noreferrer" { (env!("CARGO_PKG_REPOSITORY")) "/issues" } }
            }
        }
    };
    Ok(frame::page(&visit, "Help", &status, body))
}

fn recovery() -> Markup {
    html! {
        section.panel {
            h2 { "When an array is critical" }
            ol {
                li { "Back up the data now, while they can be read." }
                li { "Find the disk: " a href="/" { "Global View" } " names it, " a href="/physical" { "Physical" } " lights it, " a href="/event" { "Event" } " tells what happened." }
                li { "Put the same disk back: it is recognised and takes in only what it missed. Or put in another one." }
                li { "A spare joins by itself. Else: " a href="/logical" { "Logical" } ", Maintenance, Add Disk. If nothing happens, Rescan." }
                li { "Wait for the rebuild. Pull no other disk meanwhile: a wrong one makes the array Disabled until it is back." }
            }
        }
    }
}

fn levels() -> Markup {
    html! {
        section.panel {
            h2 { "Levels" }
            table.cards {
                thead { tr { th { "Type" } th.number { "Min. disks" } th.number { "Usable space" } th { "Survives" } th { "Advantage" } th { "Application" } } }
                tbody {
                    @for [level, least, usable, faults, advantage, used] in LEVELS {
                        tr {
                            td data-label="Type" { strong { (level) } }
                            td.number data-label="Min. disks" { (least) }
                            td.number data-label="Usable space" { (usable) }
                            td data-label="Survives" { (faults) }
                            td data-label="Advantage" { (advantage) }
                            td data-label="Application" { (used) }
                        }
                    }
                }
            }
        }
    }
}
