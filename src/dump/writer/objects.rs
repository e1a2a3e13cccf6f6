//! Objects on their way to the tape: maps, directories, files in their order, and marks of where it stands.
//!
//! Objects are read by `load.rs`, ahead of what is written; here is what of them goes where, and what is told of them.

pub(super) mod image;
mod parts;
mod trailing;

use std::{
    collections::BTreeSet,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use rustix::{
    fs::{FileType, OFlags},
    io::Errno,
};

use super::{
    Notice, Order, Watch,
    data::{Cells, SEGMENT_BYTES, Source, choose_cells, missing},
    load::{BATCH, BATCHES, Body, Loaded, is_sparse, load, load_batch},
};
use crate::dump::{
    TAPE_BLOCK_BYTES,
    ahead::Ahead,
    catalog::Places,
    context::{
        Keeper, RESTART_PASS, Reels,
        mark::{Mark, Trailing, Within},
        plan::Plan,
    },
    directory,
    error::{Error, Result, Trouble},
    inode_map::InodeMap,
    numbers::Numbers,
    record::{Header, Kind},
    stream::Stream,
    tree::{self, Tree},
};

/// Tape blocks between two marks: what a dump that was killed writes again.
const MARK_BLOCKS: u64 = 256 << 10;

/// A dump whose objects are chosen.
pub(super) struct Writer<'a, 'w> {
    tree: &'a Tree,
    plan: Arc<Plan>,
    stream: Stream,
    keeper: Option<&'a mut Keeper>,
    watch: &'a mut Watch<'w>,
    troubles: Vec<Trouble>,
    /// Numbers of objects that are not on the tape as they should be.
    again: BTreeSet<u32>,
    /// Objects with attributes that stand behind the end.
    trailing: Vec<Trailing>,
    /// True where access control lists are left out.
    no_lists: bool,
    /// Files that are done.
    files_done: usize,
    /// The file that an earlier process had begun.
    within: Option<Within>,
    /// Tape blocks at the last mark.
    marked_at: u64,
    /// The volume that was told of.
    volume: u32,
    cells: Cells,
    identity: [u8; 16],
}

impl<'a, 'w> Writer<'a, 'w> {
    pub(super) fn new(
        tree: &'a Tree,
        plan: Plan,
        stream: Stream,
        keeper: Option<&'a mut Keeper>,
        watch: &'a mut Watch<'w>,
        order: &Order,
    ) -> Self {
        Self {
            tree,
            plan: Arc::new(plan),
            stream,
            keeper,
            watch,
            troubles: Vec::new(),
            again: BTreeSet::new(),
            trailing: Vec::new(),
            no_lists: order.selection.no_lists,
            files_done: 0,
            within: None,
            marked_at: 0,
            volume: 0,
            cells: Cells::new(),
            identity: order.identity,
        }
    }

    /// What is dumped.
    pub(super) fn tree(&self) -> &Tree {
        self.tree
    }

    /// What is left when everything is written.
    pub(super) fn into_parts(self) -> (Stream, Vec<Trouble>, BTreeSet<u32>) {
        (self.stream, self.troubles, self.again)
    }

    /// Writes the maps of numbers in use and on the tape.
    pub(super) fn write_maps(&mut self, numbers: &Numbers) -> Result<()> {
        let highest = numbers.next();
        let (mut used, mut here) = (InodeMap::new(highest), InodeMap::new(highest));
        let walk = &self.plan.walk;
        for object in &walk.objects {
            used.insert(object.number);
            if object.chosen {
                here.insert(object.number);
            }
        }
        if walk.folders.iter().any(|folder| folder.unread) {
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

    /// Pass 3: directories.
    pub(super) fn write_folders(&mut self, folders: &[usize]) -> Result<()> {
        self.tell_volume();
        (self.watch.notice)(&Notice::Pass(3, "writing directories"));
        for at in folders {
            self.check_stop(3)?;
            let object = &self.plan.walk.objects[*at];
            let path = self.plan.walk.path_of_object(object);
            let loaded = load(self.tree, &path, &object.status);
            self.write_object(*at, &path, loaded)?;
        }
        Ok(())
    }

    /// Keeps what pass 4 needs to be restarted, and enters it.
    pub(super) fn begin_files(&mut self, numbers: &Numbers) -> Result<()> {
        self.check_stop(3)?;
        self.stream.end_contents();
        if let Some(keeper) = &self.keeper {
            keeper.keep_plan(&self.plan, numbers)?;
            if let Some(notes) = self.stream.notes() {
                keeper.keep_notes(notes)?;
            }
        }
        self.mark(None)?;
        if let Some(keeper) = &mut self.keeper {
            keeper.change(|context| context.pass = RESTART_PASS)?;
        }
        (self.watch.notice)(&Notice::Pass(4, "writing files"));
        Ok(())
    }

    /// Stands where an earlier process left a mark.
    pub(super) fn stand_at(&mut self, mark: Mark) -> Result<()> {
        self.files_done = usize::try_from(mark.files).unwrap_or(usize::MAX);
        self.within = mark.within;
        self.marked_at = self.stream.blocks();
        self.troubles = mark.troubles;
        self.again = mark.again;
        self.trailing = mark.trailing;
        Ok(())
    }

    /// Pass 4: everything else.
    pub(super) fn write_files(&mut self) -> Result<()> {
        if let Some(within) = self.within.take() {
            self.end_file(&within)?;
        }
        let (tree, plan) = (self.tree, self.plan.clone());
        let batches = plan.files.get(self.files_done..).unwrap_or_default().chunks(BATCH);
        let ahead = Ahead::new(|batch: &&[usize]| load_batch(tree, &plan.walk, batch), |_| 1, BATCHES);
        ahead.ask(batches.clone().enumerate());
        ahead.helped(|| {
            for (place, batch) in batches.enumerate() {
                for (at, (path, loaded)) in batch.iter().zip(ahead.take(place)) {
                    self.pause(None)?;
                    match loaded {
                        Some(loaded) => self.write_object(*at, &path, loaded)?,
                        None => self.write_junction(*at, &path)?,
                    }
                    self.files_done += 1;
                }
            }
            Ok(())
        })
    }

    /// Between two segments of pass 4: stops where that is asked for, and leaves a mark now and then.
    fn pause(&mut self, within: Option<(u64, &Header)>) -> Result<()> {
        let stopped = self.check_stop(RESTART_PASS);
        let blocks = self.stream.blocks();
        if stopped.is_err() || blocks - self.marked_at >= MARK_BLOCKS {
            self.mark(within)?;
        }
        (self.watch.notice)(&Notice::Written(blocks));
        self.tell_volume();
        stopped
    }

    fn tell_volume(&mut self) {
        if self.volume != self.stream.volume() {
            self.volume = self.stream.volume();
            (self.watch.notice)(&Notice::Volume(self.stream.tape()));
        }
    }

    fn check_stop(&self, pass: u8) -> Result<()> {
        if self.watch.stop.load(Ordering::Relaxed) {
            let path = self.tree.path().to_path_buf();
            return Err(Error::Interrupted { path, pass });
        }
        Ok(())
    }

    /// Keeps where the dump stands.
    fn mark(&mut self, within: Option<(u64, &Header)>) -> Result<()> {
        self.marked_at = self.stream.blocks();
        let Some(keeper) = self.keeper.as_mut().filter(|keeper| keeper.context().order.history) else {
            return Ok(());
        };
        let places = self.stream.notes().and_then(|notes| notes.places.as_ref());
        let places_count = places.map_or(0, Places::count) as u64;
        let mark = Mark {
            files: self.files_done as u64,
            within: within.map(|(offset, header)| Within::new(offset, header)),
            places: places_count,
            troubles: self.troubles.clone(),
            again: self.again.clone(),
            trailing: self.trailing.clone(),
            standing: self.stream.stand()?,
        };
        let places = self.stream.notes().and_then(|notes| notes.places.as_ref());
        // A tape that was full is no part of the set any more.
        let reels = Reels::of(self.stream.volumes());
        if keeper.context().reels != reels {
            keeper.change(|context| context.reels = reels)?;
        }
        keeper.keep_mark(&mark, places)
    }

    /// Writes an object with all that belongs to it; what is lost of it is for the next increment.
    fn write_object(&mut self, at: usize, path: &Path, loaded: Result<Loaded, Errno>) -> Result<()> {
        if matches!(&loaded, Ok(loaded) if matches!(loaded.body, Body::Image)) {
            self.mark_image()?;
        }
        let told = self.troubles.len();
        self.write_loaded(at, path, loaded)?;
        self.note_losses(at, told);
        Ok(())
    }

    /// Notes an object of which something is lost, as the troubles from a place on tell.
    fn note_losses(&mut self, at: usize, from: usize) {
        if self.troubles.iter().skip(from).any(|trouble| trouble.loss) {
            self.again.insert(self.plan.walk.objects[at].number);
        }
    }

    /// Leaves an object to the next increment.
    pub(super) fn leave(&mut self, at: usize) {
        self.again.insert(self.plan.walk.objects[at].number);
    }

    fn write_loaded(&mut self, at: usize, path: &Path, loaded: Result<Loaded, Errno>) -> Result<()> {
        let object = &self.plan.walk.objects[at];
        let (number, walked) = (object.number, object.status.identity);
        if object.name.len() > directory::NAME_SAFE_BYTES {
            self.warn(path, "its name of 255 bytes is lost by stock restore".into());
        }
        let Loaded {
            status,
            body,
            attributes,
        } = match loaded {
            Ok(loaded) => loaded,
            Err(Errno::BUSY) => {
                let what = "is busy, as what is being restored is, and left to the next dump";
                return self.lose(path, what.into());
            }
            Err(errno) => return self.lose(path, format!("is not on the tape: {errno}")),
        };
        if (status.identity.inode, status.identity.kind) != (walked.inode, walked.kind) {
            let what = "is not on the tape: another object took its place meanwhile";
            return self.lose(path, what.into());
        }
        let times = [status.node.modified, status.node.accessed];
        if !times.iter().all(|time| time.is_tellable()) {
            let what = "has a time outside 1970 to 2106, which stock restore gets wrong";
            self.warn(path, what.into());
        }
        let mut header = self.header(Kind::Inode, Some(&status));
        header.number = number;
        match body {
            Body::Nothing if status.file_type() == FileType::Directory => {
                let bytes = self.directory_bytes(at);
                header.node.size_bytes = bytes.len() as u64;
                self.write_bytes(&mut header, &bytes)?;
            }
            Body::Nothing => {
                header.node.size_bytes = 0;
                self.segment(&mut header, &[])?;
            }
            Body::Target(Ok(target)) => {
                header.node.size_bytes = target.len() as u64;
                self.write_bytes(&mut header, &target)?;
            }
            Body::Target(Err(errno)) => return self.lose(path, format!("is not on the tape: {errno}")),
            Body::Small(read) => {
                choose_cells(&mut header, &read.bytes);
                self.cells_segment(&mut header, &read.bytes)?;
                let size = usize::try_from(header.node.size_bytes).unwrap_or(read.length);
                if let Some(what) = missing(size, read.length, read.error, 0) {
                    self.lose(path, what)?;
                }
            }
            Body::Large(file) => {
                let sparse = is_sparse(&file);
                self.write_large(&mut header, path, Source::File(file.as_fd()), sparse, 0)?;
            }
            Body::Image => {
                if !self.write_image(&mut header, path, &status.identity)? {
                    return Ok(());
                }
            }
        }
        self.write_attributes(&header, path, walked, attributes)
    }

    /// Writes the segments of a large file from an offset on.
    fn write_large(
        &mut self,
        header: &mut Header,
        path: &Path,
        source: Source<'_>,
        sparse: bool,
        from_bytes: u64,
    ) -> Result<()> {
        let size = header.node.size_bytes;
        let mut offset = from_bytes;
        let mut trouble = None;
        self.cells.begin();
        while offset < size {
            if offset > from_bytes {
                self.pause(Some((offset, header)))?;
            }
            let lost = self.cells.read(header, source, offset, sparse);
            trouble = trouble.or(lost);
            let blocks = self.cells.blocks(header);
            if let Some(private) = &mut header.private {
                private.checksum = blocks.checksum();
                private.offset_bytes = offset;
            }
            self.stream.segment(header, blocks)?;
            header.kind = Kind::Address;
            offset += SEGMENT_BYTES as u64;
        }
        match trouble {
            Some(what) => self.lose(path, what),
            None => Ok(()),
        }
    }

    /// Writes what is left of a file that an earlier process had begun.
    fn end_file(&mut self, within: &Within) -> Result<()> {
        let at = self.plan.files.get(self.files_done).copied();
        let (Some(at), Some(mut header)) = (at, within.header()) else {
            return Err(Error::BadParameter {
                parameter: "context",
                value: within.offset_bytes.to_string(),
                reason: "the file that it stopped in is not in its plan",
            });
        };
        let object = &self.plan.walk.objects[at];
        let path = self.plan.walk.path_of_object(object);
        let walked = object.status.identity;
        if self.tree.images().of(&walked).is_some() {
            return self.end_image(&mut header, &path, at, within.offset_bytes);
        }
        let opened = self.tree.open_at(&path, OFlags::RDONLY).and_then(|file| {
            let identity = tree::status_at(&file, c"")?.identity;
            if (identity.inode, identity.kind) == (walked.inode, walked.kind) {
                Ok(file)
            } else {
                Err(Errno::STALE)
            }
        });
        let attributes = match &opened {
            Ok(file) => tree::attributes(file),
            Err(errno) => Err((*errno).into()),
        };
        let told = self.troubles.len();
        let (source, sparse) = match &opened {
            Ok(file) => (Source::File(file.as_fd()), is_sparse(file)),
            Err(errno) => (Source::Lost(*errno), false),
        };
        self.write_large(&mut header, &path, source, sparse, within.offset_bytes)?;
        self.files_done += 1;
        self.write_attributes(&header, &path, walked, attributes)?;
        self.note_losses(at, told);
        Ok(())
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

    pub(super) fn tell(&mut self, trouble: Trouble) {
        (self.watch.notice)(&Notice::Trouble(trouble.clone()));
        self.troubles.push(trouble);
    }
}
