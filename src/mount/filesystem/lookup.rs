//! Names: from a directory and a name to a place.
//!
//! Some names answer and are not listed: ranges, `.snapshot` in a series, and in a snapshot all but `raw` and `meta`,
//! so that whoever walks the tree meets each entry once.

use std::ffi::OsStr;

use super::{Filesystem, attributes::Found, lock};
use crate::{
    mount::{
        errno::{NAME_MAX, Refusal, Result},
        nodes::{Item, Place, SeriesNode, Tree},
        offsets::Form,
    },
    series::{self, Kind, SeriesKey, Timestamp, text::TIMESTAMP_DIGITS},
};

/// Kind of a file, as a listing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
}

impl Place {
    /// Kind of the file.
    pub fn kind(self) -> FileKind {
        match self {
            Self::Root(_) | Self::Varlen(_) | Self::Snapshots => FileKind::Directory,
            Self::Statistics => FileKind::File,
            Self::Series(_, item) => match item {
                Item::Directory | Item::Chunks | Item::Ranges | Item::Snapshots | Item::Part(_) => FileKind::Directory,
                Item::SnapshotLink(_) => FileKind::Link,
                _ => FileKind::File,
            },
        }
    }

    /// The directory it is in.
    pub fn parent(self) -> Self {
        let below = |series, item| Self::Series(series, item);
        match self {
            Self::Root(Tree::Live) | Self::Snapshots | Self::Statistics | Self::Varlen(Tree::Live) => {
                Self::Root(Tree::Live)
            }
            Self::Root(Tree::Frozen(_)) => Self::Snapshots,
            Self::Varlen(tree) => Self::Root(tree),
            Self::Series(series, Item::Directory) if series.kind == Kind::Varlen => Self::Varlen(series.tree),
            Self::Series(series, Item::Directory) => Self::Root(series.tree),
            Self::Series(series, Item::Chunk { part, .. }) if series.kind == Kind::Varlen => {
                below(series, Item::Part(part))
            }
            Self::Series(series, Item::Chunk { .. } | Item::ChunkText { .. } | Item::Part(_)) => {
                below(series, Item::Chunks)
            }
            Self::Series(series, Item::Range { .. }) => below(series, Item::Ranges),
            Self::Series(series, Item::SnapshotLink(_)) => below(series, Item::Snapshots),
            Self::Series(series, _) => below(series, Item::Directory),
        }
    }
}

/// The files of a series that are always there, as they are listed.
pub(super) const SERIES_FILES: [(&str, Item); 8] = [
    ("raw", Item::Entries(Form::Raw)),
    ("text", Item::Entries(Form::Text)),
    ("latest", Item::Latest),
    ("stats", Item::Stats),
    ("meta", Item::Meta),
    ("chunks", Item::Chunks),
    ("range", Item::Ranges),
    ("ctl", Item::Control),
];

/// Name of a chunk file, without its ending.
pub(super) fn chunk_name(first: Timestamp) -> String {
    format!("{:0width$}", first.0, width = TIMESTAMP_DIGITS)
}

/// Name of a part's directory in `chunks` of a variable-length series.
pub(super) fn part_name(part: u32) -> String {
    match part {
        0 => "root".to_owned(),
        n => n.to_string(),
    }
}

fn parse_part(name: &str) -> Option<u32> {
    let part = if name == "root" { 0 } else { name.parse().ok()? };
    (part_name(part) == name).then_some(part)
}

fn parse_chunk(name: &str, ending: &str) -> Option<Timestamp> {
    let first = name.strip_suffix(ending)?.parse().ok()?;
    (chunk_name(first) == name.strip_suffix(ending)?).then_some(first)
}

/// `A-B.raw` or `A-B.text`, where A and B are digits or nothing.
fn parse_range(name: &str) -> Option<Item> {
    let (bounds, form) = match name.rsplit_once('.')? {
        (bounds, "raw") => (bounds, Form::Raw),
        (bounds, "text") => (bounds, Form::Text),
        _ => return None,
    };
    let (from, to) = bounds.split_once('-')?;
    let bound = |digits: &str, open: Timestamp| match digits {
        "" => Some(open),
        _ if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    };
    let (from, to) = (bound(from, Timestamp::MIN)?, bound(to, Timestamp::MAX)?);
    (from <= to).then_some(Item::Range { form, from, to })
}

impl Filesystem {
    /// Finds `name` in directory `parent` and counts a lookup of it.
    ///
    /// # Errors
    /// No such name; the series is damaged.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Found> {
        let place = self.child(self.place(parent)?, name)?;
        self.found(place, None)
    }

    /// Finds `name` in a directory.
    pub(super) fn child(&self, parent: Place, name: &OsStr) -> Result<Place> {
        if name.len() > NAME_MAX {
            return Err(Refusal::NameTooLong { length: name.len() });
        }
        let none = || Refusal::NoSuchName {
            name: name.to_string_lossy().into_owned(),
        };
        let name = name.to_str().ok_or_else(none)?;
        let found = match parent {
            Place::Root(tree) => match (name, tree) {
                (".snapshot", Tree::Live) => Some(Place::Snapshots),
                (".stats", Tree::Live) => Some(Place::Statistics),
                ("varlen", tree) => Some(Place::Varlen(tree)),
                _ => self.series_named(tree, SeriesKey::fixed(name))?,
            },
            Place::Varlen(tree) => self.series_named(tree, SeriesKey::varlen(name))?,
            Place::Snapshots => self
                .snapshot_named(name)?
                .map(|number| Place::Root(Tree::Frozen(number))),
            Place::Statistics => return Err(Refusal::NotADirectory),
            Place::Series(series, item) => self.series_child(series, item, name)?,
        };
        found.ok_or_else(none)
    }

    fn series_child(&self, series: SeriesNode, item: Item, name: &str) -> Result<Option<Place>> {
        let in_snapshot = series.tree != Tree::Live;
        let found = match item {
            Item::Directory if name == ".snapshot" => (!in_snapshot).then_some(Item::Snapshots),
            Item::Directory => {
                let fixed = SERIES_FILES
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, item)| *item);
                fixed.filter(|item| !in_snapshot || *item != Item::Control)
            }
            Item::Ranges => parse_range(name),
            Item::Chunks => match (series.kind, parse_chunk(name, ".text")) {
                (_, Some(first)) => self
                    .view(series)?
                    .has_chunk(0, first)
                    .then_some(Item::ChunkText { first }),
                (Kind::Fixed, None) => self.chunk_file_named(series, 0, name)?,
                (Kind::Varlen, None) => {
                    let view = self.view(series)?;
                    parse_part(name)
                        .filter(|part| view.part(*part).is_some())
                        .map(Item::Part)
                }
            },
            Item::Part(part) => self.chunk_file_named(series, part, name)?,
            Item::Snapshots => self.link_named(series, name)?,
            _ => return Err(Refusal::NotADirectory),
        };
        Ok(found.map(|item| Place::Series(series, item)))
    }

    fn chunk_file_named(&self, series: SeriesNode, part: u32, name: &str) -> Result<Option<Item>> {
        let Some(first) = parse_chunk(name, ".chunk") else {
            return Ok(None);
        };
        let names = self
            .view(series)?
            .part(part)
            .map(|part| part.chunk_names())
            .unwrap_or_default();
        // The file behind a snapshot's last chunk may hold newer entries: what the snapshot has of it is in `raw`.
        let hidden = usize::from(series.tree != Tree::Live);
        let shown = &names[..names.len().saturating_sub(hidden)];
        Ok(shown.binary_search(&first).ok().map(|_| Item::Chunk { part, first }))
    }

    fn link_named(&self, series: SeriesNode, name: &str) -> Result<Option<Item>> {
        let Some(number) = self.snapshot_named(name)? else {
            return Ok(None);
        };
        Ok(self
            .key_in_snapshot(series, number)?
            .map(|_| Item::SnapshotLink(number)))
    }

    /// What a live series is called in a snapshot; none where it did not exist then.
    pub(super) fn key_in_snapshot(&self, series: SeriesNode, number: u32) -> Result<Option<SeriesKey>> {
        Ok(self.snapshot(number)?.by_id.get(&series.id).cloned())
    }

    fn series_named(&self, tree: Tree, key: SeriesKey) -> Result<Option<Place>> {
        let id = match tree {
            Tree::Live => match self.database.id(&key) {
                Err(series::Error::DoesNotExist { .. } | series::Error::BadName { .. }) => return Ok(None),
                other => other?,
            },
            Tree::Frozen(number) => match self.snapshot(number)?.by_key.get(&key) {
                None => return Ok(None),
                Some(id) => *id,
            },
        };
        let kind = key.kind;
        let series = SeriesNode { tree, kind, id };
        lock(&self.names).insert(series, key);
        Ok(Some(Place::Series(series, Item::Directory)))
    }

    fn snapshot_named(&self, name: &str) -> Result<Option<u32>> {
        let all = self.database.snapshots()?;
        Ok(all.into_iter().find(|info| info.name == name).map(|info| info.number))
    }

    /// Where a link leads.
    ///
    /// # Errors
    /// The node is no link, or the series was not there when the snapshot was made.
    pub fn read_link(&self, node: u64) -> Result<String> {
        match self.place(node)? {
            Place::Series(series, Item::SnapshotLink(number)) => self.link_target(series, number),
            _ => Err(Refusal::NotALink),
        }
    }

    pub(super) fn link_target(&self, series: SeriesNode, number: u32) -> Result<String> {
        let gone = Refusal::Gone {
            node: u64::from(number),
        };
        let key = self.key_in_snapshot(series, number)?.ok_or(gone)?;
        let snapshot = self.snapshot(number)?.snapshot.info().name;
        Ok(match key.kind {
            Kind::Fixed => format!("../../.snapshot/{snapshot}/{}", key.name),
            Kind::Varlen => format!("../../../.snapshot/{snapshot}/varlen/{}", key.name),
        })
    }
}

/// Name of the file of a chunk or its text.
pub(super) fn name_of_chunk_file(place: Place) -> Option<String> {
    match place {
        Place::Series(_, Item::Chunk { first, .. }) => Some(format!("{}.chunk", chunk_name(first))),
        Place::Series(_, Item::ChunkText { first }) => Some(format!("{}.text", chunk_name(first))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_names_are_understood() {
        let range = |from, to, form| {
            Some(Item::Range {
                form,
                from: Timestamp(from),
                to: Timestamp(to),
            })
        };
        assert_eq!(parse_range("5-10.raw"), range(5, 10, Form::Raw));
        assert_eq!(parse_range("00000000000000000005-7.text"), range(5, 7, Form::Text));
        assert_eq!(parse_range("5-.text"), range(5, u64::MAX, Form::Text));
        assert_eq!(parse_range("-5.text"), range(0, 5, Form::Text));
        assert_eq!(parse_range("-.raw"), range(0, u64::MAX, Form::Raw));
        for bad in [
            "10-5.raw",
            "5.raw",
            "5-10",
            "5-10.txt",
            "+5-10.raw",
            "a-b.raw",
            "5-10-15.raw",
            ".raw",
            "",
        ] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn chunk_and_part_names_have_one_spelling() {
        assert_eq!(
            parse_chunk("00000000000000000500.chunk", ".chunk"),
            Some(Timestamp(500))
        );
        assert_eq!(parse_chunk("500.chunk", ".chunk"), None);
        assert_eq!(parse_chunk("18446744073709551616.chunk", ".chunk"), None);
        assert_eq!(
            (parse_part("root"), parse_part("3"), parse_part("03"), parse_part("0")),
            (Some(0), Some(3), None, None)
        );
    }
}
