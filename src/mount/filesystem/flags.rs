//! Inode flags, as lsattr(1) and chattr(1) get and set them through ioctl(2).
//!
//! They say what a file is: `a` for entries, `i` for what never changes, `d` for what is made from other files and has
//! no place in a backup. Numbers are those of Linux' `linux/fs.h`.

use super::{Filesystem, lookup::FileKind};
use crate::mount::{
    errno::{Refusal, Result},
    nodes::{Item, Place, Tree},
    offsets::Form,
};

/// `FS_IOC_GETFLAGS` on 64 bit machines.
pub const GET_FLAGS: u32 = 0x8008_6601;
/// `FS_IOC_SETFLAGS` on 64 bit machines.
pub const SET_FLAGS: u32 = 0x4008_6602;
/// `FS_IOC_FSGETXATTR`.
pub const GET_FLAGS_EXTENDED: u32 = 0x801c_581f;
/// `FS_IOC_FSSETXATTR`.
pub const SET_FLAGS_EXTENDED: u32 = 0x401c_5820;

/// Cannot be changed: `i`.
pub const IMMUTABLE: u32 = 0x10;
/// Can only be appended to: `a`.
pub const APPEND: u32 = 0x20;
/// Made from other files, so that a backup leaves it out: `d`.
pub const NO_DUMP: u32 = 0x40;

/// The same three in `struct fsxattr`.
const EXTENDED: [(u32, u32); 3] = [(IMMUTABLE, 0x8), (APPEND, 0x10), (NO_DUMP, 0x80)];
/// Bytes of `struct fsxattr`.
const EXTENDED_BYTES: usize = 28;

impl Filesystem {
    /// Flags of a node.
    ///
    /// # Errors
    /// The node is gone.
    pub fn flags(&self, node: u64) -> Result<u32> {
        let place = self.place(node)?;
        let derived = match place {
            Place::Statistics => NO_DUMP,
            Place::Series(_, Item::Directory | Item::Entries(Form::Raw) | Item::Meta) => 0,
            Place::Series(..) => NO_DUMP,
            _ => 0,
        };
        let kept = match place {
            _ if place.tree() != Tree::Live => IMMUTABLE,
            Place::Series(_, Item::Entries(_)) => APPEND,
            Place::Series(series, item) if place.kind() == FileKind::File => {
                match self.is_closed(&*self.view(series)?, item, None)? {
                    true => IMMUTABLE,
                    false => 0,
                }
            }
            _ => 0,
        };
        Ok(kept | derived)
    }

    /// Answers an ioctl; returns the bytes for the caller.
    ///
    /// # Errors
    /// The request is unknown, or would change a flag.
    pub fn control(&self, node: u64, command: u32, input: &[u8]) -> Result<Vec<u8>> {
        let flags = self.flags(node)?;
        let word = |at: usize| {
            input
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u32::from_le_bytes)
        };
        let unchanged = |wanted: Option<u32>, flags: u32| match wanted {
            Some(wanted) if wanted == flags => Ok(Vec::new()),
            _ => Err(Refusal::AttributeFixed {
                name: "inode flags".to_owned(),
            }),
        };
        let extended = EXTENDED
            .iter()
            .filter(|(flag, _)| flags & flag != 0)
            .map(|(_, x)| x)
            .sum::<u32>();
        match command {
            GET_FLAGS => Ok(flags.to_le_bytes().to_vec()),
            GET_FLAGS_EXTENDED => {
                let mut out = extended.to_le_bytes().to_vec();
                out.resize(EXTENDED_BYTES, 0);
                Ok(out)
            }
            SET_FLAGS => unchanged(word(0), flags),
            SET_FLAGS_EXTENDED => unchanged(word(0), extended),
            _ => Err(Refusal::NoIoctl { command }),
        }
    }
}
