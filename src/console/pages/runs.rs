//! Runs of tasks: how one is begun at once, what is under way with how far it is, how dumps and restores ended, and the
//! button that stops a run.
//!
//! The list is a page of its own, so that what else a page has is not asked for again each time a run gets further.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::logical;
use crate::{
    console::{
        frame,
        users::Role,
        visit::{Problem, Visit},
        words::{list, text},
    },
    controller::{
        interface::{Ask, StoreAsk},
        schedule::{
            ScheduleAsk,
            task::{Deed, Missed},
        },
    },
};

/// Path of the page.
const PATH: &str = "/tapes/runs";
/// Kinds of runs that have to do with tapes.
const KINDS: [&str; 4] = ["dump", "restore", "resume", "drill"];

/// `GET /tapes/runs`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let body = html! {
        h1 { "Dumps and restores" }
        (of_tapes(&visit, &status).await?)
        p { a.button href="/tapes" { "Tapes" } }
    };
    Ok(frame::page(&visit, "Tapes", &status, body))
}

/// What is under way, where anything is.
pub fn under_way(visit: &Visit, status: &Value) -> Markup {
    let runs = list(status, "runs");
    html! {
        @if !runs.is_empty() { section.panel { h2 { "Under way" } (table(visit, runs)) } }
    }
}

fn table(visit: &Visit, runs: &[Value]) -> Markup {
    html! {
        table.cards {
            thead { tr { th { "Task" } th { "Of" } th { "Progress" } th {} } }
            tbody { @for run in runs {
                @let task = text(run, "task");
                tr {
                    td data-label="Task" { strong { (task) } }
                    td.value data-label="Of" { div { (text(run, "object")) } }
                    td data-label="Progress" { (logical::work(run)) }
                    td.actions { @if visit.may(Role::Operate) {
                        (frame::button(visit, PATH, "Stop", &[("task", task)]))
                    } }
                }
            } }
        }
    }
}

/// What is under way with tapes, and how the last runs ended; it keeps itself up to date.
///
/// # Errors
/// What the controller says.
pub async fn of_tapes(visit: &Visit, status: &Value) -> Result<Markup, Problem> {
    let schedule = Value::Object(visit.ask_store(StoreAsk::Schedule(ScheduleAsk::Show)).await?);
    let is_of_tape = |fact: &&Value| KINDS.contains(&text(fact, "kind"));
    let running: Vec<Value> = list(status, "runs").iter().filter(is_of_tape).cloned().collect();
    let ended = |task: &&Value| is_of_tape(task) && task["running"] != true && !task["last"].is_null();
    let mut ended: Vec<&Value> = list(&schedule, "tasks").iter().filter(ended).collect();
    ended.sort_by_key(|task| std::cmp::Reverse(text(&task["last"], "began")));
    let latest = ended.iter().map(|task| text(&task["last"], "ended")).max();
    let body = html! {
        section.panel data-ended=(latest.unwrap_or_default()) {
            h2 { "Dumps and restores" }
            @if running.is_empty() && ended.is_empty() { p.hint { "None yet." } }
            @if !running.is_empty() { (table(visit, &running)) }
            @if !ended.is_empty() {
                table.cards #ended {
                    thead { tr { th { "Task" } th { "Of" } th { "Ended" } } }
                    tbody { @for task in ended { (ended_row(task)) } }
                }
            }
        }
    };
    Ok(frame::live_at(PATH, body))
}

fn ended_row(task: &Value) -> Markup {
    let last = &task["last"];
    let outcome = text(last, "outcome");
    let tone = if outcome == "done" { "state good" } else { "state bad" };
    html! {
        tr {
            td data-label="Task" { strong { (text(task, "name")) } }
            td.value data-label="Of" { div { (text(task, "object")) } }
            td.value data-label="Ended" { div { span class=(tone) { (outcome) } " " span.hint { (text(last, "text")) } } }
        }
    }
}

/// Lets a deed begin at once, and goes to where it is told how far it is.
///
/// # Errors
/// 403 for a user of a lesser role; what the controller says.
pub async fn now(visit: &Visit, role: Role, what: &str, deed: Deed) -> Result<Response, Problem> {
    let ask = ScheduleAsk::Add {
        name: None,
        deed,
        when: "now".to_owned(),
        missed: Missed::Skip,
    };
    let added = visit.change(role, what, Ask::Store(StoreAsk::Schedule(ask))).await?;
    let name = added.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(visit.done("/tapes", format!("{name} has begun; this page shows how far it is.")))
}

/// `POST /tapes/runs`: the end of a run.
pub async fn stop(visit: Visit) -> Result<Response, Problem> {
    let name = visit.form().text("task").to_owned();
    let what = format!("stopped the task {name}");
    let ask = Ask::Store(StoreAsk::Schedule(ScheduleAsk::Stop { name: name.clone() }));
    visit.change(Role::Operate, &what, ask).await?;
    Ok(visit.done("/tapes", format!("{name} is told to end.")))
}
