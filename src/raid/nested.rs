//! RAID 50 as one object: a RAID 0 whose members are RAID 5 arrays, its *legs*.
//!
//! md has no such level, but takes arrays as members of arrays, so any kernel assembles ours in two steps and we serve its
//! in one. A leg is a device like an image: [`Leg`] lets an array be opened as one. Disks are numbered leg after leg. The
//! outer array has no redundancy and no journal of its own; failures, rebuilds and superblocks are the legs' business.

use std::{io, os::fd::BorrowedFd, sync::Arc, time::SystemTime};

use rustix::io::Errno;

use super::{
    Array, Level,
    array::{ExtentKind, Zeroes},
    assemble::{Assembly, Image, assemble},
    create::{Initialisation, NewImage, Wish, create},
    device::{Devices, Opener},
    error::{Error, Result},
    geometry::ArrayKind,
    metadata::identity::Uuid,
};
use crate::storage::{Access, EntryKind, Mapping, Span, Stat, Storage};

mod grow;
#[cfg(test)]
mod tests;

/// Most legs whose identities can be made of the whole's.
const LEGS_MAX: usize = 120;

/// An array as a device.
pub struct Leg(Arc<Array>);

impl Leg {
    /// The device that an array is.
    pub fn new(array: Arc<Array>) -> Self {
        Self(array)
    }

    /// Length of what can be read at an offset.
    fn readable(&self, length: usize, offset: u64) -> usize {
        let left = self.0.size_bytes().saturating_sub(offset);
        usize::try_from(left).map_or(length, |left| left.min(length))
    }
}

/// What the host said, if it said anything: a full disk stays one.
fn host_error(error: Error) -> io::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(at) = cause {
        let errno = at.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if let Some(errno) = errno {
            return io::Error::from_raw_os_error(errno);
        }
        cause = at.source();
    }
    match error {
        Error::OutOfRange { .. } => Errno::FBIG.into(),
        Error::ReadOnly { .. } => Errno::ROFS.into(),
        Error::NotFast => Errno::OPNOTSUPP.into(),
        error => io::Error::other(error),
    }
}

impl Storage for Leg {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.0.size_bytes())
    }

    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        let length = self.readable(buffer.len(), offset_bytes);
        if length > 0 {
            self.0
                .read_at(&mut buffer[..length], offset_bytes)
                .map_err(host_error)?;
        }
        Ok(length)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<bool> {
        if self.readable(buffer.len(), offset_bytes) < buffer.len() {
            return Ok(false);
        }
        self.0.read_cached_at(buffer, offset_bytes).map_err(host_error)
    }

    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset_bytes, false).map_err(host_error)
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        if size_bytes == self.0.size_bytes() {
            Ok(())
        } else {
            Err(Errno::INVAL.into())
        }
    }

    /// Reserves nothing: an array is as large as it is.
    fn reserve(&self, _offset_bytes: u64, _length_bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn punch(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let length = length_bytes.min(self.0.size_bytes().saturating_sub(offset_bytes));
        if length == 0 {
            return Ok(());
        }
        let how = Zeroes {
            may_trim: true,
            ..Zeroes::default()
        };
        self.0.write_zeroes(offset_bytes, length, how).map_err(host_error)
    }

    fn is_hole(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<bool> {
        let extents = self.0.block_status(offset_bytes, length_bytes).map_err(host_error)?;
        let hole = extents.first().filter(|extent| extent.kind == ExtentKind::Hole);
        Ok(hole.is_some_and(|hole| hole.length_bytes >= length_bytes))
    }

    fn span_at(&self, offset_bytes: u64) -> io::Result<Option<Span>> {
        let size = self.0.size_bytes();
        if offset_bytes >= size {
            return Ok(None);
        }
        let extents = self
            .0
            .block_status(offset_bytes, size - offset_bytes)
            .map_err(host_error)?;
        Ok(extents.first().map(|extent| Span {
            hole: extent.kind == ExtentKind::Hole,
            end_bytes: offset_bytes + extent.length_bytes,
        }))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.flush().map_err(host_error)
    }

    /// There is none: the bytes are in several files.
    fn map(&self, _length_bytes: usize, _access: Access) -> io::Result<Mapping> {
        Err(Errno::NOMEM.into())
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(Stat {
            kind: EntryKind::File,
            size_bytes: self.0.size_bytes(),
            allocated_bytes: self.0.size_bytes(),
            modified: SystemTime::UNIX_EPOCH,
        })
    }

    /// Nothing is left to claim: the leg's members are.
    fn claim(&self, _offset_bytes: u64, _length_bytes: u64, _access: Access) -> io::Result<()> {
        Ok(())
    }

    fn set_modified(&self, _modified: SystemTime) -> io::Result<()> {
        Ok(())
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The legs as images, named after them; `beside` is an image of one of their members, for messages.
fn devices(legs: &[Arc<Array>], beside: &Image) -> Vec<Image> {
    let device = |leg: &Arc<Array>| {
        let mut devices = Devices::over(Arc::clone(&beside.directory));
        let name = std::path::PathBuf::from(leg.name());
        let opened = Arc::clone(leg);
        let opener: Opener = Arc::new(move |_| Ok(Arc::new(Leg::new(Arc::clone(&opened))) as Arc<dyn Storage>));
        devices.insert(name.clone(), opener);
        Image {
            directory: Arc::new(devices),
            name,
        }
    };
    legs.iter().map(device).collect()
}

/// Assembles the outer array of legs that are assembled already.
///
/// # Errors
/// As [`assemble`].
pub fn assemble_nested(legs: Vec<Arc<Array>>, beside: &Image, how: Assembly) -> Result<Array> {
    let how = Assembly {
        read_only: how.read_only || legs.iter().any(|leg| leg.is_read_only()),
        ..how
    };
    let outer = assemble(&devices(&legs, beside), how)?;
    Ok(outer.with_legs(legs))
}

/// Identity of a leg, made of that of the whole.
pub fn leg_uuid(whole: Uuid, leg: usize) -> Uuid {
    derived(whole, leg + 1)
}

/// Another identity for each number.
fn derived(uuid: Uuid, number: usize) -> Uuid {
    let mut bytes = uuid.0;
    bytes[15] ^= u8::try_from(number & 0xff).unwrap_or(0);
    Uuid(bytes)
}

/// Name of a leg: the whole's, cut where it is too long, and its number.
pub(super) fn leg_name(whole: &str, leg: usize) -> String {
    let end = format!(".leg{leg}");
    let mut short = String::new();
    for c in whole.chars() {
        if short.len() + c.len_utf8() + end.len() > 32 {
            break;
        }
        short.push(c);
    }
    short + &end
}

/// Makes a RAID 50 of members, leg after leg, none for one that is missing; the wish's level and layout are those of
/// RAID 5. Spares go to the legs by turns.
///
/// # Errors
/// As [`create`]; [`Error::BadParameter`] where the members make no equal legs.
pub fn create_nested(wish: &Wish, members: &[Option<NewImage>], spares: &[NewImage]) -> Result<Array> {
    let kind = ArrayKind::Raid50;
    let count = kind.legs(members.len()).filter(|count| *count <= LEGS_MAX);
    let Some(count) = count else {
        return Err(Error::BadParameter {
            parameter: "members",
            value: members.len().to_string(),
            reason: kind.needs().to_owned(),
        });
    };
    let mut legs = Vec::new();
    for (number, own) in members.chunks(members.len() / count).enumerate() {
        let leg_wish = Wish {
            name: leg_name(&wish.name, number),
            uuid: leg_uuid(wish.uuid, number),
            level: Level::Raid5,
            layout: kind.layout(),
            ..wish.clone()
        };
        let own_spares: Vec<NewImage> = spares.iter().skip(number).step_by(count).cloned().collect();
        legs.push(Arc::new(create(&leg_wish, own, &own_spares)?));
    }
    let beside = members.iter().flatten().next().map(|member| member.image.clone());
    let beside = beside.ok_or_else(|| Error::BadParameter {
        parameter: "members",
        value: "none".to_owned(),
        reason: kind.needs().to_owned(),
    })?;
    let outer_wish = Wish {
        level: Level::Raid0,
        layout: ArrayKind::Raid0.layout(),
        // What was to be zeroed is; what was to be wiped are both ends of the whole.
        initialisation: match wish.initialisation {
            Initialisation::Quick | Initialisation::Background => Initialisation::Quick,
            Initialisation::Keep | Initialisation::Foreground => Initialisation::Keep,
        },
        member_bytes: None,
        bitmap_chunk_bytes: None,
        overwrite: true,
        ..wish.clone()
    };
    let numbered = devices(&legs, &beside).into_iter().enumerate();
    let outer: Vec<Option<NewImage>> = numbered
        .map(|(number, image)| {
            let uuid = derived(wish.uuid, 0x80 | number);
            Some(NewImage { image, uuid })
        })
        .collect();
    Ok(create(&outer_wish, &outer, &[])?.with_legs(legs))
}
