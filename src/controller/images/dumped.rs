//! Arrays on their way to a tape: which there are, what stands in for their members, and how their bytes are read.
//!
//! An array that nobody serves is started for reading only, which keeps others from writing to its members meanwhile.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use serde_json::{Map, Value};

use super::{ask, clones::clones_of, controller, found_in};
use crate::{
    controller::{
        client::{self, Lasting},
        error::{Error, Kind, Result},
        interface::{Ask, StoreAsk},
        order::{Order, new_uuid},
        store::Store,
    },
    dump::{
        attributes::Attribute,
        images::{ALIGNMENT, ARRAY, Contents, ENDING, EPOCH, Image, Images, Open},
        record::{ImageFacts, Time},
    },
    nbd::frozen::next_data,
    raid::{
        Array,
        assemble::Assembly,
        discover::{ArraySet, Conflict, open},
        health::ArrayState,
        metadata::identity::Uuid,
    },
};

/// How an array is started that is only read.
pub(super) const READING: Assembly = Assembly {
    read_only: true,
    force: false,
    journal_always: false,
    write_through: false,
};
/// Bytes that are asked for at a time.
const PIECE_BYTES: u32 = 512 << 10;

/// The arrays of a store, and the files that they stand for in a dump, or with `only` the one array of the name that it has
/// on a tape; those that the dump leaves out are told of.
///
/// # Errors
/// The directory of the disks cannot be read, or the host has no randomness; [`Kind::NotFound`] where there is no array of
/// that name.
pub fn images_of(store: &Store, only: Option<&str>) -> Result<Images> {
    let mut images = looked_at(store)?;
    if let Some(only) = only {
        images.alone = true;
        images.all.retain(|image| image.name == only);
        if images.all.is_empty() {
            let message = format!("{}: there is no array {only}", store.root().display());
            return Err(Error::refused(
                Kind::NotFound,
                message,
                "'headstack status' for those there are",
            ));
        }
    }
    for image in &images.all {
        if let Some(reason) = &image.refused {
            tell_left_out(store, &image.name, reason);
        }
    }
    Ok(images)
}

/// The arrays of a store as [`images_of`] has them, for who only looks at them.
///
/// # Errors
/// As [`images_of`].
pub fn looked_at(store: &Store) -> Result<Images> {
    let found = found_in(store)?;
    let mut images = Images::default();
    for set in &found.arrays {
        for member in &set.members {
            images.covered.extend(covered(store, &member.image.path()));
        }
        images.all.push(image_of(store, set));
    }
    for (path, image) in clones_of(store, &found)? {
        images.covered.extend(covered(store, &path));
        images.all.push(image);
    }
    Ok(images)
}

/// The files that an array stands for where it stands for an image: that, and its part of a stripe journal.
pub(super) fn covered(store: &Store, image: &Path) -> HashSet<PathBuf> {
    let mut journal = image.as_os_str().to_owned();
    journal.push(".journal");
    let inside = |path: &Path| path.strip_prefix(store.root()).ok().map(Path::to_path_buf);
    [image, Path::new(&journal)].into_iter().filter_map(inside).collect()
}

fn tell_left_out(store: &Store, name: &str, reason: &str) {
    let told = ask(
        store,
        StoreAsk::LeftOut {
            name: name.trim_end_matches(ENDING).to_owned(),
            reason: reason.to_owned(),
        },
    );
    if let Some(Err(error)) = told {
        log::warn!("{error}");
    }
}

fn image_of(store: &Store, set: &ArraySet) -> Image {
    let facts = facts_of(store, set);
    let served = facts.is_some();
    let refused = match &facts {
        Some(facts) if facts.get("state").and_then(Value::as_str) == Some(ArrayState::Disabled.name()) => {
            Some("too few of its disks are there".to_owned())
        }
        Some(_) => None,
        None => at_rest(set),
    };
    let told_bytes = facts.and_then(|facts| facts.get("size_bytes")?.as_u64());
    let size_bytes = told_bytes.or(set.size_bytes).unwrap_or(0);
    let notes = match set.missing.len() {
        0 => Vec::new(),
        missing => vec![format!("is read without {missing} of its members, which are missing")],
    };
    let name = set.name.replace('/', "_");
    let facts = shape_of(set);
    Image {
        name: format!("{name}{ENDING}"),
        identity: set.uuid.0,
        size_bytes,
        modified: modified(set),
        attributes: attributes(set),
        facts,
        notes,
        served,
        refused,
        open: opener(store, set, served),
    }
}

/// What an array is, in md's terms.
pub(super) fn shape_of(set: &ArraySet) -> ImageFacts {
    let legs: u16 = set.legs.iter().map(|leg| leg.slots).sum();
    ImageFacts {
        epoch: EPOCH,
        nested: !set.legs.is_empty(),
        level: i16::try_from(set.level.code()).unwrap_or(i16::MAX),
        members: if set.legs.is_empty() { set.slots } else { legs },
        chunk_kib: u32::try_from(set.chunk_bytes / 1024).unwrap_or(0),
        layout: set.layout,
    }
}

/// Why an array that the controller does not serve cannot be read: too little of it is there, or another has it.
fn at_rest(set: &ArraySet) -> Option<String> {
    let conflict = set
        .conflicts
        .iter()
        .find(|conflict| !matches!(conflict, Conflict::SameName { .. }));
    let reason = set.refusal.clone().or_else(|| Some(conflict?.to_string()));
    reason.or_else(|| open(set, READING).err().map(|error| error.to_string()))
}

/// What the controller tells of an array that it serves.
fn facts_of(store: &Store, set: &ArraySet) -> Option<Map<String, Value>> {
    let ask = Ask::Array {
        name: Some(set.uuid.to_string()),
        order: Order::Status,
    };
    client::ask(controller(store)?, ask, &mut |_| Ok(())).ok()
}

/// When a member was written last.
fn modified(set: &ArraySet) -> Time {
    latest(set.members.iter().map(|member| member.image.path()))
}

/// When one of some files was written last.
pub(super) fn latest(paths: impl Iterator<Item = PathBuf>) -> Time {
    let time = |path: PathBuf| fs::metadata(path).ok()?.modified().ok();
    let last = paths.filter_map(time).max();
    let since = last
        .and_then(|last| last.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    Time {
        seconds: i64::try_from(since.as_secs()).unwrap_or(0),
        nanoseconds: since.subsec_nanos(),
    }
}

/// What is told of an array to people and other programs, and what its first member says of alignment.
pub(super) fn attributes(set: &ArraySet) -> Vec<Attribute> {
    let facts = shape_of(set);
    let level = if facts.nested { "raid50" } else { set.level.name() };
    let text = format!(
        "uuid={} name={} level={level} layout={:#x} chunk={} members={} epoch={}",
        set.uuid, set.name, set.layout, set.chunk_bytes, facts.members, facts.epoch
    );
    let mut attributes = vec![Attribute {
        name: ARRAY.into(),
        value: text.into_bytes(),
    }];
    let mut value = vec![0; 256];
    let first = set.members.first().map(|member| member.image.path());
    let length = first.and_then(|path| rustix::fs::getxattr(path, ALIGNMENT, &mut value).ok());
    if let Some(length) = length {
        value.truncate(length);
        attributes.insert(
            0,
            Attribute {
                name: ALIGNMENT.into(),
                value,
            },
        );
    }
    attributes
}

fn opener(store: &Store, set: &ArraySet, served: bool) -> Open {
    let (store, set) = (store.clone(), set.clone());
    Box::new(move || {
        let opened = if served {
            Moment::begin(&store, set.uuid).map(|moment| Arc::new(moment) as Arc<dyn Contents>)
        } else {
            open(&set, READING)
                .map(|array| Arc::new(Still(array)) as Arc<dyn Contents>)
                .map_err(Into::into)
        };
        opened.map_err(|error| {
            tell_left_out(&store, &set.name, &error.to_string());
            io::Error::other(error.to_string())
        })
    })
}

/// An array that this process has started for reading only.
pub(super) struct Still(pub(super) Array);

impl Contents for Still {
    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset_bytes).map_err(io::Error::other)
    }

    fn next_data(&self, offset_bytes: u64) -> io::Result<Option<u64>> {
        next_data(&self.0, offset_bytes, self.0.size_bytes())
    }
}

/// A moment of an array that the controller serves.
struct Moment {
    name: String,
    stream: UnixStream,
    last: Mutex<Option<Piece>>,
    _lasting: Lasting,
}

/// What the controller answered last.
#[derive(Clone)]
struct Piece {
    /// Offset that was asked for.
    asked: u64,
    /// The next data from there on, and where they are.
    data: Option<(u64, Vec<u8>)>,
}

impl Moment {
    fn begin(store: &Store, array: Uuid) -> Result<Self> {
        let name = new_uuid()?.to_string();
        let gone = || Error::refused(Kind::Unavailable, "the controller does not run any more", "again");
        let begun = Ask::Store(StoreAsk::FreezeArray {
            name: array.to_string(),
            moment: name.clone(),
        });
        let lasting = Lasting::begin(controller(store).ok_or_else(gone)?, begun)?;
        Ok(Self {
            name,
            stream: controller(store).ok_or_else(gone)?,
            last: Mutex::default(),
            _lasting: lasting,
        })
    }

    /// The next data at or behind an offset, and where they are.
    fn fetch(&self, offset_bytes: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Piece { asked, data }) = &*last
            && *asked <= offset_bytes
        {
            match data {
                None => return Ok(None),
                Some((at, bytes)) if offset_bytes <= *at => return Ok(Some((*at, bytes.clone()))),
                Some((at, bytes)) if offset_bytes - at < bytes.len() as u64 => {
                    let from = usize::try_from(offset_bytes - at).unwrap_or(0);
                    return Ok(Some((offset_bytes, bytes[from..].to_vec())));
                }
                Some(_) => {}
            }
        }
        let data = self.asked(offset_bytes)?;
        *last = Some(Piece {
            asked: offset_bytes,
            data: data.clone(),
        });
        Ok(data)
    }

    fn asked(&self, offset_bytes: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        let ask = Ask::Store(StoreAsk::ReadArray {
            moment: self.name.clone(),
            offset_bytes,
            length_bytes: PIECE_BYTES,
        });
        let answer = client::ask(self.stream.try_clone()?, ask, &mut |_| Ok(()));
        let answer = answer.map_err(|error| io::Error::other(error.to_string()))?;
        let wrong = || io::Error::other("the controller's answer makes no sense");
        let Some(next) = answer.get("next_bytes").and_then(Value::as_u64) else {
            return Ok(None);
        };
        let text = answer.get("bytes").and_then(Value::as_str).ok_or_else(wrong)?;
        let bytes = data_encoding::BASE64.decode(text.as_bytes()).map_err(|_| wrong())?;
        if next < offset_bytes || bytes.is_empty() {
            return Err(wrong());
        }
        Ok(Some((next, bytes)))
    }
}

impl Contents for Moment {
    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let end = offset_bytes + buffer.len() as u64;
        let mut at = offset_bytes;
        while at < end {
            let place = |to: u64| usize::try_from(to - offset_bytes).unwrap_or(buffer.len());
            let next = self.fetch(at)?.filter(|(next, _)| *next < end);
            let Some((next, bytes)) = next else {
                let from = place(at);
                buffer[from..].fill(0);
                return Ok(());
            };
            let (from, to) = (place(at), place(next));
            let length = bytes.len().min(buffer.len() - to);
            buffer[from..to].fill(0);
            buffer[to..to + length].copy_from_slice(&bytes[..length]);
            at = next + length as u64;
        }
        Ok(())
    }

    fn next_data(&self, offset_bytes: u64) -> io::Result<Option<u64>> {
        Ok(self.fetch(offset_bytes)?.map(|(next, _)| next))
    }
}
