//! Email Setting: the mail server and who is mailed about which events.
//!
//! The password of the mail server goes in and never out: the box is blank, and to leave it blank keeps the password.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::webhook;
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
        notify::{
            NotifyAsk,
            settings::{Recipient, Secret, Security, SmtpChange},
        },
    },
};

/// The boxes of mail and of the webhook.
///
/// # Errors
/// What the controller says.
pub async fn cards(visit: &Visit) -> Result<Markup, Problem> {
    let facts = Value::Object(visit.ask_store(StoreAsk::Notify(NotifyAsk::Show)).await?);
    Ok(html! { (server(visit, &facts["smtp"])) (recipients(visit, &facts)) (webhook::card(visit, &facts["webhook"])) })
}

fn server(visit: &Visit, smtp: &Value) -> Markup {
    let field = |name: &str, label: &str, kind: &str| {
        html! { div.field { label for={ "smtp-" (name) } { (label) } input id={ "smtp-" (name) } name=(name) type=(kind) value=(text(smtp, name)) autocomplete="off"; } }
    };
    let known = smtp["password_set"] == true;
    html! {
        form.card method="post" action="/setting/mail" {
            h2 { "SMTP Setting" }
            (frame::token(visit))
            label.tick { input type="checkbox" name="enabled" value="1" checked[smtp["enabled"] == true]; "Enable Event Notification" }
            (field("server", "Server Address (name or IP)", "text"))
            (field("from", "Mail From (E-mail address)", "email"))
            (field("login", "Login Name", "text"))
            div.field {
                label for="smtp-password" { "Password" }
                input #smtp-password name="password" type="password" autocomplete="off";
                @if known { p.hint { "One is set; blank keeps it." } }
            }
            div.field {
                label for="smtp-port" { "SMTP Port" }
                input #smtp-port name="port" type="number" min="1" max="65535" value=(smtp["port"].as_u64().unwrap_or(25)) data-usual="25" data-ssl="465";
            }
            label.tick { input type="checkbox" name="ssl" value="1" checked[text(smtp, "security") == "ssl"]; "Support SSL" }
            button.primary type="submit" { "Change Setting" }
        }
    }
}

fn recipients(visit: &Visit, facts: &Value) -> Markup {
    let all = list(facts, "recipients");
    html! {
        section.card {
            h2 { "Recipients" }
            @if all.is_empty() { p.hint { "Nobody is mailed yet." } } @else {
                table.cards {
                    thead { tr { th { "E-mail" } th { "Name" } th { "Event Level" } th {} } }
                    tbody {
                        @for one in all {
                            @let address = text(one, "address");
                            @let levels: Vec<&str> = list(one, "levels").iter().filter_map(Value::as_str).collect();
                            tr {
                                td data-label="E-mail" { (address) }
                                td data-label="Name" { (text(one, "name")) }
                                td data-label="Event Level" { (levels.join(", ")) }
                                td.actions {
                                    (frame::button(visit, "/setting/recipient", "Test", &[("verb", "test"), ("address", address)]))
                                    " "
                                    (frame::button(visit, "/setting/recipient", "Remove", &[("verb", "remove"), ("address", address)]))
                                }
                            }
                        }
                    }
                }
            }
            form method="post" action="/setting/recipient" {
                h3 { "Add Recipient" }
                (frame::token(visit))
                div.field { label for="address" { "E-mail" } input #address name="address" type="email" autocomplete="off" required; }
                div.field { label for="recipient-name" { "Name" } input #recipient-name name="name" autocomplete="off"; }
                div.field {
                    span { "Event Level" }
                    span.row { @for level in Level::ALL { label.tick { input type="checkbox" name="level" value=(level.name()) checked[level != Level::Information]; (level.name()) } } }
                }
                p.row { button type="submit" name="verb" value="add" { "Add" } }
            }
        }
    }
}

/// `POST /setting/mail`.
pub async fn server_change(visit: Visit) -> Result<Response, Problem> {
    let form = visit.form();
    let ssl = form.ticked("ssl");
    let usual = if ssl { 465 } else { 25 };
    let other = if ssl { 25 } else { 465 };
    // The port follows the box, as in the guide, unless it is one of somebody's own.
    let port = form
        .number("port")?
        .filter(|port| *port != usual && *port != other)
        .unwrap_or(0);
    let port = u16::try_from(port).map_err(|_| Problem::usage("there is no such port", "1 to 65535"))?;
    let word = |name: &str| Some(form.text(name).trim().to_owned());
    let change = SmtpChange {
        enabled: Some(form.ticked("enabled")),
        server: word("server").filter(|server| !server.is_empty()),
        port: Some(port),
        security: Some(if ssl { Security::Ssl } else { Security::Auto }),
        from: word("from").filter(|from| !from.is_empty()),
        login: word("login"),
        password: Some(form.text("password"))
            .filter(|word| !word.is_empty())
            .map(|word| Secret(word.to_owned())),
        authority: None,
    };
    let ask = Ask::Store(StoreAsk::Notify(NotifyAsk::Smtp(change)));
    visit.change(Role::Admin, "set the mail server", ask).await?;
    Ok(visit.done("/setting", "The mail server was set."))
}

/// `POST /setting/recipient`.
pub async fn recipient_change(visit: Visit) -> Result<Response, Problem> {
    let form = visit.form();
    let address = form.text("address").trim().to_owned();
    let (ask, what) = match form.text("verb") {
        "remove" => (NotifyAsk::RemoveRecipient(address.clone()), "mails no more to"),
        "test" => (NotifyAsk::TestRecipient(address.clone()), "sent a test mail to"),
        _ => {
            let levels: Vec<&str> = form.all("level").collect();
            let recipient = Recipient {
                address: address.clone(),
                name: form.text("name").trim().to_owned(),
                levels: Level::ALL
                    .into_iter()
                    .filter(|level| levels.contains(&level.name()))
                    .collect(),
            };
            (NotifyAsk::AddRecipient(recipient), "mails to")
        }
    };
    let what = format!("{what} {address}");
    visit
        .change(Role::Admin, &what, Ask::Store(StoreAsk::Notify(ask)))
        .await?;
    Ok(visit.done("/setting", format!("Done: {what}.")))
}
