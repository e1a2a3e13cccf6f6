//! How the health of a disk went: values of an attribute over time, from the series of its pages.
//!
//! Few points are read of a long history: those that are wanted, by their number.

use serde_json::{Map, Value, json};

use super::{Inner, health::key};
use crate::controller::{
    disk::smart::{ATTRIBUTES, Smart},
    error::{Error, Kind, Result},
    interface::Span,
    library::spread,
};

impl Inner {
    /// Values of an attribute; the timestamps are microseconds since 1970. What it is at this moment is told beside them.
    pub(super) fn history(&self, disk: &str, attribute: &str, span: &Span) -> Result<Map<String, Value>> {
        let disk = self.disks.named(disk)?;
        if !ATTRIBUTES.contains(&attribute) {
            let message = format!("a disk's health has no {attribute}");
            return Err(Error::refused(Kind::NotFound, message, ATTRIBUTES.join(", ")));
        }
        let mut points = Vec::new();
        if let Some(database) = self.telemetry.database() {
            let key = key(&disk);
            if database.keys()?.contains(&key) {
                let pages = spread(&database.any(&key)?, span)?;
                let of = |page: &[u8]| Smart::decode(page)?.attribute(attribute);
                let pages = pages.into_iter();
                points = pages
                    .filter_map(|entry| Some((entry.timestamp.0, of(&entry.value)?)))
                    .collect();
            }
        }
        let points: Vec<Value> = points.into_iter().map(|point| json!(point)).collect();
        Ok(Map::from_iter([
            ("disk".to_owned(), json!(disk.name())),
            ("attribute".to_owned(), json!(attribute)),
            ("now".to_owned(), json!(self.health_of(&disk).attribute(attribute))),
            ("points".to_owned(), points.into()),
        ]))
    }
}
