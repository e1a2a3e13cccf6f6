//! Image objects: what stands on a tape as one regular file though it is no file of the tree, such as an array.
//!
//! Whoever dumps says what images there are and which files of the tree they stand for ([`Images`]); these files are not
//! dumped. An image stands in the directory [`FOLDER`] of the root, with facts in bytes of its headers that only our own
//! restore reads ([`ImageFacts`]): for any other it is a file. It is restored as what it was where its name
//! stands in that directory of a target that takes images, and as a file anywhere else.

use std::{
    collections::HashSet,
    ffi::OsStr,
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::{
    attributes::Attribute,
    error::{Error, Result, Trouble},
    numbers::Numbers,
    record::{Header, ImageFacts, Node, Time},
    selection::Selection,
    tree::{Identity, Status, joined},
    walker::{Folder, Object, Walk},
};

/// Directory of image objects, in the root.
pub const FOLDER: &str = "arrays";
/// How the names of image objects end.
pub const ENDING: &str = ".img";
/// Release of image objects; before it, in 1, all objects were files.
pub const EPOCH: u8 = 2;

/// Attribute of an image file that says how it is aligned for who uses it, such as `4096`.
pub const ALIGNMENT: &str = "user.headstack.align";
/// Attribute of an image object that says what it was taken of, for people and other programs.
pub const ARRAY: &str = "user.headstack.array";

/// What the directory of images is among the objects of a tree, where the tree has none of that name.
const FOLDER_IDENTITY: Identity = Identity {
    inode: u64::MAX,
    born_ns: i64::MAX,
    kind: 0o040_000,
};
/// Type of images.
const FILE: u16 = 0o100_000;

/// The bytes of an image while it is dumped.
pub trait Contents: Send + Sync {
    /// Reads all of `buffer` at an offset inside the image.
    ///
    /// # Errors
    /// What the host or the array says.
    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()>;

    /// Offset of the next bytes at or behind an offset that are no hole; none where there are no more.
    ///
    /// # Errors
    /// As [`Contents::read_at`].
    fn next_data(&self, offset_bytes: u64) -> io::Result<Option<u64>>;
}

/// Where the bytes of an image go that is restored as what it was.
pub trait Sink {
    /// Writes bytes.
    ///
    /// # Errors
    /// What the host or the array says.
    fn write_at(&mut self, bytes: &[u8], offset_bytes: u64) -> io::Result<()>;

    /// Makes a range zeros.
    ///
    /// # Errors
    /// As [`Sink::write_at`].
    fn clear(&mut self, offset_bytes: u64, length_bytes: u64) -> io::Result<()>;

    /// Makes all durable, and lets others use it again.
    ///
    /// # Errors
    /// As [`Sink::write_at`].
    fn finish(&mut self) -> io::Result<()>;
}

/// Opens an image for reading, as it is at that moment.
pub type Open = Box<dyn Fn() -> io::Result<Arc<dyn Contents>> + Send + Sync>;
/// Finds or makes what an image is restored to; says why not.
pub type Take = Box<dyn Fn(&Wanted) -> Result<Box<dyn Sink>, String> + Send + Sync>;

/// True for a file of a target, by its path from the root, that is part of what an image could be restored to.
pub type IsPart = Box<dyn Fn(&Path) -> bool + Send + Sync>;

/// An image that is to be dumped.
pub struct Image {
    /// Name in [`FOLDER`].
    pub name: String,
    /// Identity of what it is taken of.
    pub identity: [u8; 16],
    /// Length in bytes.
    pub size_bytes: u64,
    /// Last modification.
    pub modified: Time,
    /// What it is taken of.
    pub facts: ImageFacts,
    /// Extended attributes of the object.
    pub attributes: Vec<Attribute>,
    /// What is told of it beside.
    pub notes: Vec<String>,
    /// True where others write to it meanwhile: each time that it is opened it is another moment of it.
    pub served: bool,
    /// Why it cannot be dumped now: the next dump takes it.
    pub refused: Option<String>,
    /// Opens it.
    pub open: Open,
}

/// The images of a tree.
#[derive(Default)]
pub struct Images {
    /// The images.
    pub all: Vec<Image>,
    /// Files of the tree that they stand for, by their paths from its root.
    pub covered: HashSet<PathBuf>,
    /// True where nothing else of the tree is dumped.
    pub alone: bool,
}

/// An image on a tape that is to be restored as what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Name, without [`ENDING`].
    pub name: String,
    /// Identity of what it was taken of.
    pub identity: [u8; 16],
    /// Length in bytes.
    pub size_bytes: u64,
    /// What it was taken of.
    pub facts: ImageFacts,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.all.iter().map(|image| &image.name);
        formatter.debug_list().entries(names).finish()
    }
}

impl Image {
    /// Facts about the object, which belongs to whom the root of its tree does.
    pub(super) fn status(&self, root: &Status) -> Status {
        Status {
            allocated_bytes: self.size_bytes,
            ..status_of(root, self.identity(), 0o600, self.size_bytes, self.modified)
        }
    }

    /// Its name, without [`ENDING`].
    pub(super) fn own_name(&self) -> &str {
        self.name.strip_suffix(ENDING).unwrap_or(&self.name)
    }

    /// True where what a header began that was written before goes on as it was.
    pub(super) fn goes_on(&self, header: &Header) -> bool {
        let unchanged = header.private.as_ref().map(|private| private.modified_ns) == Some(self.modified.ns());
        unchanged && !self.served && self.refused.is_none()
    }

    fn identity(&self) -> Identity {
        let (inode, born) = halves(&self.identity);
        Identity {
            inode,
            born_ns: born,
            kind: FILE,
        }
    }
}

/// An identity of 16 bytes as two numbers.
fn halves(identity: &[u8; 16]) -> (u64, i64) {
    let number = u128::from_le_bytes(*identity);
    let low = u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(number >> 64).unwrap_or(0);
    (low, high.cast_signed())
}

/// Path of an image from the root of its tree, or of the name of what it was taken of.
#[must_use]
pub fn path_of(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// The image that a header begins, if it is one and its path is that of images.
#[must_use]
pub(super) fn wanted(header: &Header, path: &Path) -> Option<Wanted> {
    let private = header.private.as_ref()?;
    let facts = private.image?;
    let mut parts = path.components();
    let (folder, name) = (parts.next()?, parts.next()?);
    if parts.next().is_some() || folder != Component::Normal(OsStr::new(FOLDER)) {
        return None;
    }
    let name = name.as_os_str().to_str()?;
    let born = private.born_ns.unwrap_or(0).cast_unsigned();
    let identity = u128::from(born) << 64 | u128::from(private.file_id);
    Some(Wanted {
        name: name.strip_suffix(ENDING).unwrap_or(name).to_owned(),
        identity: identity.to_le_bytes(),
        size_bytes: header.node.size_bytes,
        facts,
    })
}

impl Images {
    /// The image that one on a tape was taken of: the one of its identity, or else the only one of its name.
    pub(super) fn like(&self, wanted: &Wanted) -> Option<&Image> {
        let same = self.all.iter().find(|image| image.identity == wanted.identity);
        let mut named = self.all.iter().filter(|image| image.own_name() == wanted.name);
        same.or_else(|| named.next().filter(|_| named.next().is_none()))
    }

    /// The image that is an object of the tree.
    pub(super) fn of(&self, identity: &Identity) -> Option<&Image> {
        self.all.iter().find(|image| image.identity() == *identity)
    }

    /// True where images stand for a file.
    pub(super) fn covers(&self, directory: &Path, name: &[u8]) -> bool {
        !self.covered.is_empty() && self.covered.contains(&joined(directory, name))
    }

    /// True for the directory of images where the tree has none.
    pub(super) fn is_folder(identity: &Identity) -> bool {
        *identity == FOLDER_IDENTITY
    }

    /// Puts the images among the objects of a walk, in a directory that changed at `now_s`.
    pub(super) fn join(&self, walk: &mut Walk, selection: &Selection, now_s: i64, numbers: &mut Numbers) -> Result<()> {
        if self.all.is_empty() || selection.leaves_out(FOLDER.as_bytes()) {
            return Ok(());
        }
        let folder = self.folder(walk, now_s, numbers)?;
        for image in &self.all {
            let taken =
                |name: &[u8], walk: &Walk| walk.folders[folder].entries.iter().any(|(other, _)| **other == *name);
            let mut name = image.name.clone().into_bytes();
            if selection.leaves_out(&name) {
                continue;
            }
            if taken(&name, walk) {
                let number = data_encoding::HEXLOWER.encode(&image.identity);
                name = format!("{number}{ENDING}").into_bytes();
            }
            let number = number_of(image.identity(), numbers)?;
            let status = image.status(&walk.objects[0].status);
            push(walk, number, status, folder, name, None);
        }
        walk.folders[folder].entries.sort();
        Ok(())
    }

    /// The directory of images in a walk, which may be one of the tree.
    fn folder(&self, walk: &mut Walk, now_s: i64, numbers: &mut Numbers) -> Result<usize> {
        let now = Time {
            seconds: now_s,
            nanoseconds: 0,
        };
        let there = walk.folders.iter().position(|folder| {
            let object = &walk.objects[folder.object];
            folder.parent == 0 && folder.object != 0 && *object.name == *FOLDER.as_bytes()
        });
        if let Some(folder) = there {
            // What is in it is not what the host says, so it is dumped every time.
            let object = walk.folders[folder].object;
            walk.objects[object].status.node.modified = now;
            return Ok(folder);
        }
        let number = number_of(FOLDER_IDENTITY, numbers)?;
        let status = status_of(&walk.objects[0].status, FOLDER_IDENTITY, 0o700, 0, now);
        let folder = walk.folders.len();
        let object = push(walk, number, status, 0, FOLDER.into(), Some(folder));
        walk.folders.push(Folder {
            object,
            parent: 0,
            entries: Vec::new(),
            unread: false,
        });
        walk.folders[0].entries.sort();
        Ok(folder)
    }

    /// The places of those that are left to the next dump, which are told, as are the notes on the others.
    pub(super) fn refuse(&self, walk: &mut Walk) -> Vec<usize> {
        let mut left = Vec::new();
        for at in 0..walk.objects.len() {
            let Some(image) = self.of(&walk.objects[at].status.identity) else {
                continue;
            };
            let path = walk.path_of_object(&walk.objects[at]);
            if let Some(why) = &image.refused {
                walk.objects[at].chosen = false;
                walk.lose(path, told(why));
                left.push(at);
            } else if walk.objects[at].chosen {
                let notes = image.notes.iter().map(|note| Trouble {
                    path: path.clone(),
                    what: note.clone(),
                    loss: false,
                });
                walk.troubles.extend(notes);
            }
        }
        left
    }
}

/// What to tell of an image that is left out.
fn told(why: &str) -> String {
    format!("is an array that cannot be dumped now, and left to the next dump: {why}")
}

fn number_of(identity: Identity, numbers: &mut Numbers) -> Result<u32> {
    numbers.of(identity).ok_or_else(|| Error::BadParameter {
        parameter: "tree",
        value: "2147483646 objects".into(),
        reason: "a chain of dumps has no more numbers; begin a new one with level 0",
    })
}

/// Facts of an object that the tree does not have, which belongs to whom its root does.
fn status_of(root: &Status, identity: Identity, permissions: u16, size_bytes: u64, modified: Time) -> Status {
    Status {
        identity,
        node: Node {
            mode: identity.kind | permissions,
            links: 1,
            uid: root.node.uid,
            gid: root.node.gid,
            size_bytes,
            accessed: modified,
            modified,
            changed: modified,
            ..Node::default()
        },
        filesystem: root.filesystem,
        ..Status::default()
    }
}

fn push(walk: &mut Walk, number: u32, status: Status, folder: usize, name: Vec<u8>, entered: Option<usize>) -> usize {
    let object = walk.objects.len();
    let name: Arc<[u8]> = name.into();
    walk.objects.push(Object {
        number,
        status,
        folder,
        name: Arc::clone(&name),
        entered,
        chosen: false,
    });
    walk.folders[folder].entries.push((name, object));
    object
}
