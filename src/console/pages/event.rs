//! Event: the log, a page at a time, by level; Download, Clear, Prev, Next.
//!
//! Times are those of this machine; the exact ones in UTC are behind them and in the file that is downloaded. The newest page
//! keeps itself up to date, older ones stay as they are.

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use serde_json::Value;

use crate::{
    console::{
        frame, icons,
        users::Role,
        visit::{Problem, Visit},
        words::{file_name, list, moment, text},
    },
    controller::{
        Level,
        interface::{Ask, StoreAsk},
        log::Query,
    },
};

/// Events of a page.
const PAGE: usize = 50;
/// Events of a file.
const FILE: usize = 10_000;

fn level_of(visit: &Visit) -> Level {
    let word = visit.query().text("level");
    Level::ALL
        .into_iter()
        .find(|level| level.name().eq_ignore_ascii_case(word))
        .unwrap_or_default()
}

async fn events(visit: &Visit, query: Query) -> Result<Vec<Value>, Problem> {
    let facts = visit.ask_store(StoreAsk::Events { query, wait_s: 0 }).await?;
    Ok(list(&Value::Object(facts), "events").to_vec())
}

/// `GET /event`, newest first; `before` and `after` are times of events.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let level = level_of(&visit);
    let query = visit.query();
    let wanted = Query {
        after_us: query.number("after")?,
        before_us: query.number("before")?,
        level,
        count: PAGE + 1,
    };
    let back = wanted.after_us.is_some();
    let mut shown = events(&visit, wanted.clone()).await?;
    let more = shown.len() > PAGE;
    shown.truncate(PAGE);
    if back {
        shown.reverse();
    }
    let time = |event: Option<&Value>| event.and_then(|event| event["time_us"].as_u64());
    let (newest, oldest) = (time(shown.first()), time(shown.last()));
    let prev = newest.filter(|_| if back { more } else { wanted.before_us.is_some() });
    let next = oldest.filter(|_| back || more);
    let body = html! {
        h1 { "Event" }
        (tools(&visit, level, prev, next))
        @if prev.is_none() && !back { (frame::live(&visit, table(&shown))) } @else { (table(&shown)) }
    };
    Ok(frame::page(&visit, "Event", &status, body))
}

fn tools(visit: &Visit, level: Level, prev: Option<u64>, next: Option<u64>) -> Markup {
    let word = level.name().to_lowercase();
    let turn = |label: &str, key: &str, time: Option<u64>| {
        html! {
            @match time {
                Some(time) => a.button href={ "/event?level=" (word) "&" (key) "=" (time) } { (label) },
                None => span.button aria-disabled="true" { (label) },
            }
        }
    };
    html! {
        nav.sub aria-label="Event log" {
            a.button href={ "/event/download?level=" (word) } download="headstack-events.txt" { "Download" }
            @if visit.may(Role::Admin) { a.button href="/event/clear" { "Clear" } }
            (turn("Prev", "after", prev))
            (turn("Next", "before", next))
            span.spring {}
            @for known in Level::ALL {
                a.button href={ "/event?level=" (known.name().to_lowercase()) } aria-current=[(known == level).then_some("true")] {
                    (if known == Level::Information { "All" } else { known.name() })
                    @if known == Level::Warning { " and worse" }
                }
            }
        }
    }
}

fn table(shown: &[Value]) -> Markup {
    html! {
        table.cards.log {
            thead { tr { th { "Time" } th { "Level" } th { "Event" } th { "Description" } th { "Array" } th { "Disk" } } }
            tbody {
                @for event in shown {
                    tr {
                        td data-label="Time" { (moment(event["time_us"].as_u64().unwrap_or(0))) }
                        td data-label="Level" { (icons::level(level_named(text(event, "level")))) }
                        td data-label="Event" { (text(event, "event")) }
                        td.text data-label="Description" { (text(event, "text")) }
                        td data-label="Array" { (event["array"].as_str().unwrap_or("–")) }
                        td data-label="Disk" { (event["disk"].as_str().map_or("–", file_name)) }
                    }
                }
                @if shown.is_empty() { tr { td colspan="6" { "There are no events of this level." } } }
            }
        }
    }
}

fn level_named(word: &str) -> Level {
    Level::ALL
        .into_iter()
        .find(|level| level.name().eq_ignore_ascii_case(word))
        .unwrap_or_default()
}

/// `GET /event/download`: the log as lines of text, the oldest first.
pub async fn download(visit: Visit) -> Result<Response, Problem> {
    let mut all = String::new();
    let mut after_us = 0;
    loop {
        let query = Query {
            after_us: Some(after_us),
            before_us: None,
            level: level_of(&visit),
            count: FILE,
        };
        let page = events(&visit, query).await?;
        for event in &page {
            let (time, level) = (text(event, "time"), level_named(text(event, "level")));
            all.push_str(&format!(
                "{time} {level:<11} {}: {}\n",
                text(event, "event"),
                text(event, "text")
            ));
        }
        match page.last().and_then(|event| event["time_us"].as_u64()) {
            Some(last) if page.len() == FILE => after_us = last,
            _ => break,
        }
    }
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"headstack-events.txt\"",
        ),
    ];
    Ok((headers, all).into_response())
}

/// `GET /event/clear`: what is lost.
pub async fn confirm(visit: Visit) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    let status = visit.status().await?;
    let body = html! {
        form.card.danger method="post" action="/event/clear" {
            h1 { "Clear the log" }
            p { "All events are forgotten. To keep them, download the log first." }
            (frame::token(&visit))
            p.row { button.danger type="submit" { "Clear" } a.button href="/event/download" { "Download" } a.button href="/event" { "Back" } }
        }
    };
    Ok(frame::page(&visit, "Event", &status, body))
}

/// `POST /event/clear`.
pub async fn clear(visit: Visit) -> Result<Response, Problem> {
    visit
        .change(
            Role::Admin,
            "cleared the log of events",
            Ask::Store(StoreAsk::ClearEvents),
        )
        .await?;
    Ok(visit.done("/event", "The log was cleared."))
}
