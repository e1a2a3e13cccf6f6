//! The frame of every page: head, navigation, what the last change said, the page itself and the footer with the version.
//!
//! What is inside `live` is fetched again when something has happened; forms that are filled in stand outside of it. A page
//! is painted from what it brings along itself, the style in it: scripts are asked for once it is seen.

use axum::response::{Html, IntoResponse as _, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::{
    guard::TOKEN,
    icons,
    users::Role,
    visit::{Problem, Visit},
    words::{file_name, list, text},
};

/// Names and paths of the tabs.
const TABS: [(&str, &str); 10] = [
    ("Global View", "/"),
    ("Logical", "/logical"),
    ("Physical", "/physical"),
    ("SHI", "/shi"),
    ("Event", "/event"),
    ("Series", "/series"),
    ("Tapes", "/tapes"),
    ("Lab", "/lab"),
    ("Setting", "/setting"),
    ("Help", "/help"),
];

const HTMX: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"allowScriptTags":false,"selfRequestsOnly":true,"historyCacheSize":0}"#;

/// The style of every page.
pub const STYLE: &str = include_str!("assets/style.css");
/// What asks for the scripts of a page when it has been painted.
pub const LATER: &str = include_str!("assets/later.js");

/// A page of a user who is logged in.
pub fn page(visit: &Visit, tab: &str, status: &Value, body: Markup) -> Response {
    Html(whole(tab, framed(visit, tab, Some(status), body)).into_string()).into_response()
}

/// A page of one who is not, with nothing around it.
pub fn bare(title: &str, body: Markup) -> Response {
    let body = html! {
        main.bare {
            h1 { (icons::mark()) "Headstack" }
            (body)
            (footer())
        }
    };
    Html(whole(title, body).into_string()).into_response()
}

/// The page of a problem.
pub fn problem(visit: Option<&Visit>, problem: &Problem) -> Response {
    let body = html! {
        section.problem role="alert" {
            h1 { (capital(&problem.message)) }
            @if let Some(remedy) = &problem.remedy { p { "Try: " (remedy) } }
            p { a.button href="/" { "Global View" } }
        }
    };
    match visit.filter(|visit| visit.user().is_some()) {
        Some(visit) => Html(whole("Problem", framed(visit, "", None, body)).into_string()).into_response(),
        None => bare("Problem", body),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

/// A part of a page that is fetched again when something has happened.
pub fn live(visit: &Visit, body: Markup) -> Markup {
    live_at(visit.path(), body)
}

/// The same of a part that the page of another path has too.
pub fn live_at(path: &str, body: Markup) -> Markup {
    html! {
        div #live hx-get=(path) hx-trigger="store from:body" hx-select="#live" hx-select-oob="#health" hx-swap="outerHTML" {
            (body)
        }
    }
}

/// The hidden field that every form of a change has.
pub fn token(visit: &Visit) -> Markup {
    html! { input type="hidden" name=(TOKEN) value=(visit.token()); }
}

/// A form that is one button.
pub fn button(visit: &Visit, action: &str, label: &str, fields: &[(&str, &str)]) -> Markup {
    let id = fields
        .iter()
        .fold(action.to_owned(), |id, (_, value)| format!("{id}-{value}"));
    html! {
        form.inline method="post" action=(action) {
            (token(visit))
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button #(slug(&id, label)) type="submit" { (label) }
        }
    }
}

fn slug(id: &str, label: &str) -> String {
    format!("b-{id}-{label}").replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

fn whole(title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="htmx-config" content=(HTMX);
                title { (title) " – Headstack" }
                link rel="icon" href="/assets/mark.svg" type="image/svg+xml";
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                @if body.0.contains("data-plot") { link rel="stylesheet" href="/assets/uPlot.min.css"; }
                script { (PreEscaped(LATER)) }
            }
        }
    }
}

fn framed(visit: &Visit, tab: &str, status: Option<&Value>, body: Markup) -> Markup {
    let store = visit.shared().store.display().to_string();
    html! {
        a.skip href="#main" { "Skip to the page" }
        header.top {
            a.brand href="/" aria-label="Headstack" { (icons::mark()) span { "Headstack" } }
            label.controller {
                span.hidden { "Controller" }
                select #controller title=(store) {
                    option value="" { (file_name(&store)) }
                    @for other in status.map_or(&[][..], |status| list(status, "controllers")) {
                        @let place = text(other, "store");
                        @if place != store { option value=(text(other, "url")) title=(place) { (file_name(place)) } }
                    }
                }
            }
            div #health { @if let Some(status) = status { (icons::array(icons::array_state(text(status, "state")))) } }
            @if let Some(user) = visit.user() {
                div.who {
                    span title=(format!("role {}", user.role)) { (user.name) }
                    (button(visit, "/logout", "Log out", &[]))
                }
            }
        }
        nav.tabs aria-label="Tabs" {
            @for (name, path) in TABS {
                a href=(path) aria-current=[(name == tab).then_some("page")] { (name) }
            }
            @if visit.may(Role::Operate) { (button(visit, "/rescan", "Rescan", &[])) }
        }
        main #main data-live="/live" {
            p #offline role="status" hidden { "The controller does not answer. This page shows how things were; it goes on by itself when the controller is back." }
            @if let Some(notice) = visit.notice() { p.notice role="status" { (notice) } }
            (body)
        }
        (footer())
    }
}

fn footer() -> Markup {
    html! {
        footer { "Headstack " (env!("CARGO_PKG_VERSION")) " · " a href="/help" { "Help" } }
    }
}
