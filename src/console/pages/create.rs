//! Create Array: all options of the guide with their defaults; then what would be made and lost, and only then the array.
//!
//! The first form asks for a rehearsal. Its answer is shown with the same wishes behind it, and where data would be lost the
//! array's name has to be typed.

use axum::response::Response;
use maud::{Markup, html};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::disks;
use crate::{
    console::{
        frame,
        users::Role,
        visit::{Problem, Visit},
        words::{list, size, size_of, text},
    },
    controller::{
        create::{Creation, words::Kind},
        interface::{Ask, StoreAsk},
    },
};

const LEVELS: [(&str, &str); 7] = [
    ("jbod", "JBOD – one disk after the other, no redundancy"),
    ("0", "RAID 0 – stripes, no redundancy"),
    ("1", "RAID 1 – mirror"),
    ("10", "RAID 10 – stripes over mirrors"),
    ("5", "RAID 5 – one disk may fail"),
    ("50", "RAID 50 – stripes over RAID 5"),
    ("6", "RAID 6 – any two disks may fail"),
];
const INITS: [(&str, &str, &str); 4] = [
    ("background", "Background", "All is zeroed while the array can be used"),
    ("foreground", "Foreground", "All is zeroed before the array can be used"),
    (
        "quick",
        "Quick Init",
        "Usable at once; both ends are wiped, the rest stays until it is written",
    ),
    (
        "keep",
        "Keep Old Data",
        "Nothing is touched; redundancy is made to fit what is there",
    ),
];
/// Block sizes in KiB.
pub const BLOCKS: [u64; 9] = [4, 8, 16, 32, 64, 128, 256, 512, 1024];
const UNITS: [(&str, u64); 3] = [("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// `GET /logical/create`.
pub async fn page(visit: Visit) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    let status = visit.status().await?;
    let free = |disk: &&Value| disk["pulled"] != true && disk["free_bytes"].as_u64().is_some_and(|free| free > 0);
    let room: Vec<&Value> = list(&status, "disks").iter().filter(free).collect();
    let body = html! {
        h1 { "Create Array" }
        form.card method="post" action="/logical/create" {
            (frame::token(&visit))
            (choice("level", "Array Type", LEVELS.iter().map(|(value, label)| (*value, *label)), "5"))
            div.field {
                label for="name" { "Array Name" }
                input #name name="name" maxlength="32" placeholder="RAID_<level>_<number>" autocomplete="off";
            }
            (choice("init", "Initialization Method", INITS.iter().map(|(value, label, _)| (*value, *label)), "background"))
            dl.facts { @for (_, label, meaning) in INITS { dt.hint { (label) } dd.hint { (meaning) } } }
            (choice("cache", "Cache Policy", [("write-back", "Write Back"), ("write-through", "Write Through")].into_iter(), "write-back"))
            div.field {
                label for="block" { "Block Size" }
                select #block name="block" { @for kib in BLOCKS { option value=(kib) selected[kib == 512] { (size(kib << 10)) } } }
            }
            div.field {
                label for="capacity" { "Capacity" }
                span.row {
                    input #capacity name="capacity" type="number" min="1" placeholder="Maximum";
                    select name="unit" aria-label="Unit" { @for (unit, _) in UNITS { option selected[unit == "GiB"] { (unit) } } }
                }
                p.hint { "Left free: as much as there is. The smallest disk sets the limit." }
            }
            h3 { "Disks" }
            @if room.is_empty() { p.hint { "No disk has free space." } }
            (disks::ticks(&room, "free_bytes", false))
            p.row { button.primary type="submit" { "Create" } a.button href="/logical" { "Back" } }
        }
    };
    Ok(frame::page(&visit, "Logical", &status, body))
}

fn choice<'a>(name: &str, label: &str, options: impl Iterator<Item = (&'a str, &'a str)>, usual: &str) -> Markup {
    html! {
        div.field {
            label for=(name) { (label) }
            select id=(name) name=(name) { @for (value, text) in options { option value=(value) selected[value == usual] { (text) } } }
        }
    }
}

fn word<T: DeserializeOwned>(visit: &Visit, name: &str) -> Result<T, Problem> {
    let wrong = |_| {
        Problem::usage(
            format!("there is no {name} {:?}", visit.form().text(name)),
            "one of those that the page offers",
        )
    };
    serde_json::from_value(json!(visit.form().text(name))).map_err(wrong)
}

/// What the form wishes for.
fn wish(visit: &Visit, status: &Value, dry_run: bool) -> Result<Creation, Problem> {
    let form = visit.form();
    let unit = UNITS
        .iter()
        .find(|(unit, _)| *unit == form.text("unit"))
        .map_or(1 << 30, |(_, bytes)| *bytes);
    let capacity = form.number("capacity")?.map(|number| number.saturating_mul(unit));
    let block = form.number("block")?.unwrap_or(512).saturating_mul(1024);
    Ok(Creation {
        name: form.given("name").map(str::to_owned),
        level: Kind::parse(form.text("level"))
            .map_err(|error| Problem::usage(error, "one of those that the page offers"))?,
        chunk_bytes: block,
        layout: None,
        init: word(visit, "init")?,
        capacity_bytes: capacity,
        images: form
            .all("disk")
            .map(|name| disks::image_of(status, name))
            .collect::<Result<_, _>>()?,
        spares: Vec::new(),
        missing: 0,
        no_bitmap: false,
        cache: word(visit, "cache")?,
        force_overwrite: false,
        yes: !dry_run,
        dry_run,
    })
}

/// `POST /logical/create`: first what would be made and lost, then, confirmed, the array.
pub async fn create(visit: Visit) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    let status = visit.status().await?;
    let look = StoreAsk::CreateArray(Box::new(wish(&visit, &status, true)?));
    let plan = visit.ask_store(look).await?;
    let name = plan.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let loses = plan
        .get("lost")
        .and_then(Value::as_array)
        .is_some_and(|lost| !lost.is_empty());
    if !visit.form().ticked("confirmed") {
        return Ok(frame::page(
            &visit,
            "Logical",
            &status,
            confirm(&visit, &plan, &name, loses),
        ));
    }
    if loses && visit.form().text("typed").trim() != name {
        return Err(Problem::conflict(
            "the name that was typed is another one; nothing was lost",
            format!("{name}, typed as it is"),
        ));
    }
    let ask = Ask::Store(StoreAsk::CreateArray(Box::new(wish(&visit, &status, false)?)));
    let what = format!("created array {name}");
    let made = visit.change(Role::Admin, &what, ask).await?;
    let name = made.get("name").and_then(Value::as_str).unwrap_or(&name).to_owned();
    Ok(visit.done("/logical", format!("The array {name} was created.")))
}

fn confirm(visit: &Visit, plan: &Map<String, Value>, name: &str, loses: bool) -> Markup {
    const WISHES: [&str; 7] = ["level", "init", "cache", "block", "capacity", "unit", "disk"];
    let facts = Value::Object(plan.clone());
    html! {
        form.card.danger[loses] method="post" action="/logical/create" {
            h1 { "Create " (name) "?" }
            dl.facts {
                dt { "Type" } dd { (text(&facts, "level")) }
                dt { "Disks" } dd { (visit.form().all("disk").collect::<Vec<_>>().join(", ")) }
                dt { "Capacity" } dd { (size_of(&facts, "size_bytes")) }
                dt { "Initialization" } dd { (visit.form().text("init")) }
                dt { "Cache Policy" } dd { (visit.form().text("cache")) }
                dt { "Block Size" } dd { (visit.form().text("block")) " KiB" }
            }
            @if loses {
                p.trouble { "This would be lost:" }
                ul { @for lost in list(&facts, "lost") { li { (lost.as_str().unwrap_or_default()) } } }
                label { "Type " strong { (name) } " to go on" input name="typed" autocomplete="off" required; }
            } @else { p { "The disks are blank: nothing is lost." } }
            (frame::token(visit))
            input type="hidden" name="confirmed" value="1";
            input type="hidden" name="name" value=(name);
            @for wish in WISHES { @for value in visit.form().all(wish) { input type="hidden" name=(wish) value=(value); } }
            p.row { button.primary type="submit" { "OK" } a.button href="/logical/create" { "Back" } }
        }
    }
}
