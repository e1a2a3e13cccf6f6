//! Places of the mounted tree and the numbers that the kernel knows them by.
//!
//! A *place* says what a file is: not its name, which a rename changes, but whose it is and which of its files. A *file
//! id* is what `st_ino` shows; it depends on the place alone, so it is the same after a remount, and the same in the live
//! tree and in every snapshot:
//!
//! | file id | place |
//! |---|---|
//! | 1, 2, 3, 4 | root, `varlen`, `.snapshot`, `.stats` |
//! | `id << 8 \| item` | directory and fixed files of series `id`, which starts at 1 and is never reused |
//! | `1 << 48 \| number << 8` | the directory of a snapshot: it has no twin, and must not look like the root |
//! | `1 << 62 \| hash` | chunks, ranges, links: 62 bits of a hash of series, item and timestamps |
//!
//! A *node* is what the kernel holds, and must be unique: two places never share one, for the kernel would mix their
//! pages. A live place has its file id for a number. A place in a snapshot, and a place whose hash is taken, gets the
//! next number above `1 << 63`, which is never shown: [`super::adapter`] answers `stat` with the file id.
//!
//! The table holds what the kernel holds: a node enters when a lookup or listing hands it out and leaves when the kernel
//! has forgotten as many lookups.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::offsets::Form;
use crate::series::{Kind, SeriesId, Timestamp};

/// Node and file id of the root.
pub const ROOT: u64 = 1;
/// First of the numbers that are never shown.
const HIDDEN: u64 = 1 << 63;

/// Which tree a place is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tree {
    /// The series as they are.
    Live,
    /// The snapshot of this number.
    Frozen(u32),
}

/// One series in one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesNode {
    /// Its tree.
    pub tree: Tree,
    /// Its namespace.
    pub kind: Kind,
    /// Its number.
    pub id: SeriesId,
}

/// One file of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item {
    /// The directory that bears the series' name.
    Directory,
    /// `raw` or `text`: all entries.
    Entries(Form),
    /// `latest`.
    Latest,
    /// `stats`.
    Stats,
    /// `meta`.
    Meta,
    /// `ctl`.
    Control,
    /// `chunks`.
    Chunks,
    /// `range`.
    Ranges,
    /// `.snapshot`.
    Snapshots,
    /// A link in it to this series in the snapshot of that number.
    SnapshotLink(u32),
    /// `chunks/root`, `chunks/1`, ..: the chunks of one part of a variable-length series.
    Part(u32),
    /// A chunk file.
    Chunk {
        /// Part of a variable-length series; 0 in a fixed one.
        part: u32,
        /// Its first timestamp.
        first: Timestamp,
    },
    /// A chunk's entries as text.
    ChunkText {
        /// The chunk's first timestamp.
        first: Timestamp,
    },
    /// A file in `range`.
    Range {
        /// `.raw` or `.text`.
        form: Form,
        /// Smallest timestamp.
        from: Timestamp,
        /// Largest timestamp.
        to: Timestamp,
    },
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The root, or the directory of a snapshot.
    Root(Tree),
    /// `varlen`.
    Varlen(Tree),
    /// `.snapshot` in the root.
    Snapshots,
    /// `.stats` in the root.
    Statistics,
    /// A file or directory of a series.
    Series(SeriesNode, Item),
}

impl Place {
    /// The series it belongs to.
    pub fn series(self) -> Option<SeriesNode> {
        match self {
            Self::Series(series, _) => Some(series),
            _ => None,
        }
    }

    /// The tree it is in.
    pub fn tree(self) -> Tree {
        match self {
            Self::Root(tree) | Self::Varlen(tree) => tree,
            Self::Series(series, _) => series.tree,
            Self::Snapshots | Self::Statistics => Tree::Live,
        }
    }

    /// The same place in the live tree.
    fn live(self) -> Self {
        match self {
            Self::Varlen(_) => Self::Varlen(Tree::Live),
            Self::Series(series, item) => Self::Series(
                SeriesNode {
                    tree: Tree::Live,
                    ..series
                },
                item,
            ),
            other => other,
        }
    }

    /// What `st_ino` shows.
    pub fn file_id(self) -> u64 {
        match self {
            Self::Root(Tree::Live) => ROOT,
            Self::Varlen(_) => 2,
            Self::Snapshots => 3,
            Self::Statistics => 4,
            Self::Root(Tree::Frozen(number)) => 1 << 48 | u64::from(number) << 8,
            Self::Series(series, item) => match item.fixed_number() {
                Some(number) => u64::from(series.id.0) << 8 | number,
                None => 1 << 62 | item.hash(series.id) >> 2,
            },
        }
    }
}

impl Item {
    /// Number of an item that every series has once.
    fn fixed_number(self) -> Option<u64> {
        Some(match self {
            Self::Directory => 0,
            Self::Entries(Form::Raw) => 1,
            Self::Entries(Form::Text) => 2,
            Self::Latest => 3,
            Self::Stats => 4,
            Self::Meta => 5,
            Self::Control => 6,
            Self::Chunks => 7,
            Self::Ranges => 8,
            Self::Snapshots => 9,
            _ => return None,
        })
    }

    /// A hash that will be the same in every version: FNV-1a over the words, then the finish of splitmix64.
    fn hash(self, series: SeriesId) -> u64 {
        let (kind, a, b) = match self {
            Self::SnapshotLink(number) => (1, u64::from(number), 0),
            Self::Part(part) => (2, u64::from(part), 0),
            Self::Chunk { part, first } => (3, u64::from(part), first.0),
            Self::ChunkText { first } => (4, 0, first.0),
            Self::Range { form, from, to } => (if form == Form::Raw { 5 } else { 6 }, from.0, to.0),
            _ => (0, 0, 0),
        };
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for byte in [u64::from(series.0), kind, a, b].into_iter().flat_map(u64::to_le_bytes) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }
}

/// A node as it was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed {
    /// Its number.
    pub node: u64,
    /// True where the kernel did not hold it before.
    pub is_new: bool,
}

#[derive(Debug)]
struct Node {
    place: Place,
    lookups: u64,
}

#[derive(Debug, Default)]
struct Nodes {
    by_number: HashMap<u64, Node>,
    by_place: HashMap<Place, u64>,
    by_series: HashMap<SeriesNode, HashSet<u64>>,
    hidden: u64,
}

/// What the kernel holds.
#[derive(Debug, Default)]
pub struct NodeTable(Mutex<Nodes>);

impl NodeTable {
    fn lock(&self) -> MutexGuard<'_, Nodes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What node `number` is; none where the kernel was never given it.
    pub fn place(&self, number: u64) -> Option<Place> {
        match number {
            ROOT => Some(Place::Root(Tree::Live)),
            _ => self.lock().by_number.get(&number).map(|node| node.place),
        }
    }

    /// The node that `place` is; none where the kernel does not hold it.
    pub fn number(&self, place: Place) -> Option<u64> {
        match place {
            Place::Root(Tree::Live) => Some(ROOT),
            _ => self.lock().by_place.get(&place).copied(),
        }
    }

    /// Counts one lookup of `place`.
    pub fn hand_out(&self, place: Place) -> Handed {
        let mut nodes = self.lock();
        if let Some(&number) = nodes.by_place.get(&place) {
            nodes.count(number);
            return Handed {
                node: number,
                is_new: false,
            };
        }
        let shown = place.file_id();
        let has_own_id = place.tree() == Tree::Live || matches!(place, Place::Root(_));
        let number = if has_own_id && !nodes.by_number.contains_key(&shown) {
            shown
        } else {
            nodes.hidden += 1;
            HIDDEN | nodes.hidden
        };
        nodes.insert(number, place);
        Handed {
            node: number,
            is_new: true,
        }
    }

    /// Counts one lookup of whatever has `place`'s file id for its number, which the kernel is about to forget again.
    pub fn lend_file_id(&self, place: Place) {
        let mut nodes = self.lock();
        let shown = place.file_id();
        if nodes.by_number.contains_key(&shown) {
            nodes.count(shown);
        } else {
            nodes.insert(shown, place.live());
        }
    }

    /// Takes back `lookups` lookups of a node; returns its series where that was the last node of it.
    pub fn forget(&self, number: u64, lookups: u64) -> Option<SeriesNode> {
        let mut nodes = self.lock();
        let node = nodes.by_number.get_mut(&number)?;
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups > 0 {
            return None;
        }
        let place = node.place;
        nodes.by_number.remove(&number);
        if nodes.by_place.get(&place) == Some(&number) {
            nodes.by_place.remove(&place);
        }
        let series = place.series()?;
        let siblings = nodes.by_series.get_mut(&series)?;
        siblings.remove(&number);
        if siblings.is_empty() {
            nodes.by_series.remove(&series);
            return Some(series);
        }
        None
    }

    /// The nodes of one series that the kernel holds.
    pub fn of_series(&self, series: SeriesNode) -> Vec<(u64, Place)> {
        let nodes = self.lock();
        let numbers = nodes.by_series.get(&series).into_iter().flatten();
        numbers
            .filter_map(|n| Some((*n, nodes.by_number.get(n)?.place)))
            .collect()
    }

    /// How many nodes the kernel holds.
    pub fn len(&self) -> usize {
        self.lock().by_number.len()
    }

    /// True where the kernel holds none but the root.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Nodes {
    fn count(&mut self, number: u64) {
        if let Some(node) = self.by_number.get_mut(&number) {
            node.lookups += 1;
        }
    }

    fn insert(&mut self, number: u64, place: Place) {
        self.by_number.insert(number, Node { place, lookups: 1 });
        self.by_place.insert(place, number);
        if let Some(series) = place.series() {
            self.by_series.entry(series).or_default().insert(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(tree: Tree, id: u32, item: Item) -> Place {
        let kind = Kind::Fixed;
        Place::Series(
            SeriesNode {
                tree,
                kind,
                id: SeriesId(id),
            },
            item,
        )
    }

    fn chunk(first: u64) -> Item {
        Item::Chunk {
            part: 0,
            first: Timestamp(first),
        }
    }

    const RAW: Item = Item::Entries(Form::Raw);

    /// File ids are promises across versions and remounts: these were worked out by hand and with Python.
    #[test]
    fn file_ids_are_pinned() {
        assert_eq!(Place::Root(Tree::Live).file_id(), 1);
        assert_eq!(Place::Varlen(Tree::Frozen(7)).file_id(), 2);
        assert_eq!(Place::Root(Tree::Frozen(7)).file_id(), 0x1_0000_0000_0700);
        assert_eq!(place(Tree::Live, 5, Item::Directory).file_id(), 0x500);
        assert_eq!(place(Tree::Live, 5, Item::Meta).file_id(), 0x505);
        assert_eq!(place(Tree::Live, u32::MAX, RAW).file_id(), 0xff_ffff_ff01);
        assert_eq!(place(Tree::Live, 5, chunk(1000)).file_id(), 9_152_098_494_052_741_098);
    }

    #[test]
    fn a_file_has_one_id_and_two_nodes_in_two_trees() {
        let table = NodeTable::default();
        for item in [RAW, chunk(9), Item::Directory] {
            let (live, frozen) = (place(Tree::Live, 3, item), place(Tree::Frozen(1), 3, item));
            assert_eq!(live.file_id(), frozen.file_id());
            let (a, b) = (table.hand_out(live).node, table.hand_out(frozen).node);
            assert_eq!(a, live.file_id());
            assert_ne!(a, b);
            assert_eq!((table.place(a), table.place(b)), (Some(live), Some(frozen)));
        }
    }

    #[test]
    fn a_node_lives_as_long_as_the_kernel_holds_it() {
        let table = NodeTable::default();
        let (raw, meta) = (place(Tree::Live, 3, RAW), place(Tree::Live, 3, Item::Meta));
        let first = table.hand_out(raw);
        assert!(first.is_new && !table.hand_out(raw).is_new);
        let other = table.hand_out(meta);
        assert_eq!(table.of_series(raw.series().unwrap()).len(), 2);
        assert_eq!(table.forget(first.node, 1), None);
        assert_eq!(table.place(first.node), Some(raw));
        assert_eq!(table.forget(first.node, 1), None);
        assert_eq!(table.place(first.node), None);
        assert_eq!(table.forget(other.node, 1), raw.series());
        assert!(table.is_empty());
        assert_eq!(table.forget(other.node, 1), None);
    }

    #[test]
    fn a_lent_file_id_survives_until_it_is_forgotten_and_takes_no_real_lookup_with_it() {
        let table = NodeTable::default();
        let (live, frozen) = (place(Tree::Live, 3, RAW), place(Tree::Frozen(1), 3, RAW));
        table.lend_file_id(frozen);
        let held = table.hand_out(live);
        table.forget(frozen.file_id(), 1);
        assert_eq!(table.place(held.node), Some(live));
        table.forget(held.node, 1);
        assert!(table.is_empty());
    }

    #[test]
    fn a_taken_number_makes_way_for_no_one() {
        let table = NodeTable::default();
        let a = place(Tree::Live, 3, chunk(9));
        table.lock().insert(a.file_id(), place(Tree::Live, 4, chunk(8)));
        let handed = table.hand_out(a);
        assert_ne!(handed.node, a.file_id());
        assert_eq!(table.place(handed.node), Some(a));
        assert_eq!(table.place(a.file_id()), Some(place(Tree::Live, 4, chunk(8))));
    }

    #[test]
    fn hashes_keep_clear_of_the_other_numbers() {
        for first in 0..10_000 {
            let id = place(Tree::Live, 3, chunk(first)).file_id();
            assert_eq!(id >> 62, 1);
        }
    }
}
