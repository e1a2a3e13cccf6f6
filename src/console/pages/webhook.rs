//! Webhook: a server that is told about events over HTTP, beside those who are mailed.
//!
//! Each event is posted as JSON. The address may carry a secret, so it is shown to those who may change it only.

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
        Level,
        interface::{Ask, StoreAsk},
        notify::{NotifyAsk, settings::Webhook},
    },
};

/// The box; `webhook` is what the controller tells of it.
pub fn card(visit: &Visit, webhook: &Value) -> Markup {
    let known = webhook["url"].is_string();
    let levels: Vec<&str> = list(webhook, "levels").iter().filter_map(Value::as_str).collect();
    let wanted = |level: Level| match known {
        true => levels.iter().any(|word| word.eq_ignore_ascii_case(level.name())),
        false => level != Level::Information,
    };
    html! {
        section.card {
            h2 { "Webhook" }
            form method="post" action="/setting/webhook" {
                (frame::token(visit))
                div.field {
                    label for="url" { "URL" }
                    input #url name="url" type="url" value=(text(webhook, "url")) placeholder="https://…" autocomplete="off" required;
                    p.hint { "Each event is posted there as JSON." }
                }
                div.field {
                    span { "Event Level" }
                    span.row { @for level in Level::ALL { label.tick { input type="checkbox" name="level" value=(level.name()) checked[wanted(level)]; (level.name()) } } }
                }
                p.row { button type="submit" name="verb" value="set" { "Set Webhook" } }
            }
            @if known {
                p.row {
                    (frame::button(visit, "/setting/webhook", "Test", &[("verb", "test")]))
                    (frame::button(visit, "/setting/webhook", "Remove", &[("verb", "remove")]))
                }
            }
        }
    }
}

/// `POST /setting/webhook`.
pub async fn change(visit: Visit) -> Result<Response, Problem> {
    let form = visit.form();
    let (ask, what) = match form.text("verb") {
        "remove" => (NotifyAsk::Webhook(None), "removed the webhook"),
        "test" => (NotifyAsk::TestWebhook, "sent a test to the webhook"),
        _ => {
            let levels: Vec<&str> = form.all("level").collect();
            let webhook = Webhook {
                url: form.text("url").trim().to_owned(),
                levels: Level::ALL
                    .into_iter()
                    .filter(|level| levels.contains(&level.name()))
                    .collect(),
            };
            (NotifyAsk::Webhook(Some(webhook)), "set the webhook")
        }
    };
    visit
        .change(Role::Admin, what, Ask::Store(StoreAsk::Notify(ask)))
        .await?;
    Ok(visit.done("/setting", format!("Done: {what}.")))
}
