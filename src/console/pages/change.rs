//! Expand and migrate: an array gets more disks, another level or block size, or uses more of disks that are larger now.
//!
//! The array can be used meanwhile and has its new size at the end. What is asked for is looked at before it begins; what
//! cannot be is refused by the controller, with the reason.

use std::path::PathBuf;

use axum::{extract::Path, response::Response};
use maud::{Markup, html};
use serde_json::Value;

use super::{
    create::BLOCKS,
    disks, logical,
    maintenance::{array_of, check},
};
use crate::{
    console::{
        frame,
        users::Role,
        visit::{Problem, Visit},
        words::{list, size, size_of, text},
    },
    controller::{Action, interface::Ask, order::Order},
};

/// Levels that some other can become, with md's numbers.
const LEVELS: [(&str, i32); 2] = [("RAID 5", 5), ("RAID 6", 6)];

/// `GET /logical/array/NAME/change`.
pub async fn page(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    let (status, array) = array_of(&visit, &name).await?;
    check(&array, Action::Reshape, "Expand or Migrate")?;
    let free = disks::free(&status);
    let body = html! {
        h1 { "Expand or Migrate " (name) }
        p { (logical::level(text(&array, "level"))) ", " (size_of(&array, "size_bytes")) ", " (list(&array, "members").len()) " disks. It can be used meanwhile, and goes on after a power cut." }
        (reshape(&visit, &name, &array, &free))
        (enlarge(&visit, &name))
        p { a.button href={ "/logical/array/" (name) } { "Back" } }
    };
    Ok(frame::page(&visit, "Logical", &status, body))
}

fn reshape(visit: &Visit, name: &str, array: &Value, free: &[&Value]) -> Markup {
    let block = array["chunk_bytes"].as_u64().map(|bytes| bytes >> 10);
    html! {
        form.card method="post" action={ "/logical/array/" (name) "/change" } {
            h2 { "More disks, another level or block size" }
            (frame::token(visit))
            div.field {
                label for="level" { "Array Type" }
                select #level name="level" {
                    option value="" { "as it is" }
                    @for (label, code) in LEVELS { option value=(code) { (label) } }
                }
                p.hint { "0, 1 and 4 can become 5, and 5 can become 6; the disks that it takes come along." }
            }
            @if let Some(block) = block {
                div.field {
                    label for="block" { "Block Size" }
                    select #block name="block" {
                        option value="" { "as it is (" (size(block << 10)) ")" }
                        @for kib in BLOCKS.iter().filter(|kib| **kib != block) { option value=(kib) { (size(kib << 10)) } }
                    }
                }
            }
            h3 { "Disks that become members" }
            @if free.is_empty() { (disks::none()) }
            (disks::ticks(free, "size_bytes", false))
            label.tick { input type="checkbox" name="yes" value="1"; "What these disks hold may be lost" }
            p.row { button.primary type="submit" name="verb" value="reshape" { "Expand / Migrate" } }
        }
    }
}

fn enlarge(visit: &Visit, name: &str) -> Markup {
    html! {
        form.card method="post" action={ "/logical/array/" (name) "/change" } {
            h2 { "Larger disks" }
            p { "Uses all of disks that are longer now, or that were replaced by longer ones one after the other." }
            (frame::token(visit))
            p.row { button type="submit" name="verb" value="enlarge" { "Use all of the disks" } }
        }
    }
}

/// `POST /logical/array/NAME/change`.
pub async fn change(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    visit.need(Role::Admin)?;
    let (status, array) = array_of(&visit, &name).await?;
    check(&array, Action::Reshape, "Expand or Migrate")?;
    let form = visit.form();
    let page = format!("/logical/array/{name}");
    let (order, what) = if form.text("verb") == "enlarge" {
        let order = Order::Enlarge {
            member_bytes: None,
            wait: false,
        };
        (order, format!("let array {name} use all of its disks"))
    } else {
        let images = form.all("disk").map(|name| disks::image_of(&status, name));
        let images: Vec<PathBuf> = images.collect::<Result<_, _>>()?;
        let level = form.number("level")?.map(i32::try_from).transpose();
        let level = level.map_err(|_| Problem::usage("there is no such level", "one of the list"))?;
        let block = form.number("block")?;
        if images.is_empty() && level.is_none() && block.is_none() {
            return Err(Problem::usage(
                "nothing is to be changed",
                "a disk, a level or a block size",
            ));
        }
        let order = Order::Reshape {
            level,
            chunk_bytes: block.and_then(|kib| kib.checked_mul(1 << 10)),
            images,
            yes: form.ticked("yes"),
            wait: false,
        };
        (order, format!("expand or migrate array {name}"))
    };
    let whole = Some(name.clone());
    visit
        .change(Role::Admin, &what, Ask::Array { name: whole, order })
        .await?;
    Ok(visit.done(&page, "It has begun; this page shows how far it is."))
}
