//! Setting: what an operator can choose of the controller, and who may use the console.
//!
//! A form sends all of its settings; only those that are others now are changed, each with an event. Who may not change
//! them sees them.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::{mail, user};
use crate::{
    console::{
        frame,
        users::Role,
        visit::{Problem, Visit},
        words::text,
    },
    controller::{
        interface::{Ask, StoreAsk},
        settings::Priority,
    },
};

/// Settings that are on or off: key, the guide's words, what it means.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "auto_rebuild",
        "Enable auto rebuild",
        "A disk that is put back, or a spare, is rebuilt without being asked for.",
    ),
    (
        "continue_on_error",
        "Enable continue rebuilding on error",
        "A rebuild goes on past bad sectors; what is lost is in the event log.",
    ),
    (
        "restrict_to_localhost",
        "Restrict to localhost access",
        "Other machines cannot reach the console. Without it the console needs a certificate, and the controller a new start.",
    ),
];

/// `GET /setting`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    let status = visit.status().await?;
    let body = html! {
        h1 { "Setting" }
        (system(&visit, &status["settings"]))
        (user::password_card(&visit))
        @if visit.may(Role::Admin) {
            (mail::cards(&visit).await?)
            (user::users_card(&visit)?)
        }
    };
    Ok(frame::page(&visit, "Setting", &status, body))
}

fn system(visit: &Visit, settings: &Value) -> Markup {
    let known = SWITCHES.iter().filter(|(key, ..)| settings[*key].is_boolean());
    html! {
        form.card method="post" action="/setting" {
            h2 { "System Setting" }
            (frame::token(visit))
            fieldset disabled[!visit.may(Role::Admin)] {
                @for (key, label, meaning) in known {
                    div.field {
                        label for=(key) { (label) }
                        select id=(key) name=(key) {
                            option value="true" selected[settings[*key] == true] { "Enabled" }
                            option value="false" selected[settings[*key] == false] { "Disabled" }
                        }
                        p.hint { (meaning) }
                    }
                }
                div.field {
                    label for="rebuild_priority" { "Rebuild Priority" }
                    select #rebuild_priority name="rebuild_priority" {
                        @for priority in Priority::ALL {
                            @let word = priority.to_string();
                            option value=(word) selected[text(settings, "rebuild_priority") == word] { (capital(&word)) }
                        }
                    }
                    p.hint { "How much of the time a rebuild may take while the array is used." }
                }
                @if let Some(port) = settings["port"].as_u64() {
                    div.field {
                        label for="port" { "Port Number" }
                        input #port name="port" type="number" min="1" max="65535" value=(port) required;
                        p.hint { "Of this console, from the next start of the controller." }
                    }
                }
            }
            @if visit.may(Role::Admin) { button.primary type="submit" { "Submit" } }
        }
    }
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_uppercase() + rest
}

/// `POST /setting`: every setting that the form has and that is another now.
pub async fn change(visit: Visit) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    let before = visit.status().await?;
    let keys = SWITCHES
        .map(|(key, ..)| key)
        .into_iter()
        .chain(["rebuild_priority", "port"]);
    let mut changed = Vec::new();
    for key in keys {
        let now = match &before["settings"][key] {
            Value::String(word) => word.clone(),
            value => value.to_string(),
        };
        let Some(value) = visit.form().given(key).filter(|value| *value != now) else {
            continue;
        };
        let ask = Ask::Store(StoreAsk::Set {
            key: key.to_owned(),
            value: value.to_owned(),
        });
        visit.change(Role::Admin, &format!("set {key} to {value}"), ask).await?;
        changed.push(format!("{key} is {value}"));
    }
    let notice = if changed.is_empty() {
        "Nothing was changed.".to_owned()
    } else {
        format!("Changed: {}.", changed.join(", "))
    };
    Ok(visit.done("/setting", notice))
}
