//! Series: the time series of the store's database, each with its rate, its last value, and a plot of any range.
//!
//! The controller's own are among them: events, and the health of every disk. Values that are numbers are drawn, others are
//! listed.

use axum::{
    Json,
    extract::Path,
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use serde_json::Value;

use super::snapshots;
use crate::{
    console::{
        frame,
        visit::{Problem, Visit},
        words::{count, list, size_of, text},
    },
    controller::interface::{Span, StoreAsk},
};

/// Points of a plot.
const POINTS: usize = 1000;
/// Entries of a list.
const LISTED: usize = 100;

/// `GET /series`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let all = Value::Object(visit.ask_store(StoreAsk::Series).await?);
    let body = html! {
        h1 { "Series" }
        section.panel {
            h2 { "Series of the store's database" }
            table.cards {
                thead { tr { th { "Name" } th.number { "Entries" } th.number { "Rate" } th { "Last entry" } th { "Last value" } th.number { "Space" } th {} } }
                tbody { @for series in list(&all, "series") { (row(series)) } }
            }
            @if list(&all, "series").is_empty() { p.hint { "There are none: " code { "headstack series create STORE/series NAME --block-size 8 --format f64" } } }
        }
        (snapshots::panel(&visit).await?)
    };
    Ok(frame::page(&visit, "Series", &status, body))
}

fn row(series: &Value) -> Markup {
    let (name, kind) = (text(series, "name"), kind_of(series));
    let last = series["last_timestamp"].as_u64();
    html! {
        tr {
            td data-label="Name" { strong { (name) } @if kind == "varlen" { " " span.hint { "variable length" } } }
            @if let Some(damage) = series["damage"].as_str() {
                td.trouble colspan="5" data-label="Damage" { (damage) }
            } @else {
                td.number data-label="Entries" { (count(series["entries"].as_u64().unwrap_or(0))) }
                td.number data-label="Rate" { (rate(series)) }
                td data-label="Last entry" { @match last { Some(time) => span data-time=(time) { (time) }, None => "–" } }
                td.value data-label="Last value" { (value(&series["last_value"])) }
                td.number data-label="Space" { (size_of(series, "allocated_bytes")) }
            }
            td.actions { a.button href={ "/series/" (kind) "/" (name) } { "Browse" } }
        }
    }
}

fn kind_of(series: &Value) -> &'static str {
    if text(series, "kind").contains("varlen") || text(series, "kind").contains("variable") {
        "varlen"
    } else {
        "fixed"
    }
}

/// Entries for each unit of time, at the end; the unit is guessed from the size of the timestamps, which are since 1970.
fn rate(series: &Value) -> String {
    let last = series["last_timestamp"].as_u64().unwrap_or(0);
    let (per, unit) = match last {
        1_000_000_000..10_000_000_000 => (1.0, "s"),
        1_000_000_000_000..10_000_000_000_000 => (1e3, "s"),
        1_000_000_000_000_000..10_000_000_000_000_000 => (1e6, "s"),
        1_000_000_000_000_000_000..10_000_000_000_000_000_000 => (1e9, "s"),
        _ => (1.0, "unit"),
    };
    let Some(rate) = series["entries_per_unit"].as_f64() else {
        return "–".to_owned();
    };
    match rate * per {
        rate if rate >= 1.0 => format!("{rate:.1} / {unit}"),
        rate if unit == "s" && rate * 60.0 >= 1.0 => format!("{:.1} / min", rate * 60.0),
        rate if unit == "s" => format!("{:.1} / h", rate * 3600.0),
        rate => format!("{rate:.3} / {unit}"),
    }
}

fn value(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        format!("{short}…")
    } else {
        short
    }
}

/// The range of a query.
fn span(visit: &Visit, points: usize) -> Result<Span, Problem> {
    let query = visit.query();
    Ok(Span {
        from: query.number("from")?,
        to: query.number("to")?,
        points,
    })
}

async fn points(visit: &Visit, kind: &str, name: &str, span: Span) -> Result<Value, Problem> {
    let ask = StoreAsk::Points {
        series: name.to_owned(),
        varlen: kind == "varlen",
        span,
    };
    Ok(Value::Object(visit.ask_store(ask).await?))
}

/// `GET /series/KIND/NAME`.
pub async fn browse(visit: Visit, Path((kind, name)): Path<(String, String)>) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let range = span(&visit, LISTED)?;
    let entries = points(&visit, &kind, &name, range.clone()).await?;
    let shown = list(&entries, "points");
    let drawn = shown.iter().any(|point| point[1].is_number());
    let bound = |bound: Option<u64>| bound.map(|bound| bound.to_string());
    let query = visit.path().split_once('?').map_or("", |(_, query)| query);
    let body = html! {
        h1 { (name) }
        form.row.sub method="get" {
            label { "From " input name="from" inputmode="numeric" size="20" value=[bound(range.from)]; }
            label { "To " input name="to" inputmode="numeric" size="20" value=[bound(range.to)]; }
            button type="submit" { "Show" }
            a.button href={ "/series/" (kind) "/" (name) } { "All" }
        }
        @if drawn {
            section.panel { div.plot data-plot={ "/plot/" (kind) "/" (name) "?" (query) } data-label=(name) {} }
        }
        section.panel {
            h2 { "Entries" span.more.hint { "up to " (LISTED) ", spread over the range" } }
            table { thead { tr { th { "Timestamp" } th { "Time" } th { "Value" } } } tbody {
                @for point in shown {
                    tr { td { code { (point[0]) } } td { span data-time=(point[0]) {} } td.value { (value(&point[1])) } }
                }
            } }
            @if shown.is_empty() { p.hint { "There are none in this range." } }
        }
        p { a.button href="/series" { "Series" } }
    };
    Ok(frame::page(&visit, "Series", &status, body))
}

/// `GET /plot/KIND/NAME`: points to draw.
pub async fn plot(visit: Visit, Path((kind, name)): Path<(String, String)>) -> Result<Response, Problem> {
    let range = span(&visit, POINTS)?;
    Ok(Json(points(&visit, &kind, &name, range).await?).into_response())
}
