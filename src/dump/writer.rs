//! Passes III to V: what was chosen goes on the tape, directories first, then everything else by its number.
//!
//! A dump is one call of [`dump`]: it walks, chooses, writes and remembers. Behind every object stand its extended
//! attributes, so that stock `restore` finds them; what does not fit there is told.

mod data;

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, OFlags};

use super::{
    TAPE_BLOCK_BYTES,
    attributes::{self, Attribute},
    directory,
    dumpdates::{Dumpdates, Remembered},
    error::{Error, Result, Trouble},
    inode_map::InodeMap,
    numbers::Numbers,
    record::{CELLS_MAX, EXTENSION_ATTRIBUTES, FLAG_EXTENDED, Header, Kind, Label, Private},
    stream::Stream,
    tree::{self, Status, Tree},
    walker::{Object, Since, Walk, junction_target},
};
use crate::tape::Volumes;

/// Seconds by which a change may carry an earlier time than the clock showed.
const CLOCK_SLACK_S: i64 = 1;

/// What a dump is asked to be.
#[derive(Debug, Clone)]
pub struct Order {
    /// Level, 0 to 31.
    pub level: u8,
    /// The time now, in seconds since 1970.
    pub now_s: i64,
    /// Blocking factor, 4 to 256.
    pub factor: u32,
    /// Name of the dump, at most 15 bytes.
    pub label: String,
    /// Name of the host.
    pub host: String,
    /// What is flagged `nodump` is left out from this level on.
    pub honour_nodump_from: u8,
    /// Identity of the dump, which is like no other.
    pub identity: [u8; 16],
    /// The tree's absolute path, by which dumps are remembered.
    pub path: String,
    /// True where the dump is remembered and may be a base.
    pub update: bool,
}

/// Where a dump is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A pass begins, 1 to 5, with what it does.
    Pass(u8, &'static str),
    /// An object is told of.
    Trouble(Trouble),
}

/// What became of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Date on the tape, in seconds since 1970.
    pub date_s: i64,
    /// Date of the base; none at level 0.
    pub base_s: Option<i64>,
    /// Objects on the tape.
    pub objects: u64,
    /// Tape blocks written.
    pub blocks: u64,
    /// Volumes written.
    pub volumes: u32,
    /// What befell single objects.
    pub troubles: Vec<Trouble>,
}

/// Dumps a tree.
///
/// # Errors
/// [`Error::NoBase`], [`Error::BadParameter`], [`Error::Tree`] where its root cannot be read, [`Error::Tape`],
/// [`Error::State`]. Single objects that cannot be read are in the summary.
pub fn dump(
    tree: &Tree,
    order: &Order,
    volumes: Volumes,
    dates: &mut Dumpdates,
    notice: &mut dyn FnMut(&Notice),
) -> Result<Summary> {
    check(order)?;
    let base = match order.level {
        0 => None,
        level => Some(dates.base(&order.path, level).cloned().ok_or_else(|| Error::NoBase {
            path: tree.path().to_path_buf(),
            level,
        })?),
    };
    let mut numbers = match &base {
        None => Numbers::new(tree.status().identity),
        Some(base) => dates.numbers(base)?,
    };
    numbers.set_root(tree.status().identity);
    // Chains are told apart by their dates, so no two of a tree are alike.
    let after = dates.latest_s(&order.path).map_or(i64::MIN, |latest| latest + 1);
    let date_s = order.now_s.max(after);
    notice(&Notice::Pass(1, "walking the tree"));
    let mut walk = Walk::over(tree, &mut numbers, order.level >= order.honour_nodump_from)?;
    notice(&Notice::Pass(2, "choosing directories"));
    walk.choose(base.as_ref().map(|base| Since {
        seconds: base.since_s,
        number: base.next_number,
    }));
    let header = label_of(order, date_s, base.as_ref());
    let stream = Stream::begin(volumes, header)?;
    let troubles = std::mem::take(&mut walk.troubles);
    let mut writer = Writer {
        tree,
        walk,
        stream,
        notice,
        troubles: Vec::new(),
        objects: 0,
        cells: data::Cells::new(),
        identity: order.identity,
    };
    troubles.into_iter().for_each(|trouble| writer.tell(trouble));
    writer.write_all(&numbers)?;
    let Writer {
        stream,
        troubles,
        objects,
        ..
    } = writer;
    let (blocks, volumes) = stream.finish()?;
    remember(order, date_s, base.as_ref(), &numbers, dates)?;
    Ok(Summary {
        date_s,
        base_s: base.map(|base| base.date_s),
        objects,
        blocks,
        volumes,
        troubles,
    })
}

/// What every volume says of a dump.
fn label_of(order: &Order, date_s: i64, base: Option<&Remembered>) -> Header {
    let mut header = Header::new(Kind::Tape);
    header.date_s = date_s;
    header.base_date_s = base.map_or(0, |base| base.date_s);
    header.factor = order.factor;
    header.label = Label {
        label: order.label.clone().into(),
        level: order.level.into(),
        filesystem: order.path.clone().into(),
        device: b"headstack".to_vec(),
        host: order.host.clone().into(),
    };
    header.private = Some(private_of(None, order.identity));
    header
}

/// Remembers a dump that is done.
fn remember(
    order: &Order,
    date_s: i64,
    base: Option<&Remembered>,
    numbers: &Numbers,
    dates: &mut Dumpdates,
) -> Result<()> {
    if !order.update {
        return Ok(());
    }
    let name = data_encoding::HEXLOWER.encode(&order.identity);
    let remembered = Remembered {
        path: order.path.clone(),
        level: order.level,
        date_s,
        base_s: base.map_or(0, |base| base.date_s),
        since_s: order.now_s - CLOCK_SLACK_S,
        next_number: numbers.next(),
        chain: base.map_or_else(|| name.clone(), |base| base.chain.clone()),
        dump: name,
    };
    dates.remember(remembered, numbers)
}

/// Checks the ranges of an order.
fn check(order: &Order) -> Result<()> {
    let refuse = |parameter, value: u32, reason| {
        Err(Error::BadParameter {
            parameter,
            value: value.to_string(),
            reason,
        })
    };
    if order.level > 31 {
        return refuse("level", order.level.into(), "levels are 0 to 31");
    }
    if !(4..=256).contains(&order.factor) {
        return refuse("blocking factor", order.factor, "it is 4 to 256");
    }
    Ok(())
}

/// Our own facts of a header, without its checksum.
fn private_of(status: Option<&Status>, dump: [u8; 16]) -> Private {
    let time = |pick: fn(&Status) -> i64| status.map_or(0, pick);
    Private {
        checksum: 0,
        modified_ns: time(|status| status.node.modified.ns()),
        accessed_ns: time(|status| status.node.accessed.ns()),
        changed_ns: time(|status| status.node.changed.ns()),
        born_ns: status.map(|status| status.identity.born_ns).filter(|ns| *ns != 0),
        file_id: status.map_or(0, |status| status.identity.inode),
        device: status.map_or(0, |status| status.device),
        dump,
        offset_bytes: 0,
    }
}

/// A dump whose objects are chosen.
struct Writer<'a> {
    tree: &'a Tree,
    walk: Walk,
    stream: Stream,
    notice: &'a mut dyn FnMut(&Notice),
    troubles: Vec<Trouble>,
    objects: u64,
    cells: data::Cells,
    identity: [u8; 16],
}

impl Writer<'_> {
    fn write_all(&mut self, numbers: &Numbers) -> Result<()> {
        self.write_maps(numbers)?;
        let walk = &self.walk;
        let mut chosen: Vec<usize> = (0..walk.objects.len()).filter(|at| walk.objects[*at].chosen).collect();
        chosen.sort_by_key(|at| (walk.objects[*at].entered.is_none(), walk.objects[*at].number));
        (self.notice)(&Notice::Pass(3, "writing directories"));
        let mut files = false;
        for at in chosen {
            let object = &self.walk.objects[at];
            if object.entered.is_none() && !files {
                files = true;
                (self.notice)(&Notice::Pass(4, "writing files"));
            }
            self.write_object(at)?;
            self.objects += 1;
        }
        Ok(())
    }

    /// Writes the maps of numbers in use and on the tape.
    fn write_maps(&mut self, numbers: &Numbers) -> Result<()> {
        let highest = numbers.next();
        let (mut used, mut here) = (InodeMap::new(highest), InodeMap::new(highest));
        for object in &self.walk.objects {
            used.insert(object.number);
            if object.chosen {
                here.insert(object.number);
            }
        }
        if self.walk.folders.iter().any(|folder| folder.unread) {
            // What is in a directory that cannot be read is not known to be gone.
            numbers.iter().for_each(|number| used.insert(number));
        }
        for (kind, map) in [(Kind::Clear, used), (Kind::Bits, here)] {
            let mut header = self.header(kind, None);
            header.number = highest - 1;
            let count = map.bytes().len() / TAPE_BLOCK_BYTES;
            header.count = u32::try_from(count).unwrap_or(u32::MAX);
            self.segment(&mut header, map.bytes())?;
        }
        Ok(())
    }

    /// Writes an object with all that belongs to it.
    fn write_object(&mut self, at: usize) -> Result<()> {
        let object = &self.walk.objects[at];
        let path = self.walk.path_of_object(object);
        if object.name.len() > directory::NAME_SAFE_BYTES {
            self.warn(&path, "its name of 255 bytes is lost by stock restore".into());
        }
        let object = &self.walk.objects[at];
        let opened = match object.status.file_type() {
            FileType::RegularFile | FileType::Directory => self.tree.open_at(&path, OFlags::RDONLY),
            _ if object.status.mount_root => return self.write_junction(at, &path),
            _ => self.tree.open_at(&path, OFlags::PATH),
        };
        let (number, walked) = (object.number, object.status);
        let found = opened.and_then(|file| Ok((tree::status_at(&file, c"")?, file)));
        let (mut status, file) = match found {
            Ok(found) => found,
            Err(errno) => {
                let what = format!("is not on the tape: {errno}");
                return self.lose(&path, what);
            }
        };
        if (status.identity.inode, status.identity.kind) != (walked.identity.inode, walked.identity.kind) {
            return self.lose(
                &path,
                "is not on the tape: another object took its place meanwhile".into(),
            );
        }
        if [status.node.modified, status.node.accessed]
            .iter()
            .any(|time| !time.is_tellable())
        {
            self.warn(
                &path,
                "has a time outside 1970 to 2106, which stock restore gets wrong".into(),
            );
        }
        if matches!(status.file_type(), FileType::RegularFile | FileType::Directory) {
            status.node.flags = tree::flags_of(&file);
        }
        let mut header = self.header(Kind::Inode, Some(&status));
        header.number = number;
        self.write_opened(at, &mut header, &path, &file)
    }

    /// Writes what is open.
    fn write_opened(&mut self, at: usize, header: &mut Header, path: &Path, file: &OwnedFd) -> Result<()> {
        match FileType::from_raw_mode(header.node.mode.into()) {
            FileType::Directory => {
                let bytes = self.directory_bytes(at);
                header.node.size_bytes = bytes.len() as u64;
                self.write_bytes(header, &bytes)?;
            }
            FileType::Symlink => match tree::link_target(file) {
                Ok(target) => {
                    header.node.size_bytes = target.len() as u64;
                    self.write_bytes(header, &target)?;
                }
                Err(errno) => return self.lose(path, format!("is not on the tape: {errno}")),
            },
            FileType::RegularFile => {
                let result = self.cells.write(&mut self.stream, header, file)?;
                if let Some(what) = result {
                    self.lose(path, what)?;
                }
            }
            _ => {
                header.node.size_bytes = 0;
                self.segment(header, &[])?;
            }
        }
        match tree::attributes(file) {
            Ok(attributes) => self.write_attributes(header, path, attributes),
            Err(error) => self.lose(path, format!("its extended attributes cannot be read: {error}")),
        }
    }

    /// Writes a mount point as a symlink to itself.
    fn write_junction(&mut self, at: usize, path: &Path) -> Result<()> {
        let object = &self.walk.objects[at];
        let mut header = self.header(Kind::Inode, Some(&object.status));
        header.number = self.walk.objects[at].number;
        let target = junction_target(self.tree, path).into_os_string().into_encoded_bytes();
        header.node.size_bytes = target.len() as u64;
        self.write_bytes(&mut header, &target)
    }

    /// The names in a directory as the tape has them.
    fn directory_bytes(&self, at: usize) -> Vec<u8> {
        let object = &self.walk.objects[at];
        let parent = &self.walk.folders[object.folder];
        let mut writer = directory::Writer::new(object.number, self.walk.objects[parent.object].number);
        let entries = object.entered.map(|folder| &self.walk.folders[folder].entries);
        for (name, child) in entries.into_iter().flatten() {
            let child: &Object = &self.walk.objects[*child];
            writer.push(&directory::Entry {
                number: child.number,
                kind: u8::try_from(child.status.node.mode >> 12).unwrap_or(0),
                name: name.clone(),
            });
        }
        writer.finish()
    }

    /// Writes an object whose data is in memory.
    fn write_bytes(&mut self, header: &mut Header, bytes: &[u8]) -> Result<()> {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(TAPE_BLOCK_BYTES), 0);
        let mut chunks = padded.chunks(CELLS_MAX * TAPE_BLOCK_BYTES).peekable();
        if chunks.peek().is_none() {
            return self.segment(header, &[]);
        }
        for (at, chunk) in chunks.enumerate() {
            if let Some(private) = &mut header.private {
                private.offset_bytes = (at * CELLS_MAX * TAPE_BLOCK_BYTES) as u64;
            }
            let cells = chunk.len() / TAPE_BLOCK_BYTES;
            header.count = u32::try_from(cells).unwrap_or(0);
            header.cells = [0; CELLS_MAX];
            header.cells[..cells].fill(1);
            self.segment(header, chunk)?;
            header.kind = Kind::Address;
        }
        Ok(())
    }

    /// Writes the attributes of an object behind it.
    fn write_attributes(&mut self, object: &Header, path: &Path, attributes: Vec<Attribute>) -> Result<()> {
        let (told, refused): (Vec<_>, Vec<_>) = attributes.into_iter().partition(|attribute| {
            !matches!(
                attributes::encode(std::slice::from_ref(attribute)),
                Err(attributes::Flaw::Name { .. } | attributes::Flaw::Acl { .. })
            )
        });
        for attribute in refused {
            let name = String::from_utf8_lossy(&attribute.name).into_owned();
            self.lose(path, format!("attribute {name} has no place on a tape"))?;
        }
        if told.is_empty() {
            return Ok(());
        }
        let block = match attributes::encode(&told) {
            Ok(block) => block,
            Err(flaw) => return self.lose(path, flaw.to_string()),
        };
        let mut header = object.clone();
        header.kind = Kind::Inode;
        header.flags |= FLAG_EXTENDED;
        header.extension = EXTENSION_ATTRIBUTES;
        header.node.size_bytes = block.len() as u64;
        let cells = block.len() / TAPE_BLOCK_BYTES;
        header.count = u32::try_from(cells).unwrap_or(0);
        header.cells = [0; CELLS_MAX];
        header.cells[..cells].fill(1);
        self.segment(&mut header, &block)
    }

    /// A header with the facts that all of this dump have.
    fn header(&self, kind: Kind, status: Option<&Status>) -> Header {
        let mut header = self.stream.label().clone();
        header.kind = kind;
        header.count = 0;
        header.number = 0;
        header.node = status.map_or_else(Default::default, |status| status.node);
        header.private = Some(private_of(status, self.identity));
        header
    }

    /// Writes a segment with the checksum of its blocks.
    fn segment(&mut self, header: &mut Header, bytes: &[u8]) -> Result<()> {
        if let Some(private) = &mut header.private {
            private.checksum = crc32c::crc32c(bytes);
        }
        self.stream.segment(header, bytes.chunks(TAPE_BLOCK_BYTES))
    }

    fn warn(&mut self, path: &Path, what: String) {
        self.tell(Trouble {
            path: path.to_path_buf(),
            what,
            loss: false,
        });
    }

    #[expect(clippy::unnecessary_wraps, reason = "the callers end with it")]
    fn lose(&mut self, path: &Path, what: String) -> Result<()> {
        self.tell(Trouble {
            path: PathBuf::from(path),
            what,
            loss: true,
        });
        Ok(())
    }

    fn tell(&mut self, trouble: Trouble) {
        (self.notice)(&Notice::Trouble(trouble.clone()));
        self.troubles.push(trouble);
    }
}
