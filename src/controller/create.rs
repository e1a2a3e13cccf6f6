//! Making an array of images: what is wished, what would be lost, and the array.
//!
//! What the images hold is lost, which is why it is looked at first; only blank images are taken without a word. It is the
//! same for images that nobody has in use and for disks of a store whose controller runs.

pub mod words;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::words::Kind as Wanted;
use super::{
    error::{Error, Kind, Result},
    order::{Find, level_name, new_uuid},
};
use crate::{
    nbd::keeper::now,
    raid::{
        allot::{Allotment, Request, Share, room_for_member},
        assemble::Image,
        create::{Initialisation, NewImage, Wish, create},
        discover::{Contents, discover},
        geometry::ArrayKind,
        metadata::identity::Uuid,
        nested::create_nested,
        stopped::{checked_name, default_name},
    },
};

/// Chunks that can be chosen, in bytes.
const CHUNKS: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 20;
/// Chunk where nothing else is wished, in bytes.
pub const CHUNK_BYTES: u64 = 512 << 10;

/// What becomes of the bytes that the images hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// They stay; redundancy is made to fit them
    Keep,
    /// Both ends are wiped, the rest stays until it is written
    Quick,
    /// All is zeros before the array can be used
    Foreground,
    /// All reads as zeros, which are made while the array is in use where the host makes no holes
    #[default]
    Background,
}

impl From<Init> for Initialisation {
    fn from(init: Init) -> Self {
        match init {
            Init::Keep => Self::Keep,
            Init::Quick => Self::Quick,
            Init::Foreground => Self::Foreground,
            Init::Background => Self::Background,
        }
    }
}

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// When the host has it; a client's flush makes it durable
    #[default]
    WriteBack,
    /// When it is durable
    WriteThrough,
}

/// What array is wished of which images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Creation {
    /// Its name; `RAID_LEVEL_NUMBER` where there is none.
    #[serde(default)]
    pub name: Option<String>,
    /// Its level.
    pub level: Wanted,
    /// Chunk, 4 KiB to 1 MiB.
    #[serde(default = "chunk_bytes")]
    pub chunk_bytes: u64,
    /// Layout, by mdadm's names.
    #[serde(default)]
    pub layout: Option<String>,
    /// What becomes of the old bytes.
    #[serde(default)]
    pub init: Init,
    /// Size of the array; none for as much as there is.
    #[serde(default)]
    pub capacity_bytes: Option<u64>,
    /// Images of the members, by slot.
    pub images: Vec<PathBuf>,
    /// Images that take the place of a member that fails.
    #[serde(default)]
    pub spares: Vec<PathBuf>,
    /// Members that are missing, the last ones.
    #[serde(default)]
    pub missing: usize,
    /// Whether no write-intent bitmap is kept.
    #[serde(default)]
    pub no_bitmap: bool,
    /// When a write counts as done, where a controller serves the array.
    #[serde(default)]
    pub cache: Cache,
    /// Take images that are members of another array.
    #[serde(default)]
    pub force_overwrite: bool,
    /// Do it though the images hold something, which is lost.
    #[serde(default)]
    pub yes: bool,
    /// Only tell what would be made and lost.
    #[serde(default)]
    pub dry_run: bool,
}

fn chunk_bytes() -> u64 {
    CHUNK_BYTES
}

/// What came of a wish.
#[derive(Debug, Clone)]
pub struct Made {
    /// Identity of the array; none where it was only looked.
    pub uuid: Option<Uuid>,
    /// Name, level, size, what was lost and what is left.
    pub facts: Map<String, Value>,
}

impl Creation {
    /// Makes the array, whose images `find` gives; `taken` are names that it does not get by itself.
    ///
    /// # Errors
    /// [`Kind::Usage`] where the level or the images do not allow it, [`Kind::Refused`] where data would be lost and `yes`
    /// does not say so, [`Kind::Busy`] where an image is in use.
    pub fn make(&self, find: Find<'_>, taken: &[String]) -> Result<Made> {
        let members = self.images.len() + self.missing;
        self.check(members)?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => default_name(self.level.name(), taken),
        };
        checked_name(&name)?;
        let open = |paths: &[PathBuf]| paths.iter().map(|path| find(path)).collect::<Result<Vec<Image>>>();
        let (images, spares) = (open(&self.images)?, open(&self.spares)?);
        let all: Vec<Image> = images.iter().chain(&spares).cloned().collect();
        let lost = self.loss(&all)?;
        let mut seats = images
            .into_iter()
            .map(|image| new(image).map(Some))
            .collect::<Result<Vec<_>>>()?;
        seats.resize_with(members, || None);
        let allotment = self.allot(&name, &seats, !lost.is_empty())?;
        let mut facts = self.facts(&name, members, allotment.as_ref(), &lost);
        if self.dry_run {
            return Ok(Made { uuid: None, facts });
        }
        if !lost.is_empty() && !self.yes {
            let message = format!("{} would be lost", lost.join(", "));
            return Err(Error::refused(
                Kind::Refused,
                message,
                "another image, or --yes to do it",
            ));
        }
        let mut wish = self.wish(&name, members)?;
        let mut spares = spares.into_iter().map(new).collect::<Result<Vec<_>>>()?;
        if let Some(allotment) = &allotment {
            wish.member_bytes = allotment.member_bytes;
            let shares = allotment.shares.iter().flatten();
            let device_bytes = shares.filter_map(|share| share.partition_bytes).max();
            for spare in &mut spares {
                *spare = room_for_member(spare, &name, device_bytes.unwrap_or(0), !lost.is_empty())?;
            }
            seats = allotment.apply()?;
        }
        let array = if self.level == Wanted::Guide(ArrayKind::Raid50) {
            create_nested(&wish, &seats, &spares)?
        } else {
            create(&wish, &seats, &spares)?
        };
        for (key, value) in [
            ("uuid", json!(array.uuid().to_string())),
            ("level", json!(level_name(&array))),
            ("size_bytes", json!(array.size_bytes())),
            ("needs_resync", json!(array.status().needs_resync)),
        ] {
            facts.insert(key.to_owned(), value);
        }
        array.stop(now())?;
        Ok(Made {
            uuid: Some(array.uuid()),
            facts,
        })
    }

    fn check(&self, members: usize) -> Result<()> {
        let refuse = |message: String, remedy: &str| Err(Error::refused(Kind::Usage, message, remedy));
        if self.images.is_empty() {
            return refuse(
                "no image is given".to_owned(),
                "'headstack disk create', which makes some",
            );
        }
        if let Some(message) = self.level.refusal(members) {
            return refuse(message, "'headstack help levels' for what each level needs");
        }
        if !CHUNKS.contains(&self.chunk_bytes) || !self.chunk_bytes.is_power_of_two() {
            let message = format!(
                "a chunk of {} bytes cannot be: it is 4K to 1M, and a power of two",
                self.chunk_bytes
            );
            return refuse(message, "--chunk 512K");
        }
        Ok(())
    }

    /// How the images are shared out; none for RAID 4, which takes them whole.
    fn allot(&self, name: &str, seats: &[Option<NewImage>], overwrite: bool) -> Result<Option<Allotment>> {
        let Wanted::Guide(kind) = self.level else {
            return Ok(None);
        };
        let request = Request {
            name: name.to_owned(),
            kind,
            capacity_bytes: self.capacity_bytes,
            chunk_bytes: self.chunk_bytes,
            bitmap: !kind.level().is_bare() && !self.no_bitmap,
            overwrite,
        };
        Ok(Some(Allotment::plan(&request, seats)?))
    }

    fn facts(&self, name: &str, members: usize, allotment: Option<&Allotment>, lost: &[String]) -> Map<String, Value> {
        let left = |share: &Option<Share>| share.as_ref().map(|share| share.left_bytes);
        let left: Option<Vec<Option<u64>>> = allotment.map(|allotment| allotment.shares.iter().map(left).collect());
        Map::from_iter([
            ("name".to_owned(), json!(name)),
            ("level".to_owned(), json!(self.level.name())),
            ("members".to_owned(), json!(members)),
            (
                "size_bytes".to_owned(),
                json!(allotment.map(|allotment| allotment.capacity_bytes)),
            ),
            ("left_bytes".to_owned(), json!(left)),
            ("lost".to_owned(), json!(lost)),
            ("dry_run".to_owned(), json!(self.dry_run)),
        ])
    }

    /// What the images hold that would be lost.
    fn loss(&self, images: &[Image]) -> Result<Vec<String>> {
        let found = discover(images);
        let mut loss = Vec::new();
        for (number, report) in found.images.iter().enumerate() {
            let path = report.image.path();
            let mut members = found.arrays.iter().flat_map(|set| &set.members);
            let in_part = members.any(|member| member.number == number && member.partition.is_some());
            match &report.contents {
                Contents::Blank | Contents::Unreadable(_) => {}
                // Other arrays keep their partitions.
                Contents::Member if in_part => {}
                Contents::Member if !self.force_overwrite => {
                    let message = format!("{}: it is a member of an array already", path.display());
                    let remedy = "another image, or --force-overwrite, which ends that array";
                    return Err(Error::refused(Kind::Refused, message, remedy));
                }
                contents => loss.push(format!("{} ({contents})", path.display())),
            }
        }
        Ok(loss)
    }

    fn wish(&self, name: &str, members: usize) -> Result<Wish> {
        let wrong = |message: String| Error::refused(Kind::Usage, message, "'headstack array create --help'");
        let level = self.level.level();
        let member_bytes = self.capacity_bytes.map(|capacity| {
            let each = capacity.div_ceil(self.level.data_members(members));
            each.next_multiple_of(self.chunk_bytes)
        });
        Ok(Wish {
            name: name.to_owned(),
            uuid: new_uuid()?,
            created: now(),
            level,
            layout: self.level.layout(self.layout.as_deref()).map_err(wrong)?,
            chunk_bytes: if self.level == Wanted::Guide(ArrayKind::Jbod) {
                0
            } else {
                self.chunk_bytes
            },
            initialisation: self.init.into(),
            member_bytes,
            bitmap_chunk_bytes: (!level.is_bare() && !self.no_bitmap).then_some(0),
            overwrite: self.force_overwrite,
        })
    }
}

fn new(image: Image) -> Result<NewImage> {
    Ok(NewImage {
        image,
        uuid: new_uuid()?,
    })
}
