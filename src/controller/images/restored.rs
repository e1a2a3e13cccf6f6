//! Image objects on their way back: the array that one was taken of, or one like it made anew, is written while nobody else
//! has it.
//!
//! An array is known by its identity, or else by its name; it keeps both. Where there is none, one is made of disks of the
//! store that hold nothing, the largest first, with the level and shape of the one that was dumped.

use std::{io, path::PathBuf, thread, time::Duration};

use super::{controller, dumped::covered, found_in};
use crate::{
    controller::{
        client::{self, Lasting},
        create::{CHUNK_BYTES, Cache, Creation, Init, words::Kind as Wish},
        error::{Error, Kind, Result},
        interface::{Ask, StoreAsk},
        order::{Order, on_host},
        settings::Remembered,
        store::Store,
    },
    dump::images::{IsPart, Sink, Take, Wanted},
    nbd::keeper::now,
    raid::{
        Array, Level, Zeroes,
        assemble::Assembly,
        discover::{ArraySet, Contents, Discovery, open},
        metadata::identity::Uuid,
    },
};

/// Bytes that are gathered before they are written: parity is made for whole rows then.
const GATHERED_BYTES: usize = 4 << 20;
/// Most zeros that are asked for at once, in bytes.
const CLEARED_BYTES: u64 = 1 << 30;
/// Layouts by their names, to be asked for.
const LAYOUTS: [&str; 14] = [
    "left-symmetric",
    "left-asymmetric",
    "right-symmetric",
    "right-asymmetric",
    "parity-first",
    "parity-last",
    "n2",
    "n3",
    "f2",
    "f3",
    "o2",
    "o3",
    "original",
    "alternate",
];
/// Chunks that can be asked for, in bytes.
const CHUNKS: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 20;
/// How long the controller may take to serve an array again, and how often it is asked.
const SERVED_WITHIN: u32 = 100;
const SERVED_PAUSE: Duration = Duration::from_millis(50);

/// What takes the image objects of a dump that is restored into a store.
pub fn taker(store: Store) -> Take {
    Box::new(move |wanted| {
        let taken = Taken::take(&store, wanted);
        taken
            .map(|taken| Box::new(taken) as Box<dyn Sink>)
            .map_err(|error| match error.judge().1 {
                Some(remedy) => format!("{error}; try {remedy}"),
                None => error.to_string(),
            })
    })
}

/// Tells which files of a store are part of an array by now; where nobody can tell, all of the disks are.
pub fn is_part(store: Store) -> IsPart {
    Box::new(move |path| {
        if !store.root().join(path).starts_with(store.disks()) {
            return false;
        }
        let Ok(found) = found_in(&store) else { return true };
        let mut members = found.arrays.iter().flat_map(|set| &set.members);
        members.any(|member| covered(&store, &member.image.path()).contains(path))
    })
}

/// An array that a restore has for itself.
struct Taken {
    store: Store,
    uuid: Uuid,
    array: Option<Array>,
    lent: Option<Lasting>,
    /// Bytes that are not yet written, and where they go.
    gathered: Vec<u8>,
    gathered_at: u64,
}

impl Taken {
    fn take(store: &Store, wanted: &Wanted) -> Result<Self> {
        let mut found = found_in(store)?;
        if set_for(&found, wanted)?.is_none() {
            make(store, &found, wanted)?;
            found = found_in(store)?;
        }
        let set = set_for(&found, wanted)?.ok_or_else(|| {
            let message = format!("array {} was made, but is not there", wanted.name);
            Error::refused(Kind::NotFound, message, "'headstack status'")
        })?;
        let lent = match controller(store) {
            Some(stream) => {
                let name = set.uuid.to_string();
                let lend = Ask::Store(StoreAsk::LendArray { name });
                Some(Lasting::begin(stream, lend)?)
            }
            None => None,
        };
        let array = open(set, Assembly::default())?;
        let mut taken = Self {
            store: store.clone(),
            uuid: set.uuid,
            array: None,
            lent,
            gathered: Vec::new(),
            gathered_at: 0,
        };
        let has = array.size_bytes();
        taken.array = Some(array);
        if has < wanted.size_bytes {
            let message = format!(
                "array {} has {has} bytes, and the image {}",
                wanted.name, wanted.size_bytes
            );
            taken.give_back()?;
            return Err(Error::refused(Kind::Refused, message, "'headstack array grow' first"));
        }
        Ok(taken)
    }

    fn array(&self) -> io::Result<&Array> {
        self.array
            .as_ref()
            .ok_or_else(|| io::Error::other("the array was given back"))
    }

    fn put(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.gathered);
        if bytes.is_empty() {
            return Ok(());
        }
        self.array()?
            .write_at(&bytes, self.gathered_at, false)
            .map_err(io::Error::other)
    }

    /// Stops the array, and lets the controller serve it again.
    fn give_back(&mut self) -> Result<()> {
        let stopped = match self.array.take() {
            Some(array) => array.stop(now()),
            None => Ok(()),
        };
        if self.lent.take().is_some() {
            self.wait_until_served();
        }
        Ok(stopped?)
    }

    /// Waits for the controller; that an array is not served is told by its events.
    fn wait_until_served(&self) {
        for _ in 0..SERVED_WITHIN {
            let ask = Ask::Array {
                name: Some(self.uuid.to_string()),
                order: Order::Status,
            };
            let Some(stream) = controller(&self.store) else { return };
            if client::ask(stream, ask, &mut |_| Ok(())).is_ok() {
                return;
            }
            thread::sleep(SERVED_PAUSE);
        }
        log::warn!("array {}: the controller does not serve it again yet", self.uuid);
    }
}

impl Sink for Taken {
    fn write_at(&mut self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        let end = self.gathered_at + self.gathered.len() as u64;
        if end != offset_bytes || self.gathered.len() >= GATHERED_BYTES {
            self.put()?;
            self.gathered_at = offset_bytes;
        }
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }

    fn clear(&mut self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        self.put()?;
        let how = Zeroes {
            may_trim: true,
            fast_only: false,
            fua: false,
        };
        let (mut at, end) = (offset_bytes, offset_bytes + length_bytes);
        while at < end {
            let step = CLEARED_BYTES.min(end - at);
            self.array()?.write_zeroes(at, step, how).map_err(io::Error::other)?;
            at += step;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let put = self
            .put()
            .and_then(|()| self.array()?.flush().map_err(io::Error::other));
        let given = self.give_back().map_err(|error| io::Error::other(error.to_string()));
        put.and(given)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Err(error) = self.give_back() {
            log::warn!("{error}");
        }
    }
}

/// The array that an image is for: the one of its identity, or else of its name.
fn set_for<'a>(found: &'a Discovery, wanted: &Wanted) -> Result<Option<&'a ArraySet>> {
    let same = found.arrays.iter().find(|set| set.uuid.0 == wanted.identity);
    if same.is_some() {
        return Ok(same);
    }
    let mut named = found.arrays.iter().filter(|set| set.name == wanted.name);
    match (named.next(), named.next()) {
        (set, None) => Ok(set),
        _ => {
            let message = format!("several arrays are called {}", wanted.name);
            Err(Error::refused(
                Kind::Refused,
                message,
                "'headstack array rename' for all but one",
            ))
        }
    }
}

/// Makes an array like the one that was dumped.
fn make(store: &Store, found: &Discovery, wanted: &Wanted) -> Result<()> {
    let taken: Vec<String> = found.arrays.iter().map(|set| set.name.clone()).collect();
    let made = |wish: &Creation| {
        let asked = super::ask(store, StoreAsk::CreateArray(Box::new(wish.clone())));
        asked.unwrap_or_else(|| wish.make(&on_host, &taken).map(|made| made.facts))
    };
    let level = level_of(wanted)?;
    let wish = wish(wanted, level, free_disks(store, found, wanted, level)?);
    // Disks that are no larger than they have to be are taken whole, which leaves no room for a partition table.
    let whole = Creation {
        capacity_bytes: None,
        ..wish.clone()
    };
    let wish = if made(&wish).is_ok() { wish } else { whole };
    let facts = made(&wish)?;
    let has = facts.get("size_bytes").and_then(serde_json::Value::as_u64);
    if let Some(has) = has.filter(|has| *has < wanted.size_bytes) {
        let size = wanted.size_bytes;
        let message =
            format!("the largest array that can be made of the free disks has {has} bytes, and the image {size}");
        return Err(Error::refused(Kind::Refused, message, "larger disks"));
    }
    let wish = Creation { dry_run: false, ..wish };
    made(&wish).map(drop)
}

/// The level of the array that was dumped.
fn level_of(wanted: &Wanted) -> Result<Wish> {
    let facts = &wanted.facts;
    let level = Level::from_code(facts.level.into());
    let name = level.map(|level| if facts.nested { "raid50" } else { level.name() });
    let known = name.and_then(|name| Wish::parse(name).ok());
    let known = known.filter(|level| level.refusal(facts.members.into()).is_none());
    known.ok_or_else(|| {
        let message = format!(
            "an array of level {} with {} members cannot be made",
            facts.level, facts.members
        );
        Error::refused(Kind::Usage, message, "a later version of headstack")
    })
}

/// The largest disks of a store that hold nothing and are no spares, as many as the array needs.
fn free_disks(store: &Store, found: &Discovery, wanted: &Wanted, level: Wish) -> Result<Vec<PathBuf>> {
    let members = usize::from(wanted.facts.members);
    let each_bytes = wanted.size_bytes.div_ceil(level.data_members(members));
    let spares = Remembered::load(store)?.spares;
    let mut free: Vec<(u64, PathBuf)> = Vec::new();
    for report in &found.images {
        let path = report.image.path();
        let is_it = |spare: &String| path.file_name().is_some_and(|name| name == spare.as_str());
        if report.contents == Contents::Blank && !spares.iter().any(is_it) {
            let size = std::fs::metadata(&path).map_err(Error::host(&path))?.len();
            free.push((size, path));
        }
    }
    free.retain(|(size, _)| *size > each_bytes);
    free.sort_by(|one, other| (other.0, &one.1).cmp(&(one.0, &other.1)));
    if free.len() < members {
        let message = format!(
            "there is no array {}, and to make it, {}, {members} free disks of more than {each_bytes} bytes are needed, of \
             which the store has {}",
            wanted.name,
            level.name(),
            free.len()
        );
        let disks = store.disks();
        let remedy = format!("'headstack disk create {}/NAME.img --size SIZE' first", disks.display());
        return Err(Error::refused(Kind::Refused, message, remedy));
    }
    Ok(free.into_iter().take(members).map(|(_, path)| path).collect())
}

/// What is asked for to get an array like the one that was dumped; so far only to be looked at.
fn wish(wanted: &Wanted, level: Wish, images: Vec<PathBuf>) -> Creation {
    let facts = &wanted.facts;
    let is_layout = |word: &&&str| level.layout(Some(word)) == Ok(facts.layout);
    let usual = level.layout(None) == Ok(facts.layout);
    let layout = LAYOUTS.iter().find(is_layout).filter(|_| !usual);
    let chunk_bytes = u64::from(facts.chunk_kib) * 1024;
    Creation {
        name: Some(wanted.name.clone()),
        level,
        chunk_bytes: if CHUNKS.contains(&chunk_bytes) {
            chunk_bytes
        } else {
            CHUNK_BYTES
        },
        layout: layout.map(|word| (*word).to_owned()),
        init: Init::Background,
        capacity_bytes: Some(wanted.size_bytes),
        images,
        spares: Vec::new(),
        missing: 0,
        no_bitmap: false,
        cache: Cache::default(),
        force_overwrite: false,
        yes: false,
        dry_run: true,
    }
}
