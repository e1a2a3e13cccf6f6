//! Maintenance: the box of one array with what may be asked of it in its state, and the choice of a disk for Add Disk.
//!
//! The box offers what the controller would do in this state and nothing else; what is asked for all the same, by a page
//! that is out of date or by hand, is refused with 409 and changes nothing.

use axum::{extract::Path, response::Response};
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::{disks, logical, repair};
use crate::{
    console::{
        frame, icons,
        users::Role,
        visit::{Problem, Visit},
        words::{list, size_of, text},
    },
    controller::{
        Action, ArrayState, Error,
        interface::{Ask, StoreAsk},
        order::{Mending, Order, verdict},
    },
};

/// The array of a name that is in use, and the status it is in.
///
/// # Errors
/// There is none.
pub async fn array_of(visit: &Visit, name: &str) -> Result<(Value, Value), Problem> {
    let status = visit.status().await?;
    let found = list(&status, "arrays")
        .iter()
        .find(|array| text(array, "name") == name)
        .cloned();
    let array = found.ok_or_else(|| Problem::missing(format!("there is no array {name} in use")))?;
    Ok((status, array))
}

/// State of an array.
pub fn state_of(array: &Value) -> ArrayState {
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
            dt { "Work" } dd { (logical::work(&array["work"])) }
            dt { "UUID" } dd { code { (text(array, "uuid")) } }
        }
    }
}

/// What the state allows, in the guide's words.
fn actions(visit: &Visit, name: &str, array: &Value) -> Markup {
    let path = format!("/logical/array/{name}");
    let state = state_of(array);
    let allows = |action| state.allows(action);
    html! {
        div.row.maintenance {
            @if visit.may(Role::Operate) {
                @if allows(Action::AddDisk) { a.button #add-disk href={ (path) "/add" } { "Add Disk" } }
                @for (verb, label, action) in WORK { @if allows(action) { (frame::button(visit, &format!("{path}/{verb}"), label, &[])) } }
                @if repair::is_for(array) { a.button #repair href={ (path) "/repair" } { "Verify and Repair" } }
            }
            @if visit.may(Role::Admin) {
                @if allows(Action::Reshape) { a.button #change href={ (path) "/change" } { "Expand / Migrate" } }
                @if allows(Action::Rename) { a.button #rename href={ (path) "/rename" } { "Rename" } }
                @if allows(Action::Delete) { a.button #delete href={ (path) "/delete" } { "Delete" } }
            }
        }
    }
}

/// Work that is begun, stopped and gone on with: part of the path, label, action.
const WORK: [(&str, &str, Action); 8] = [
    ("rebuild", "Rebuild", Action::Rebuild),
    ("stop", "Stop Rebuild", Action::StopRebuild),
    ("stop", "Stop Verify", Action::StopVerify),
    ("stop", "Stop Initialization", Action::StopInitialization),
    ("stop", "Stop Expanding/Migrating", Action::StopReshape),
    ("resume", "Resume Initialization", Action::ResumeInitialization),
    ("resume", "Resume Expanding/Migrating", Action::ResumeReshape),
    ("verify", "Verify", Action::Verify),
];

/// What a part of the path asks for in a state: what the state allows, or else the first that it could mean.
fn action_of(verb: &str, state: ArrayState) -> Result<Action, Problem> {
    let known = || {
        WORK.iter()
            .filter(|(word, ..)| *word == verb)
            .map(|(.., action)| *action)
    };
    let action = known().find(|action| state.allows(*action)).or_else(|| known().next());
    action.ok_or_else(|| Problem::missing(format!("there is no {verb}")))
}

/// `POST /logical/array/NAME/VERB`: work that goes on after the answer.
pub async fn work(visit: Visit, Path((name, verb)): Path<(String, String)>) -> Result<Response, Problem> {
    visit.need(Role::Operate)?;
    let (_, array) = array_of(&visit, &name).await?;
    check(&array, action_of(&verb, state_of(&array))?, &verb)?;
    let page = format!("/logical/array/{name}");
    let whole = Some(name.clone());
    let order = match verb.as_str() {
        "verify" => Order::Verify { repair: Mending::None },
        "rebuild" => Order::Rebuild,
        "stop" => {
            visit
                .change(
                    Role::Operate,
                    &format!("stopped the work on array {name}"),
                    Ask::Array {
                        name: whole,
                        order: Order::Pause,
                    },
                )
                .await?;
            return Ok(visit.done(&page, "It was stopped."));
        }
        _ => {
            visit
                .change(
                    Role::Operate,
                    &format!("let the work on array {name} go on"),
                    Ask::Array {
                        name: whole,
                        order: Order::Resume,
                    },
                )
                .await?;
            return Ok(visit.done(&page, "It goes on."));
        }
    };
    begin(&visit, &name, &verb, order).await?;
    Ok(visit.done(&page, "It has begun."))
}

/// Begins work that goes on after the answer; what came of it is an event.
///
/// # Errors
/// The array is being worked on already.
pub async fn begin(visit: &Visit, name: &str, what: &str, order: Order) -> Result<(), Problem> {
    let what = format!("{what} of array {name}");
    visit.note(&what).await?;
    let shared = visit.shared();
    let (answerer, told, array) = (shared.answerer.clone(), shared.answerer.clone(), name.to_owned());
    let ended = move |answer: Result<Map<String, Value>, Error>| {
        let text = match answer {
            Ok(facts) => match facts.get("verify") {
                Some(report) => verdict(&array, report).unwrap_or_else(|text| text),
                None => return,
            },
            Err(Error::ClientGone) => return,
            Err(error) => error.told().message,
        };
        let note = StoreAsk::Note {
            user: "console".to_owned(),
            text: format!("{what} ended: {text}"),
        };
        if let Err(error) = told(Ask::Store(note), &mut |_| Ok(())) {
            log::warn!("{error}");
        }
    };
    let ask = Ask::Array {
        name: Some(name.to_owned()),
        order,
    };
    shared.jobs.begin(name, answerer, ask, ended)
}

/// Refuses what the state of an array does not allow.
///
/// # Errors
/// It does not.
pub fn check(array: &Value, action: Action, word: &str) -> Result<(), Problem> {
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
    let free = disks::free(&status);
    let body = html! {
        form.card method="post" action={ "/logical/array/" (name) "/add" } {
            h1 { "Add Disk to " (name) }
            p { "The disk takes the empty place and is filled from the others." }
            (frame::token(&visit))
            @if free.is_empty() { (disks::none()) }
            (disks::ticks(&free, "size_bytes", true))
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
    let order = Order::Add {
        image: disks::image_of(&status, chosen)?,
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

/// `GET /logical/array/NAME/delete`: what is lost.
pub async fn ask_delete(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    let (status, array) = array_of(&visit, &name).await?;
    let members = list(&array, "members")
        .iter()
        .filter_map(|member| member["path"].as_str());
    let body = html! {
        form.card.danger method="post" action={ "/logical/array/" (name) "/delete" } {
            h1 { "Delete " (name) "?" }
            p { "The array and all data in it are lost: " strong { (size_of(&array, "size_bytes")) } ", " (logical::level(text(&array, "level"))) ". Its disks are free for others:" }
            ul { @for path in members { li { code { (path) } } } }
            (frame::token(&visit))
            label { "Type " strong { (name) } " to go on" input name="typed" autocomplete="off" required; }
            p.row { button.danger type="submit" { "Delete" } a.button href={ "/logical/array/" (name) } { "Back" } }
        }
    };
    Ok(frame::page(&visit, "Logical", &status, body))
}

/// `POST /logical/array/NAME/delete`.
pub async fn delete(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    if visit.form().text("typed").trim() != name {
        let remedy = format!("{name}, typed as it is");
        return Err(Problem::conflict(
            "the name that was typed is another one; nothing was deleted",
            remedy,
        ));
    }
    let ask = Ask::Store(StoreAsk::DeleteArray {
        name: name.clone(),
        yes: true,
    });
    visit.change(Role::Admin, &format!("deleted array {name}"), ask).await?;
    Ok(visit.done("/logical", format!("The array {name} was deleted.")))
}

/// `GET /logical/array/NAME/rename`.
pub async fn ask_rename(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let (status, array) = array_of(&visit, &name).await?;
    check(&array, Action::Rename, "Rename")?;
    let body = html! {
        form.card method="post" action={ "/logical/array/" (name) "/rename" } {
            h1 { "Rename " (name) }
            p { "The array is out of service for a moment; it must not be in use." }
            (frame::token(&visit))
            label { "New name" input name="new" maxlength="32" value=(name) autocomplete="off" required autofocus; }
            p.row { button.primary type="submit" { "Rename" } a.button href={ "/logical/array/" (name) } { "Back" } }
        }
    };
    Ok(frame::page(&visit, "Logical", &status, body))
}

/// `POST /logical/array/NAME/rename`.
pub async fn rename(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    let (_, array) = array_of(&visit, &name).await?;
    check(&array, Action::Rename, "Rename")?;
    let new = visit.form().text("new").trim().to_owned();
    let ask = Ask::Store(StoreAsk::RenameArray {
        name: name.clone(),
        new: new.clone(),
    });
    visit
        .change(Role::Admin, &format!("renamed array {name} to {new}"), ask)
        .await?;
    Ok(visit.done("/logical", format!("The array {name} is called {new} now.")))
}
