//! Arrays on simulated storage, for tests: made, assembled, damaged and looked at by the number of their images.
//!
//! Images are named `m0`, `m1` and so on; image `n` is the member in slot `n` as long as nothing was replaced.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    Array, Level, Result,
    assemble::{Assembly, Image, assemble, find},
    create::{Initialisation, NewImage, Wish, create},
    metadata::{
        identity::{Time, Uuid},
        superblock::Superblock,
    },
};
use crate::storage::{Access, Directory as _, SimDirectory, Storage, sim::Verb};

/// Size of an image.
pub const IMAGE_BYTES: u64 = (1 << 20) + (320 << 10);

/// A directory of images.
pub struct Rig {
    pub directory: SimDirectory,
}

/// What an array is to be.
#[derive(Clone, Copy)]
pub struct Make {
    pub level: Level,
    pub layout: u32,
    pub members: u16,
    pub chunk_bytes: u64,
    pub bitmap: bool,
    pub initialisation: Initialisation,
}

impl Make {
    /// An array with a bitmap, of zeros, in md's usual layout.
    pub fn new(level: Level, members: u16, chunk_kib: u64) -> Self {
        let layout = match level {
            Level::Raid10 => 0x102,
            Level::Raid5 | Level::Raid6 => 2,
            Level::Raid0 => 1,
            _ => 0,
        };
        Self {
            level,
            layout,
            members,
            chunk_bytes: chunk_kib << 10,
            bitmap: !level.is_bare(),
            initialisation: Initialisation::Foreground,
        }
    }
}

/// An identity that goes with a number.
pub fn uuid(number: u64) -> Uuid {
    let mut bytes = [9; 16];
    bytes[..8].copy_from_slice(&(number + 1).to_le_bytes());
    Uuid(bytes)
}

/// A pace that never stops.
pub fn on(_: super::rebuild::Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Bytes that tell their place.
pub fn pattern(length: u64) -> Vec<u8> {
    let word = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).to_le_bytes();
    (0..length.div_ceil(8))
        .flat_map(word)
        .take(usize::try_from(length).unwrap())
        .collect()
}

impl Rig {
    pub fn new() -> Self {
        Self {
            directory: SimDirectory::new(),
        }
    }

    /// Makes image number `n`, durably.
    pub fn new_image(&self, n: usize) -> Image {
        let name = PathBuf::from(format!("m{n}"));
        let file = self
            .directory
            .create(&name, &mut |file| file.set_size(IMAGE_BYTES))
            .unwrap();
        file.sync().unwrap();
        self.directory.sync_directory(Path::new("")).unwrap();
        self.image(n)
    }

    pub fn image(&self, n: usize) -> Image {
        Image {
            directory: Arc::new(self.directory.clone()),
            name: PathBuf::from(format!("m{n}")),
        }
    }

    pub fn wish(make: Make) -> Wish {
        Wish {
            name: "rig".to_owned(),
            uuid: uuid(1000),
            created: Time::new(1000, 0),
            level: make.level,
            layout: make.layout,
            chunk_bytes: make.chunk_bytes,
            initialisation: make.initialisation,
            member_bytes: None,
            bitmap_chunk_bytes: make.bitmap.then_some(4096),
            overwrite: false,
        }
    }

    /// Makes an array of new images.
    pub fn make(make: Make) -> (Self, Array) {
        let rig = Self::new();
        let member = |n: u16| {
            Some(NewImage {
                image: rig.new_image(n.into()),
                uuid: uuid(n.into()),
            })
        };
        let members: Vec<_> = (0..make.members).map(member).collect();
        let array = create(&Self::wish(make), &members, &[]).unwrap();
        (rig, array)
    }

    /// The same, filled with a pattern and flushed.
    pub fn filled(make: Make) -> (Self, Array, Vec<u8>) {
        let (rig, array) = Self::make(make);
        let bytes = pattern(array.size_bytes());
        array.write_at(&bytes, 0, true).unwrap();
        (rig, array, bytes)
    }

    pub fn assemble(&self, numbers: impl IntoIterator<Item = usize>) -> Result<Array> {
        self.assemble_as(numbers, Assembly::default())
    }

    pub fn assemble_as(&self, numbers: impl IntoIterator<Item = usize>, how: Assembly) -> Result<Array> {
        let images: Vec<Image> = numbers.into_iter().map(|n| self.image(n)).collect();
        assemble(&images, how)
    }

    pub fn open(&self, n: usize) -> Arc<dyn Storage> {
        self.image(n).open(Access::ReadWrite).unwrap()
    }

    /// What the superblock of an image says.
    pub fn superblock(&self, n: usize) -> Superblock {
        let image = self.image(n);
        find(&image.path(), &*self.open(n), 0).unwrap().unwrap().superblock
    }

    /// Place in the image of an offset of its data area.
    pub fn place(&self, n: usize, offset_bytes: u64) -> u64 {
        self.superblock(n).data_offset.0 * 512 + offset_bytes
    }

    /// Changes a byte in the data area of an image, behind the array's back.
    pub fn spoil(&self, n: usize, offset_bytes: u64) {
        let (file, place) = (self.open(n), self.place(n, offset_bytes));
        let mut byte = [0];
        file.read_at(&mut byte, place).unwrap();
        file.write_all_at(&[byte[0] ^ 0x11], place).unwrap();
    }

    /// All bytes of an image.
    pub fn bytes(&self, n: usize) -> Vec<u8> {
        self.directory.read(&PathBuf::from(format!("m{n}")), u64::MAX).unwrap()
    }
}

/// All bytes of an array.
pub fn contents(array: &Array) -> Vec<u8> {
    let mut bytes = vec![0xee; usize::try_from(array.size_bytes()).unwrap()];
    array.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// What a death at one change of the disk leaves: of the machine where the number is odd, else of the process. None where
/// there were not so many changes, which are counted.
pub fn dying(directory: &SimDirectory, at: usize, work: impl FnOnce()) -> (usize, Option<SimDirectory>) {
    let taken: Arc<Mutex<Option<SimDirectory>>> = Arc::default();
    let count = Arc::new(AtomicUsize::new(0));
    let (place, disk, counted) = (Arc::clone(&taken), directory.clone(), Arc::clone(&count));
    directory.set_rule(move |operation| {
        let changes = matches!(operation.verb, Verb::Write | Verb::Sync | Verb::Punch);
        if changes && counted.fetch_add(1, Ordering::Relaxed) == at {
            let left = if at % 2 == 1 {
                disk.crash(at as u64)
            } else {
                disk.killed()
            };
            *place.lock().unwrap() = Some(left.unwrap());
        }
        None
    });
    work();
    directory.clear_rule();
    let left = taken.lock().unwrap().take();
    (count.load(Ordering::Relaxed), left)
}
