//! The array engine against Linux md: what it wrote is read, what we write it takes.
//!
//! [`md`] finds `mdadm` and a real kernel (User Mode Linux) or says what was skipped; `images/raid` stands in for both
//! where they cannot run.

mod created;
mod examined;
mod flawed;
mod hostile;
mod logged;
mod md;
mod nested;
mod partial;
mod partitioned;
mod reshaped;
mod served;
mod taken;

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use headstack::raid::{
    Sector,
    metadata::superblock::{SUPERBLOCK_BYTES, Superblock, Version},
};

/// Bytes at the start of an image that hold every superblock, bitmap and log of format 1.2, unless its bitmap is large.
const HEAD_BYTES: usize = 64 << 10;

/// Size of an image in sectors.
fn sectors(image: &Path) -> Sector {
    Sector(image.metadata().unwrap().len() / 512)
}

/// Bytes of an image; zeros after its end.
fn read(image: &Path, offset_bytes: u64, length_bytes: usize) -> Vec<u8> {
    let file = File::open(image).unwrap();
    let mut bytes = vec![0; length_bytes];
    let mut done = 0;
    while done < length_bytes {
        match file.read_at(&mut bytes[done..], offset_bytes + done as u64).unwrap() {
            0 => break,
            count => done += count,
        }
    }
    bytes
}

/// The superblock of one version of an image.
fn superblock_at(image: &Path, version: Version) -> Superblock {
    let device = sectors(image);
    let place = version.place(device).unwrap();
    let bytes = read(image, place.0 * 512, SUPERBLOCK_BYTES);
    let superblock = Superblock::decode(&bytes).unwrap_or_else(|damage| panic!("{}: {damage}", image.display()));
    superblock.fits(place, device).unwrap();
    superblock
}

/// Writes `bytes` at a sector of an image.
fn write(image: &Path, place: Sector, bytes: &[u8]) {
    let file = File::options().write(true).open(image).unwrap();
    file.write_all_at(bytes, place.0 * 512).unwrap();
}

/// Makes a sparse image.
fn image(directory: &Path, name: &str, size_bytes: u64) -> PathBuf {
    let path = directory.join(name);
    File::create_new(&path).unwrap().set_len(size_bytes).unwrap();
    path
}
