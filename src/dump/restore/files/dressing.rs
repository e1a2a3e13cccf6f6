//! What belongs to an object besides its data: owner, permissions, times, flags, attributes, access control lists.
//!
//! What the host refuses is told of the object; what it refuses to everything is told once.

use std::path::Path;

use super::{Files, Unnamed, crew::Job, found_path};
use crate::dump::{
    attributes::Attribute,
    record::{Header, Node},
    restore::{Catalogue, Space, attributes_of, target::Made},
};

impl Files<'_> {
    /// Gives the object that was made last what belongs to it; one that is still to be made is given back.
    pub(super) fn dress_last(&mut self) -> Option<Job> {
        let last = self.last.take()?;
        let Some(bytes) = last.bytes else {
            self.dress(&last.path, last.file, &last.node, &last.attributes);
            return None;
        };
        let (node, attributes) = self.fitted(&last.path, &last.node, &last.attributes);
        Some(Job {
            attributes,
            path: last.path,
            bytes,
            node,
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

    /// Gives an object an attribute that stands behind the end of the dump; a directory gets it with all others.
    pub(super) fn add_trailing(&mut self, header: &Header, block: &[u8], catalogue: &mut Catalogue, space: &Space) {
        let attributes = attributes_of(block, header.number, &mut self.restored.troubles);
        if let Some(dressing) = catalogue.dressings.get_mut(&header.number) {
            dressing.attributes.extend(attributes);
            return;
        }
        let mut paths = space.paths_of(header.number);
        if paths.is_empty() && self.unnamed == Unnamed::Adopt {
            paths.push(found_path(header.number));
        }
        let there = self.seen.contains(&header.number) && !self.destination.is_store();
        let Some(path) = paths.first().filter(|_| there) else {
            return;
        };
        // Its permissions were given to it with all else, unless they are none for this target.
        let (node, kept) = self.fitted(path, &header.node, &attributes);
        let mode = Some(node.mode).filter(|mode| *mode != header.node.mode);
        match self.destination.add(path, &kept, mode) {
            Ok(refused) => self.refuse(path, refused),
            Err(errno) => self.lose(path, format!("does not get its longest attributes: {errno}")),
        }
    }

    fn dress(&mut self, path: &Path, made: Option<Made>, node: &Node, attributes: &[Attribute]) {
        if self.destination.is_store() {
            return self.dress_series(path, node, attributes);
        }
        let (node, kept) = self.fitted(path, node, attributes);
        match self.destination.dress(path, made, &node, &kept, self.exact) {
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
