//! Tapes: reels and the dumps on them, the catalogue of all dumps, and dumps that stopped and can go on.
//!
//! The catalogue is searched by path, tape or label; what is on a tape is read from the tape itself.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::{dump, restore, runs};
use crate::{
    console::{
        frame,
        users::Role,
        visit::{Problem, Visit},
        words::{count, file_name, list, moment, size_of, text},
    },
    controller::interface::StoreAsk,
};

/// `GET /tapes`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let facts = Value::Object(visit.ask_store(StoreAsk::Tapes).await?);
    let body = html! {
        h1 { "Tapes" }
        (runs::of_tapes(&visit, &status).await?)
        @if visit.may(Role::Operate) { (dump::card(&visit, &status, &facts)) }
        (reels(&visit, &facts))
        section.panel {
            h2 { "Catalogue" }
            (search(&visit))
            div #found { (catalogue(&visit, &facts)) (files(&visit).await?) }
        }
        (contexts(&visit, &facts))
    };
    Ok(frame::page(&visit, "Tapes", &status, body))
}

fn day(seconds: &Value) -> Markup {
    let micros = seconds
        .as_i64()
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(0)
        .saturating_mul(1_000_000);
    moment(micros)
}

/// The way to restore a dump, for those who may.
fn way_back<'a>(visit: &Visit, tapes: impl Iterator<Item = &'a str>, file: &Value, path: Option<&str>) -> Markup {
    html! { @if visit.may(Role::Admin) { a.button href=(restore::address(tapes, file, path)) { "Restore" } } }
}

/// The reels, which are asked for again when a run has ended, with what else may be another then.
fn reels(visit: &Visit, facts: &Value) -> Markup {
    html! {
        section.panel #reels hx-get="/tapes" hx-include="#q" hx-trigger="ended from:body" hx-select="#reels" hx-select-oob="#found,#stopped" hx-swap="outerHTML" {
            h2 { "Reels" }
            table.cards {
                thead { tr { th { "Tape" } th.number { "Size" } th { "Dumps" } } }
                tbody {
                    @for tape in list(facts, "tapes") {
                        tr {
                            td data-label="Tape" { strong { (text(tape, "name")) } }
                            td.number data-label="Size" { (size_of(tape, "size_bytes")) }
                            td data-label="Dumps" {
                                @if let Some(damage) = tape["damage"].as_str() { span.trouble { (damage) } }
                                @for dump in list(tape, "dumps") {
                                    div.reel {
                                        span { "file " (dump["file"]) ": level " (dump["level"]) " of " code { (text(dump, "path")) } ", " (day(&dump["date_s"])) }
                                        @if dump["volume"] == 1 { (way_back(visit, [text(tape, "name")].into_iter(), &dump["file"], None)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @if list(facts, "tapes").is_empty() { p.hint { "There are none yet." } }
        }
    }
}

fn catalogue(visit: &Visit, facts: &Value) -> Markup {
    let wanted = visit.query().text("q").trim().to_lowercase();
    let known = list(facts, "catalogue").iter().filter(|dump| {
        wanted.is_empty()
            || tapes_in(dump)
                .chain([text(dump, "path"), text(dump, "key")])
                .any(|word| word.to_lowercase().contains(&wanted))
    });
    let known: Vec<&Value> = known.collect();
    html! {
        table.cards #catalogue {
            thead { tr { th { "Path" } th.number { "Level" } th { "Date" } th { "Since" } th.number { "Objects" } th { "Tapes" } th {} } }
            tbody {
                @for dump in &known {
                    tr {
                        td data-label="Path" { code { (text(dump, "path")) } }
                        td.number data-label="Level" { (dump["level"]) }
                        td data-label="Date" { (day(&dump["date_s"])) }
                        td data-label="Since" { @if dump["base_s"].as_i64().unwrap_or(0) == 0 { "the beginning" } @else { (day(&dump["base_s"])) } }
                        td.number data-label="Objects" { (count(dump["objects"].as_u64().unwrap_or(0))) }
                        td data-label="Tapes" { (tapes_of(dump)) }
                        td.actions { (way_back(visit, tapes_in(dump), &dump["file"], None)) }
                    }
                }
                @if known.is_empty() { tr { td colspan="7" { span.hint { @if wanted.is_empty() { "There are none yet." } @else { "No dump is known by that." } } } } }
            }
        }
    }
}

fn tapes_in(dump: &Value) -> impl Iterator<Item = &str> {
    list(dump, "tapes").iter().filter_map(Value::as_str)
}

fn tapes_of(dump: &Value) -> String {
    tapes_in(dump).map(file_name).collect::<Vec<_>>().join(" ")
}

fn search(visit: &Visit) -> Markup {
    html! {
        form.row.sub method="get" role="search" {
            label { span.hidden { "Search" } input #q type="search" name="q" value=(visit.query().text("q")) placeholder="dump, tape, or file in a dump"
                hx-get="/tapes" hx-trigger="input changed delay:250ms" hx-target="#found" hx-select="#found" hx-swap="outerHTML"; }
            button type="submit" { "Search" }
        }
    }
}

/// Files in dumps whose path has the text in it.
async fn files(visit: &Visit) -> Result<Markup, Problem> {
    let text_wanted = visit.query().text("q").trim().to_owned();
    if text_wanted.is_empty() {
        return Ok(html! {});
    }
    let ask = StoreAsk::FindFiles { text: text_wanted };
    let facts = Value::Object(visit.ask_store(ask).await?);
    let found = list(&facts, "found");
    Ok(html! {
        h3 { "Files in dumps" }
        @for key in list(&facts, "without_contents") {
            p.trouble { "The names of dump " code { (key.as_str().unwrap_or_default()) } " are missing: " code { "headstack tape catalogue" } " notes them again." }
        }
        @if found.is_empty() { p.hint { "No dump in the catalogue has a file by that." } } @else {
            table.cards #files {
                thead { tr { th { "File" } th { "Dump of" } th.number { "Level" } th { "Date" } th { "Tapes" } th.number { "Tape file" } th {} } }
                tbody { @for file in found {
                    tr {
                        td data-label="File" { code { (text(file, "path")) } }
                        td data-label="Dump of" { code { (text(file, "of")) } }
                        td.number data-label="Level" { (file["level"]) }
                        td data-label="Date" { (day(&file["date_s"])) }
                        td data-label="Tapes" { (tapes_of(file)) }
                        td.number data-label="Tape file" { (file["file"]) }
                        td.actions { (way_back(visit, tapes_in(file), &file["file"], Some(text(file, "path")))) }
                    }
                } }
            }
            @if facts["more"] == true { p.hint { "There are more; another word finds fewer." } }
        }
    })
}

/// Dumps that stopped. One that is under way is among the runs.
fn contexts(visit: &Visit, facts: &Value) -> Markup {
    let all: Vec<&Value> = list(facts, "contexts")
        .iter()
        .filter(|context| context["busy"] != true)
        .collect();
    html! {
        section.panel #stopped {
            h2 { "Dumps that stopped" }
            @if all.is_empty() { p.hint { "None." } } @else {
                table.cards {
                    thead { tr { th { "Vserver" } th { "Context Identifier" } th { "Is Cleanup Pending?" } th { "Dump Path" } th.number { "Level" } th {} } }
                    tbody {
                        @for context in &all {
                            @let id = text(context, "id");
                            tr {
                                td data-label="Vserver" { (text(context, "host")) }
                                td data-label="Context Identifier" { code { (id) } }
                                td data-label="Is Cleanup Pending?" { (if context["cleanup_pending"] == true { "true" } else { "false" }) }
                                td.value data-label="Dump Path" { code { (text(context, "path")) } }
                                td.number data-label="Level" { (context["level"]) }
                                td.actions {
                                    @if let Some(hindrance) = context["hindrance"].as_str() { span.hint { "Cannot go on: " (hindrance) } }
                                    @else if visit.may(Role::Operate) { (frame::button(visit, "/tapes/resume", "Resume", &[("context", id)])) }
                                }
                            }
                        }
                    }
                }
                p.hint { (all.len()) @if all.len() == 1 { " entry was" } @else { " entries were" } " displayed." }
            }
        }
    }
}
