//! Disks as forms let one choose them.
//!
//! Which are free, a list of them to tick, and the images of those that were ticked. What a disk holds is told beside it,
//! so that nobody gives away the wrong one.

use std::path::PathBuf;

use maud::{Markup, html};
use serde_json::Value;

use crate::console::{
    icons,
    visit::Problem,
    words::{list, size_of, text},
};

/// Disks that are plugged in and belong to no array.
pub fn free(status: &Value) -> Vec<&Value> {
    let is_free = |disk: &&Value| disk["array"].is_null() && disk["pulled"] != true;
    list(status, "disks").iter().filter(is_free).collect()
}

/// What is said where no disk is free that an array could take.
pub fn none() -> Markup {
    html! { p.hint { "No disk is free. Plug one in, or make one: " code { "headstack disk create STORE/disks/NEW.img --size SIZE" } } }
}

/// A list of disks with the size that `key` tells, of which one has to be chosen, or any number can be.
pub fn ticks(disks: &[&Value], key: &str, one: bool) -> Markup {
    html! {
        ul.ticks {
            @for (number, disk) in disks.iter().enumerate() {
                @let name = text(disk, "name");
                li { label {
                    @if one { input type="radio" name="disk" value=(name) required checked[number == 0]; }
                    @else { input type="checkbox" name="disk" value=(name); }
                    strong { (name) } span { (size_of(disk, key)) @if key == "free_bytes" { " free" } }
                    (icons::disk(icons::disk_state(text(disk, "state"))))
                    span.hint { (disk["holds"].as_str().unwrap_or_default()) }
                } }
            }
        }
    }
}

/// The image of a disk that a form names.
///
/// # Errors
/// There is none of that name.
pub fn image_of(status: &Value, name: &str) -> Result<PathBuf, Problem> {
    let disk = list(status, "disks").iter().find(|disk| text(disk, "name") == name);
    let disk = disk.ok_or_else(|| Problem::missing(format!("there is no disk {name}")))?;
    Ok(text(disk, "path").into())
}
