//! A restore from a page: what of a dump, and into which directory; then what would be overwritten, and only then the restore.
//!
//! The first form asks the controller for a plan, which the verb makes without writing anything. Its answer is shown with the
//! same wishes behind it, and where files or arrays would be overwritten the directory's name has to be typed. A tape is one
//! of the store's, or one that its catalogue names.

use std::path::{Path, PathBuf};

use axum::response::Response;
use form_urlencoded::Serializer;
use maud::{Markup, html};
use serde_json::Value;

use super::runs::now;
use crate::{
    console::{
        frame,
        users::Role,
        visit::{Fields, Problem, Visit},
        words::{count, file_name, list, text},
    },
    controller::{
        interface::StoreAsk,
        schedule::task::{Deed, Restore},
    },
};

/// Longest name of a tape in bytes: that of a file.
const NAME_MAX_BYTES: usize = 255;

/// The path of a tape of the store by its name.
///
/// # Errors
/// The name leads elsewhere.
pub fn tape_of(visit: &Visit, name: &str) -> Result<PathBuf, Problem> {
    let path = Path::new(name);
    let is_plain = path.file_name().is_some_and(|only| only == path) && !name.starts_with('.') && !name.contains('\0');
    let is_plain = is_plain && name.len() <= NAME_MAX_BYTES;
    if !is_plain {
        return Err(Problem::usage(
            format!("{name:?} is no name of a tape"),
            "a name such as full.tap, without a directory",
        ));
    }
    Ok(visit.shared().store.join("tapes").join(name))
}

/// The address of the form for a dump on tapes, or for one object of it.
pub fn address<'a>(tapes: impl Iterator<Item = &'a str>, file: &Value, path: Option<&str>) -> String {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(tapes.map(|tape| ("tape", tape)));
    query.append_pair("file", &file.to_string());
    query.extend_pairs(path.map(|path| ("path", path)));
    format!("/tapes/restore?{}", query.finish())
}

/// What a form or an address wishes for.
async fn wish(visit: &Visit, fields: &Fields) -> Result<Restore, Problem> {
    let catalogue = Value::Object(visit.ask_store(StoreAsk::Tapes).await?);
    let known = |tape: &str| {
        let mut tapes = list(&catalogue, "catalogue")
            .iter()
            .flat_map(|dump| list(dump, "tapes"));
        tapes.any(|known| known == tape)
    };
    let tape = |tape: &str| match known(tape) {
        true => Ok(tape.into()),
        false => tape_of(visit, tape),
    };
    let file = fields.number("file")?.map_or(Ok(1), u32::try_from);
    let lines = fields.all("path").flat_map(str::lines).map(str::trim);
    Ok(Restore {
        tapes: fields.all("tape").map(tape).collect::<Result<_, _>>()?,
        file: file.map_err(|_| Problem::usage("there is no such tape file", "one that the page before lists"))?,
        into: fields.text("into").trim().into(),
        paths: lines.filter(|line| !line.is_empty()).map(Into::into).collect(),
    })
}

/// `GET /tapes/restore`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    let status = visit.status().await?;
    let wish = wish(&visit, visit.query()).await?;
    let body = html! {
        form.card method="post" action="/tapes/restore" {
            h1 { "Restore" }
            dl.facts { (from(&wish)) }
            (frame::token(&visit))
            @for tape in visit.query().all("tape") { input type="hidden" name="tape" value=(tape); }
            input type="hidden" name="file" value=(wish.file);
            div.field {
                label for="path" { "Files" }
                textarea #path name="path" rows="4" placeholder="./etc/hosts" { @for path in &wish.paths { (path.display()) "\n" } }
                p.hint { "One a line, from the root of the dump. Left empty: all of it, on top of what earlier dumps of the chain left." }
            }
            div.field {
                label for="into" { "Directory" }
                input #into name="into" placeholder="/srv/restored" autocomplete="off" required;
                p.hint { "It has to exist on the controller's machine. It is written as the user " strong { (text(&status, "user")) } "." }
            }
            p.row { button.primary type="submit" { "See what it does" } a.button href="/tapes" { "Back" } }
        }
    };
    Ok(frame::page(&visit, "Tapes", &status, body))
}

fn from(wish: &Restore) -> Markup {
    html! {
        dt { "Tapes" } dd { @for tape in &wish.tapes { code { (tape.display()) } " " } }
        dt { "Tape file" } dd { (wish.file) }
    }
}

/// `POST /tapes/restore`: first what would be done and overwritten, then, confirmed, the restore.
pub async fn begin(visit: Visit) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    let status = visit.status().await?;
    let wish = wish(&visit, visit.form()).await?;
    let plan = Value::Object(visit.ask_store(StoreAsk::PlanRestore(wish.clone())).await?);
    if !visit.form().ticked("confirmed") {
        let body = confirm(&visit, &plan, &wish, text(&status, "user"));
        return Ok(frame::page(&visit, "Tapes", &status, body));
    }
    let name = name_of(&wish);
    if overwrites(&plan) && visit.form().text("typed").trim() != name {
        return Err(Problem::conflict(
            "the name that was typed is another one; nothing was restored",
            format!("{name}, typed as it is"),
        ));
    }
    let what = format!(
        "began a restore of {} into {}",
        text(&plan, "path"),
        wish.into.display()
    );
    now(&visit, Role::Admin, &what, Deed::Restore(wish)).await
}

/// What has to be typed: the last part of the directory's path.
fn name_of(wish: &Restore) -> String {
    file_name(wish.into.to_string_lossy().trim_end_matches('/')).to_owned()
}

fn overwrites(plan: &Value) -> bool {
    plan["clashes"].as_u64() != Some(0)
}

fn confirm(visit: &Visit, plan: &Value, wish: &Restore, user: &str) -> Markup {
    let name = name_of(wish);
    let overwritten = list(plan, "overwritten");
    let possible = plan["base_is_restored"] == true;
    html! {
        form.card.danger[overwrites(plan)] method="post" action="/tapes/restore" {
            h1 { "Restore into " (name) "?" }
            dl.facts {
                dt { "Dump of" } dd { code { (text(plan, "path")) } }
                dt { "Level" } dd { (plan["level"]) }
                dt { "Date" } dd { (text(plan, "date")) }
                (from(wish))
                dt { "Objects" } dd { (count(plan["objects"].as_u64().unwrap_or(0))) }
                dt { "Into" } dd { code { (wish.into.display()) } ", as the user " strong { (user) } }
            }
            @if overwrites(plan) {
                p.trouble { "This would be overwritten, and what it holds now is lost:" }
                ul { @for path in overwritten { li { code { (path.as_str().unwrap_or_default()) } } } }
                @if let Some(more) = plan["clashes"].as_u64().and_then(|all| all.checked_sub(overwritten.len() as u64)).filter(|more| *more > 0) {
                    p { "and " (count(more)) " more." }
                }
            } @else { p { "Nothing that is there is overwritten." } }
            @if let Some(refusal) = plan["refusal"].as_str().filter(|_| !overwrites(plan) || !possible) { p.trouble { (refusal) } }
            (frame::token(visit))
            @for field in ["tape", "file", "path", "into"] {
                @for value in visit.form().all(field) { input type="hidden" name=(field) value=(value); }
            }
            input type="hidden" name="confirmed" value="1";
            @if possible && overwrites(plan) {
                label { "Type " strong { (name) } " to go on" input name="typed" autocomplete="off" required; }
            }
            p.row {
                @if possible { button.primary type="submit" { "Restore" } }
                a.button href="/tapes" { "Back" }
            }
        }
    }
}
