//! What stat shows of each place, and what it can change: nothing but clocks.
//!
//! With each answer goes how long the kernel may believe it: for ever what cannot change, not at all what grows while
//! somebody writes, and a minute in between.

use std::time::{Duration, SystemTime};

use super::{Filesystem, handles::Handle, listing::Listed, lookup::FileKind};
use crate::{
    mount::{
        errno::{Refusal, Result},
        nodes::{Handed, Item, Place, SeriesNode, Tree},
        offsets::Form,
        options::LiveRead,
        view::SeriesView,
    },
    series::{ChunkInfo, Timestamp},
};

/// How long what cannot change is believed.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long the kernel believes the attributes of a growing file that nobody has open for writing. Opening one for
/// writing takes that belief away first, so it could be for ever; the limit is for what comes past the mount.
const QUIET: Duration = Duration::from_secs(60);
/// Unit of `st_blocks` in bytes.
const BLOCK_BYTES: u64 = 512;
/// Preferred length of a read, which stdio and others take for their buffers: one request.
pub const TRANSFER_BYTES: u32 = 1 << 20;
/// Bits that let somebody write.
const WRITE_BITS: u16 = 0o222;

/// What stat shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Number of the file, the same in every tree.
    pub file_id: u64,
    /// Kind of the file.
    pub kind: FileKind,
    /// Exact size in bytes.
    pub size_bytes: u64,
    /// Space it takes, in units of 512 bytes.
    pub blocks: u64,
    /// Last append, or last change of names.
    pub modified: SystemTime,
    /// Permission bits.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A place that was handed to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its node.
    pub node: u64,
    /// What stat shows.
    pub attributes: Attributes,
    /// How long the attributes hold.
    pub attributes_hold: Duration,
    /// How long the name holds.
    pub name_holds: Duration,
}

/// How long attributes stay true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// They never change, but by a trim, which says so.
    Never,
    /// With appends, and sizes have to be exact.
    WithEntries,
    /// With appends, but nobody counts on them.
    Loosely,
    /// At any time.
    Always,
}

/// Attributes without the owner.
struct Facts {
    size_bytes: u64,
    blocks: u64,
    modified: SystemTime,
    change: Change,
}

impl Filesystem {
    /// What stat shows of a node, and how long that holds.
    ///
    /// # Errors
    /// The node is gone or its series damaged.
    pub fn attributes(&self, node: u64) -> Result<(Attributes, Duration)> {
        let place = self.place(node)?;
        let (attributes, change) = self.attributes_of(place, None)?;
        Ok((attributes, self.holds(place, change)?))
    }

    /// Hands `place` to the kernel: counts one lookup.
    ///
    /// # Errors
    /// As [`Filesystem::attributes`].
    pub fn found(&self, place: Place, chunk: Option<&ChunkInfo>) -> Result<Found> {
        let (attributes, change) = self.attributes_of(place, chunk)?;
        let Handed { node, is_new } = self.nodes.hand_out(place);
        let hold = self.holds(place, change)?;
        // The kernel may be told to forget the size of a file before it has made the node it is about to make: it
        // would not listen. So it learns the size of a growing file only for a node that it has.
        let unsafe_to_keep = is_new && change == Change::WithEntries;
        Ok(Found {
            node,
            attributes,
            attributes_hold: if unsafe_to_keep { Duration::ZERO } else { hold },
            name_holds: match place {
                // A link goes with its snapshot, a snapshot's name with a rename elsewhere.
                Place::Series(_, Item::SnapshotLink(_)) => Duration::ZERO,
                _ => FOREVER,
            },
        })
    }

    /// Hands one line of a listing to the kernel; none where it should show the name alone and have the kernel look it
    /// up: the node's number is not the file's, or the file is damaged, which must not spoil the listing.
    pub fn found_listed(&self, listed: &Listed) -> Option<Found> {
        // Where readers use the page cache, a size that came with a listing could come too late: see `Stale::Grown`.
        if self.options.live_read == LiveRead::Cached && listed.place.kind() == FileKind::File {
            return None;
        }
        let shows_its_number = listed.place.tree() == Tree::Live || matches!(listed.place, Place::Root(_));
        if !shows_its_number {
            return None;
        }
        let found = self.found(listed.place, listed.chunk.as_ref()).ok()?;
        if found.node != found.attributes.file_id {
            self.forget(found.node, 1);
            return None;
        }
        Some(found)
    }

    fn holds(&self, place: Place, change: Change) -> Result<Duration> {
        // Somebody else may write to a database that is shared, or mounted for reading.
        let alone = self.is_alone();
        Ok(match change {
            Change::Never => FOREVER,
            Change::Always => Duration::ZERO,
            Change::WithEntries | Change::Loosely if !alone => Duration::ZERO,
            Change::Loosely => QUIET,
            Change::WithEntries => match place.series() {
                Some(series) if self.view(series)?.is_being_written() => Duration::ZERO,
                _ => QUIET,
            },
        })
    }

    fn attributes_of(&self, place: Place, chunk: Option<&ChunkInfo>) -> Result<(Attributes, Change)> {
        let facts = match place {
            Place::Series(series, item) => self.series_facts(series, item, chunk)?,
            Place::Statistics => self.made(self.metrics().len(), SystemTime::now(), Change::Always),
            Place::Root(Tree::Live) => self.directory(self.names_changed("".as_ref()), Change::Loosely),
            Place::Varlen(Tree::Live) => self.directory(self.names_changed("varlen".as_ref()), Change::Loosely),
            Place::Snapshots => {
                let newest = self.database.snapshots()?.iter().map(|info| info.created).max();
                self.directory(newest.unwrap_or(self.mounted), Change::Loosely)
            }
            Place::Root(Tree::Frozen(number)) | Place::Varlen(Tree::Frozen(number)) => {
                self.directory(self.snapshot(number)?.created, Change::Never)
            }
        };
        let attributes = Attributes {
            file_id: place.file_id(),
            kind: place.kind(),
            size_bytes: facts.size_bytes,
            blocks: facts.blocks,
            modified: facts.modified,
            permissions: self.permissions(place),
            uid: self.owner.0,
            gid: self.owner.1,
        };
        Ok((attributes, facts.change))
    }

    fn directory(&self, modified: SystemTime, change: Change) -> Facts {
        Facts {
            size_bytes: 0,
            blocks: 0,
            modified,
            change,
        }
    }

    /// Facts about a file that takes no space of its own. It is not said to take none: some programs believe that such
    /// a file is all hole, and do not read it.
    fn made(&self, size: usize, modified: SystemTime, change: Change) -> Facts {
        Facts {
            size_bytes: size as u64,
            blocks: u64::from(size > 0),
            modified,
            change,
        }
    }

    fn series_facts(&self, series: SeriesNode, item: Item, chunk: Option<&ChunkInfo>) -> Result<Facts> {
        let frozen = series.tree != Tree::Live;
        match item {
            // Listing the root must not open ten thousand series.
            Item::Directory if !frozen => {
                let key = self.key(series)?;
                return Ok(self.directory(self.names_changed(&Self::host_directory(&key)), Change::Loosely));
            }
            Item::SnapshotLink(number) => {
                let length = self.link_target(series, number)?.len();
                return Ok(self.made(length, self.snapshot(number)?.created, Change::Always));
            }
            _ => {}
        }
        let view = self.view(series)?;
        let modified = view.modified()?;
        let grows = if frozen { Change::Never } else { Change::WithEntries };
        Ok(match item {
            Item::Entries(_) | Item::Range { .. } | Item::ChunkText { .. } => self.entries_facts(&view, item, chunk)?,
            Item::Chunk { part, first } => self.chunk_facts(&view, part, first, chunk)?,
            Item::Latest => self.made(view.latest_line()?.len(), modified, grows),
            Item::Stats => self.made(self.series_report(&view)?.len(), modified, grows),
            Item::Meta => self.made(view.metadata_text().len(), modified, grows),
            Item::Control => self.made(0, modified, Change::Loosely),
            _ => self.directory(modified, if frozen { Change::Never } else { Change::Loosely }),
        })
    }

    fn entries_facts(&self, view: &SeriesView, item: Item, chunk: Option<&ChunkInfo>) -> Result<Facts> {
        let size_bytes = match (item, chunk) {
            (Item::ChunkText { .. }, Some(chunk)) => view.chunk_text_bytes(chunk)?,
            _ => view.size_bytes(item)?.ok_or_else(|| gone(view, item))?,
        };
        let blocks = match item {
            Item::Entries(Form::Raw) => view.allocated_bytes()?.div_ceil(BLOCK_BYTES),
            _ => u64::from(size_bytes > 0),
        };
        Ok(Facts {
            size_bytes,
            blocks,
            modified: view.modified()?,
            change: self.change(view, item, chunk)?,
        })
    }

    fn chunk_facts(&self, view: &SeriesView, part: u32, first: Timestamp, chunk: Option<&ChunkInfo>) -> Result<Facts> {
        let item = Item::Chunk { part, first };
        let change = self.change(view, item, chunk)?;
        let stat = view
            .chunk_stat(part, first, change == Change::Never)?
            .ok_or_else(|| gone(view, item))?;
        Ok(Facts {
            size_bytes: stat.size_bytes,
            blocks: stat.allocated_bytes.div_ceil(BLOCK_BYTES),
            modified: if change == Change::Never {
                stat.modified
            } else {
                view.modified()?
            },
            change,
        })
    }

    fn change(&self, view: &SeriesView, item: Item, chunk: Option<&ChunkInfo>) -> Result<Change> {
        Ok(match self.is_closed(view, item, chunk)? {
            true => Change::Never,
            false => Change::WithEntries,
        })
    }

    /// True where a file of entries can only change by a trim.
    pub(super) fn is_closed(&self, view: &SeriesView, item: Item, chunk: Option<&ChunkInfo>) -> Result<bool> {
        if view.node().tree != Tree::Live {
            return Ok(true);
        }
        let (part, first) = match item {
            Item::Range { to, .. } => return Ok(view.last_timestamp()?.is_some_and(|last| to <= last)),
            Item::Chunk { part, first } => (part, first),
            Item::ChunkText { first } => (0, first),
            _ => return Ok(false),
        };
        Ok(match chunk {
            Some(chunk) => chunk.closed,
            None => view.is_chunk_closed(part, first),
        })
    }

    fn permissions(&self, place: Place) -> u16 {
        let (files, directories) = (self.options.file_mode, self.options.dir_mode);
        let frozen = place.tree() != Tree::Live || self.options.read_only;
        let mode = match (place.kind(), place) {
            (FileKind::Link, _) => return 0o777,
            (FileKind::Directory, _) if frozen => directories & !WRITE_BITS,
            (FileKind::Directory, _) => directories,
            (FileKind::File, _) if frozen => files & !WRITE_BITS,
            (FileKind::File, Place::Series(_, Item::Entries(_) | Item::Meta)) => files,
            (FileKind::File, Place::Series(_, Item::Control)) => files & WRITE_BITS,
            (FileKind::File, _) => files & !WRITE_BITS,
        };
        mode & !self.options.umask
    }

    /// Changes the size of a file: only to what it is, and only where that is not a mistake.
    ///
    /// # Errors
    /// Entries are only appended; other files never change so.
    pub fn set_size(&self, node: u64, handle: Option<u64>, size: u64) -> Result<()> {
        let place = self.place(node)?;
        self.writable(place.tree())?;
        match (place, handle) {
            (Place::Series(series, item @ Item::Entries(_)), handle) if self.options.lax_append => {
                let view = self.view(series)?;
                let held = match handle.map(|handle| self.handles.get(handle)).transpose()?.as_deref() {
                    Some(Handle::Appending { state, .. }) => super::lock(state).held() as u64,
                    _ => 0,
                };
                let end = view.size_bytes(item)?.unwrap_or(0);
                match size == end || size == end + held {
                    true => Ok(()),
                    false => Err(Refusal::AppendOnly { action: "truncate" }),
                }
            }
            (Place::Series(_, Item::Entries(_)), _) => Err(Refusal::AppendOnly { action: "truncate" }),
            (Place::Series(_, Item::Meta), Some(handle)) => self.truncate_metadata(handle, size),
            (Place::Series(_, Item::Control), _) => Ok(()),
            _ => Err(Refusal::Fixed { action: "truncate" }),
        }
    }

    /// Sets times to now: that is what they are to within an append. Nothing happens.
    ///
    /// # Errors
    /// Times that the caller chose, owners and modes are refused: they are the series' and the mount's.
    pub fn set_attributes(&self, node: u64, only_now: bool, action: &'static str) -> Result<()> {
        let place = self.place(node)?;
        self.writable(place.tree())?;
        match only_now {
            true => Ok(()),
            false => Err(Refusal::Fixed { action }),
        }
    }
}

fn gone(view: &SeriesView, item: Item) -> Refusal {
    Refusal::Gone {
        node: Place::Series(view.node(), item).file_id(),
    }
}
