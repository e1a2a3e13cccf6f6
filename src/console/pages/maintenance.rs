//! Maintenance: the box of one array with what may be asked of it in its state, and the choice of a disk for Add Disk.
//!
//! The box offers what the controller would do in this state and nothing else; what is asked for all the same, by a page
//! that is out of date or by hand, is refused with 409 and changes nothing.

use axum::{extract::Path, response::Response};
use maud::{Markup, html};
use serde_json::Value;

use super::logical;
use crate::{
    console::{
        frame, icons,
        users::Role,
        visit::{Problem, Visit},
        words::{list, size_of, text},
    },
    controller::{
        Action, ArrayState,
        interface::{Ask, StoreAsk},
        order::{Mending, Order},
    },
};

async fn array_of(visit: &Visit, name: &str) -> Result<(Value, Value), Problem> {
    let status = visit.status().await?;
    let found = list(&status, "arrays")
        .iter()
        .find(|array| text(array, "name") == name)
        .cloned();
    let array = found.ok_or_else(|| Problem::missing(format!("there is no array {name} in use")))?;
    Ok((status, array))
}

fn state_of(array: &Value) -> ArrayState {
    icons::array_state(text(array, "state"))
}

/// `GET /logical/array/NAME`.
pub async fn page(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let (status, array) = array_of(&visit, &name).await?;
    let body = frame::live(
        &visit,
        html! {
            h1 { (name) " " (icons::array(state_of(&array))) }
            section.card {
                h2 { "Array Information" }
                (information(&array))
                (actions(&visit, &name, &array))
            }
            (logical::members(&array))
            p { a.button href="/logical" { "Logical" } }
        },
    );
    Ok(frame::page(&visit, "Logical", &status, body))
}

fn information(array: &Value) -> Markup {
    html! {
        dl.facts {
            dt { "Type" } dd { (logical::level(text(array, "level"))) }
            dt { "Capacity" } dd { (size_of(array, "size_bytes")) }
            dt { "Status" } dd { (text(array, "status")) }
            dt { "Meaning" } dd { (state_of(array).explanation()) }
            dt { "Work" } dd { (logical::work(array)) }
            dt { "UUID" } dd { code { (text(array, "uuid")) } }
        }
    }
}

/// What the state allows, in the guide's words.
fn actions(visit: &Visit, name: &str, array: &Value) -> Markup {
    let path = format!("/logical/array/{name}");
    let allows = |action| state_of(array).allows(action);
    html! {
        @if visit.may(Role::Operate) {
            div.row.maintenance {
                @if allows(Action::AddDisk) { a.button href={ (path) "/add" } { "Add Disk" } }
                @if allows(Action::Verify) { (frame::button(visit, &format!("{path}/verify"), "Verify", &[])) }
                @if allows(Action::Rebuild) { (frame::button(visit, &format!("{path}/rebuild"), "Rebuild", &[])) }
            }
        }
    }
}

/// `POST /logical/array/NAME/VERB`: work that goes on after the answer.
pub async fn work(visit: Visit, Path((name, verb)): Path<(String, String)>) -> Result<Response, Problem> {
    visit.need(Role::Operate)?;
    let (action, order) = match verb.as_str() {
        "verify" => (Action::Verify, Order::Verify { repair: Mending::None }),
        "rebuild" => (Action::Rebuild, Order::Rebuild),
        _ => return Err(Problem::missing(format!("there is no {verb}"))),
    };
    let (_, array) = array_of(&visit, &name).await?;
    check(&array, action, &verb)?;
    visit.note(&format!("{verb} of array {name}")).await?;
    let shared = visit.shared();
    let (answerer, array) = (shared.answerer.clone(), name.clone());
    let told = shared.answerer.clone();
    let ended = move |failure: Option<String>| {
        if let Some(failure) = failure {
            let text = format!("{verb} of array {array} ended: {failure}");
            let note = StoreAsk::Note {
                user: "console".to_owned(),
                text,
            };
            if let Err(error) = told(Ask::Store(note), &mut |_| Ok(())) {
                log::warn!("{error}");
            }
        }
    };
    shared.jobs.begin(
        &name,
        answerer,
        Ask::Array {
            name: Some(name.clone()),
            order,
        },
        ended,
    )?;
    Ok(visit.done(&format!("/logical/array/{name}"), "It has begun."))
}

fn check(array: &Value, action: Action, word: &str) -> Result<(), Problem> {
    let state = state_of(array);
    if state.allows(action) {
        return Ok(());
    }
    let message = format!(
        "array {} is {}: {word} is not possible in this state",
        text(array, "name"),
        state.name()
    );
    Err(Problem::conflict(message, "what its Maintenance box offers"))
}

/// `GET /logical/array/NAME/add`.
pub async fn choose(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let (status, array) = array_of(&visit, &name).await?;
    check(&array, Action::AddDisk, "Add Disk")?;
    let free = list(&status, "disks")
        .iter()
        .filter(|disk| disk["array"].is_null() && disk["pulled"] != true);
    let free: Vec<&Value> = free.collect();
    let body = html! {
        form.card method="post" action={ "/logical/array/" (name) "/add" } {
            h1 { "Add Disk to " (name) }
            p { "The disk takes the empty place and is filled from the others." }
            (frame::token(&visit))
            @if free.is_empty() { p { "No disk is free. Plug one in, or make one: " code { "headstack disk create STORE/disks/NEW.img --size SIZE" } } }
            ul.ticks {
                @for (number, disk) in free.iter().enumerate() {
                    @let disk_name = text(disk, "name");
                    li { label {
                        input type="radio" name="disk" value=(disk_name) required checked[number == 0];
                        strong { (disk_name) } span { (size_of(disk, "size_bytes")) }
                        (icons::disk(icons::disk_state(text(disk, "state"))))
                        span.hint { (disk["holds"].as_str().unwrap_or_default()) }
                    } }
                }
            }
            label.tick { input type="checkbox" name="yes" value="1"; "What the disk holds may be lost" }
            p.row {
                @if !free.is_empty() { button.primary type="submit" { "Add Disk" } }
                a.button href={ "/logical/array/" (name) } { "Back" }
            }
        }
    };
    Ok(frame::page(&visit, "Logical", &status, body))
}

/// `POST /logical/array/NAME/add`.
pub async fn add(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    visit.need(Role::Operate)?;
    let (status, array) = array_of(&visit, &name).await?;
    check(&array, Action::AddDisk, "Add Disk")?;
    let chosen = visit.form().text("disk");
    let disk = list(&status, "disks").iter().find(|disk| text(disk, "name") == chosen);
    let disk = disk.ok_or_else(|| Problem::missing(format!("there is no disk {chosen}")))?;
    let order = Order::Add {
        image: text(disk, "path").into(),
        wait: false,
        yes: visit.form().ticked("yes"),
    };
    let what = format!("add disk {chosen} to array {name}");
    visit
        .change(
            Role::Operate,
            &what,
            Ask::Array {
                name: Some(name.clone()),
                order,
            },
        )
        .await?;
    Ok(visit.done(
        &format!("/logical/array/{name}"),
        format!("{chosen} is a member of {name} now."),
    ))
}
