//! What belongs to an object besides its data: owner, permissions, times, flags, attributes, access control lists.
//!
//! What the host refuses is told of the object; what it refuses to everything is told once.

use std::path::Path;

use super::{Files, crew::Job};
use crate::dump::{
    attributes::Attribute,
    error::Trouble,
    record::Node,
    restore::{Catalogue, Space, target::Made},
};

impl Files<'_> {
    /// Gives the object that was made last what belongs to it; one that is still to be made is given back.
    pub(super) fn dress_last(&mut self) -> Option<Job> {
        let last = self.last.take()?;
        let Some(bytes) = last.bytes else {
            self.dress(&last.path, last.file, &last.node, &last.attributes);
            return None;
        };
        Some(Job {
            attributes: self.kept(&last.path, &last.attributes),
            path: last.path,
            bytes,
            node: last.node,
        })
    }

    /// Gives all directories what belongs to them, the deepest first.
    pub(in crate::dump) fn dress_directories(
        &mut self,
        catalogue: &Catalogue,
        space: &Space,
        chosen: impl Fn(&Path) -> bool,
    ) {
        for number in space.order.iter().rev() {
            let (Some(path), Some(dressing)) = (space.paths.get(number), catalogue.dressings.get(number)) else {
                continue;
            };
            if chosen(path) {
                self.dress(path, None, &dressing.node, &dressing.attributes);
            }
        }
    }

    /// Attributes that the target takes; what is too long for it is told.
    fn kept(&mut self, path: &Path, attributes: &[Attribute]) -> Vec<Attribute> {
        let limit = self.destination.list_limit();
        let (kept, long): (Vec<_>, Vec<_>) = attributes
            .iter()
            .filter_map(|attribute| self.destination.adapted(attribute))
            .partition(|attribute| limit.is_none_or(|limit| list_entries(attribute) <= limit));
        for list in long {
            let entries = list_entries(&list);
            self.restored.troubles.push(Trouble {
                path: path.to_path_buf(),
                what: format!(
                    "its access control list has {entries} entries, which is too many: its permissions stand for it"
                ),
                loss: false,
            });
        }
        kept
    }

    fn dress(&mut self, path: &Path, made: Option<Made>, node: &Node, attributes: &[Attribute]) {
        if self.destination.is_store() {
            return self.dress_series(path, node, attributes);
        }
        let kept = self.kept(path, attributes);
        match self.destination.dress(path, made, node, &kept, self.exact) {
            Ok(refused) => self.refuse(path, refused),
            Err(errno) => self.lose(path, format!("does not get its owner, permissions and times: {errno}")),
        }
    }

    /// Tells what an object did not get.
    pub(super) fn refuse(&mut self, path: &Path, refused: Vec<String>) {
        for what in refused {
            // A user who is not root may give nothing away: that is told once, not of every file.
            if !what.starts_with("owner: ") || self.refused.insert(what.clone()) {
                self.lose(path, format!("does not get its {what}"));
            }
        }
    }
}

/// How many entries an access control list has; 0 for any other attribute.
fn list_entries(attribute: &Attribute) -> usize {
    if attribute.name.starts_with(b"system.posix_acl_") {
        attribute.value.len().saturating_sub(4) / 8
    } else {
        0
    }
}
