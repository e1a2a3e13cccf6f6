//! Health Inspector Scheduler: what is done by itself, and when.
//!
//! A task can verify an array that is Normal; where one is critical, the box is the one to rebuild it. Times are local, as
//! the page says; times of cron are written as cron has them.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use crate::{
    console::{
        frame,
        users::Role,
        visit::{Problem, Visit},
        words::{list, text},
    },
    controller::{
        interface::{Ask, StoreAsk},
        order::Mending,
        schedule::{
            ScheduleAsk,
            task::{Deed, Missed},
        },
    },
};

/// Kind of tasks that restore.
const RESTORE: &str = "restore";

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// `GET /shi/schedule`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let facts = Value::Object(visit.ask_store(StoreAsk::Schedule(ScheduleAsk::Show)).await?);
    let body = html! {
        h1 { "Health Inspector Scheduler" }
        (tasks(&visit, &facts))
        @if visit.may(Role::Operate) { (new_task(&visit, &facts)) }
        p { a.button href="/shi" { "SHI" } }
    };
    Ok(frame::page(&visit, "SHI", &status, body))
}

fn tasks(visit: &Visit, facts: &Value) -> Markup {
    let all = list(facts, "tasks");
    html! {
        section.panel {
            h2 { "Tasks List" }
            @if all.is_empty() { p.hint { "Nothing is scheduled." } } @else {
                table.cards {
                    thead { tr { th { "Task Name" } th { "Task" } th { "When" } th { "Next" } th { "Last" } th {} } }
                    tbody {
                        @for task in all {
                            @let name = text(task, "name");
                            tr {
                                td.value data-label="Task Name" { strong { (name) } }
                                td.value data-label="Task" { div { (text(task, "kind")) " " (text(task, "object")) } }
                                td data-label="When" { (text(task, "when")) }
                                td data-label="Next" { (task["next_local"].as_str().unwrap_or("–")) }
                                td.value data-label="Last" {
                                    @if task["last"].is_null() { "–" } @else { div { (text(&task["last"], "outcome")) " " span.hint { (text(&task["last"], "text")) } } }
                                }
                                td.actions { @if visit.may(Role::Operate) {
                                    @if text(task, "kind") != RESTORE { (frame::button(visit, "/shi/schedule", "Run", &[("verb", "run"), ("name", name)])) " " }
                                    (frame::button(visit, "/shi/schedule", "Remove", &[("verb", "remove"), ("name", name)]))
                                } }
                            }
                        }
                    }
                }
            }
            p.hint { "Times are those of " (text(facts, "zone")) "." }
        }
    }
}

fn new_task(visit: &Visit, facts: &Value) -> Markup {
    let (verify, rebuild) = (list(facts, "verify"), list(facts, "rebuild"));
    let (title, deed, arrays) = if rebuild.is_empty() {
        ("New Verify Task", "verify", verify)
    } else {
        ("New Rebuild Task", "rebuild", rebuild)
    };
    html! {
        @if arrays.is_empty() { p.hint { "There is no redundant array that could be verified." } } @else {
            form.card method="post" action="/shi/schedule" {
                h2 { (title) }
                (frame::token(visit))
                input type="hidden" name="verb" value="add";
                input type="hidden" name="deed" value=(deed);
                div.field {
                    label for="array" { "Array" }
                    select #array name="array" { @for array in arrays { option { (array.as_str().unwrap_or_default()) } } }
                }
                div.field { label for="task-name" { "Task Name" } input #task-name name="name" maxlength="64" autocomplete="off"; p.hint { "Blank for the next free one." } }
                div.field {
                    label for="how" { "Schedule" }
                    select #how name="how" { @for how in ["Once", "Daily", "Weekly", "Monthly", "Cron"] { option { (how) } } }
                }
                div.field { label for="date" { "Date (once)" } input #date name="date" placeholder="YYYY-MM-DD" pattern="\\d{4}-\\d{2}-\\d{2}" autocomplete="off"; }
                div.field { label for="weekday" { "Day (weekly)" } select #weekday name="weekday" { @for day in DAYS { option { (day) } } } }
                div.field { label for="day" { "Day (monthly)" } input #day name="day" type="number" min="1" max="31" value="1"; }
                div.field { label for="time" { "Time" } input #time name="time" value="02:00:00" placeholder="HH:MM:SS" pattern="\\d{2}:\\d{2}:\\d{2}" autocomplete="off"; }
                div.field { label for="cron" { "Cron" } input #cron name="cron" placeholder="0 2 * * 1-5" autocomplete="off"; }
                button.primary type="submit" { "Submit" }
            }
        }
    }
}

/// `POST /shi/schedule`.
pub async fn change(visit: Visit) -> Result<Response, Problem> {
    let form = visit.form();
    let name = form.given("name").map(str::to_owned);
    let named = name.clone().unwrap_or_default();
    let (ask, what) = match form.text("verb") {
        "run" => {
            refuse_restore(&visit, &named).await?;
            let what = format!("ran the task {named}");
            (ScheduleAsk::Run { name: named }, what)
        }
        "remove" => (
            ScheduleAsk::Remove { name: named.clone() },
            format!("removed the task {named}"),
        ),
        _ => {
            let array = form.text("array").to_owned();
            let what = format!("scheduled {} of array {array}", form.text("deed"));
            let deed = match form.text("deed") {
                "rebuild" => Deed::Rebuild { array },
                _ => Deed::Verify {
                    array,
                    repair: Mending::None,
                },
            };
            let ask = ScheduleAsk::Add {
                name,
                deed,
                when: when(&visit),
                missed: Missed::default(),
            };
            (ask, what)
        }
    };
    visit
        .change(Role::Operate, &what, Ask::Store(StoreAsk::Schedule(ask)))
        .await?;
    Ok(visit.done("/shi/schedule", format!("Done: {what}.")))
}

/// Refuses to run a restore again from here, where nobody is told what it overwrites.
async fn refuse_restore(visit: &Visit, name: &str) -> Result<(), Problem> {
    let facts = Value::Object(visit.ask_store(StoreAsk::Schedule(ScheduleAsk::Show)).await?);
    let mut tasks = list(&facts, "tasks").iter();
    if tasks.any(|task| text(task, "name") == name && text(task, "kind") == RESTORE) {
        let message = format!("the task {name} is a restore, which may overwrite something");
        return Err(Problem::conflict(
            message,
            "a new one from the page of tapes, which says what",
        ));
    }
    Ok(())
}

/// When, as the schedule reads it.
fn when(visit: &Visit) -> String {
    let form = visit.form();
    let time = form.text("time").trim();
    match form.text("how") {
        "Daily" => format!("daily {time}"),
        "Weekly" => format!("weekly {} {time}", form.text("weekday").to_lowercase()),
        "Monthly" => format!("monthly {} {time}", form.text("day")),
        "Cron" => format!("cron {}", form.text("cron").trim()),
        _ => format!("once {} {time}", form.text("date").trim()),
    }
}
