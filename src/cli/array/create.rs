//! `headstack array create`: makes an array of images.
//!
//! What the images hold is lost, which is why it is looked at first; only blank images are taken without a word.

mod words;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use self::words::Kind;
use crate::{
    cli::{
        arguments::size,
        exit::{Code, Failure},
        images::{image, images},
        output::{Cell, JsonOption, Output, confirm},
    },
    controller::order::{level_name, new_uuid},
    nbd::keeper::now,
    raid::{
        allot::{Allotment, Request, Share, room_for_member},
        assemble::Image,
        create::{Initialisation, NewImage, Wish, create},
        discover::{Contents, discover},
        geometry::ArrayKind,
        nested::create_nested,
    },
};

/// Chunks that can be chosen, in bytes.
const CHUNKS: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 20;

/// What becomes of the bytes that the images hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Init {
    /// They stay; redundancy is made to fit them
    Keep,
    /// Both ends are wiped, the rest stays until it is written
    Quick,
    /// All is zeros before the array can be used
    Foreground,
    /// All is zeros; the array can be used at once
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

/// Make an array of images, in the format of Linux md
///
/// Images keep their size; the array takes of each what the smallest has. What is said of levels by 'headstack help
/// levels' decides how many there have to be. Without a name it is called RAID_LEVEL_NUMBER.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack disk create disk0.img disk1.img disk2.img disk3.img --size 1G
  headstack array create r5 --level 5 disk0.img disk1.img disk2.img --spare disk3.img
  headstack array create --level 10 --chunk 64K --layout f2 disk*.img
  headstack array create r6 --level 6 --missing 1 disk0.img disk1.img disk2.img
      starts without its last member")]
pub struct Arguments {
    /// Name of the array, if the first word names no file; then the images of its members, by slot
    #[arg(value_name = "NAME|IMG", required = true, value_hint = clap::ValueHint::FilePath)]
    words: Vec<PathBuf>,
    /// Level: jbod, 0, 1, 4, 5, 6, 10 or 50
    #[arg(long, value_parser = Kind::parse)]
    level: Kind,
    /// Bytes of a member that stand together, 4K to 1M
    #[arg(long, value_name = "SIZE", default_value = "512K", value_parser = size)]
    chunk: u64,
    /// Layout, by mdadm's names: left-symmetric and the like for levels 5 and 6, n2, f2 or o2 for level 10
    #[arg(long, value_name = "LAYOUT")]
    layout: Option<String>,
    /// What becomes of the bytes that the images hold
    #[arg(long, value_enum, default_value_t = Init::Background)]
    init: Init,
    /// Size of the array; as large as the images allow by default
    #[arg(long, value_name = "SIZE", value_parser = size)]
    capacity: Option<u64>,
    /// Image that takes the place of a member that fails
    #[arg(long, value_name = "IMG", value_hint = clap::ValueHint::FilePath)]
    spare: Vec<PathBuf>,
    /// Members that are missing, the last ones
    #[arg(long, value_name = "N", default_value_t = 0)]
    missing: usize,
    /// Keep no write-intent bitmap: after a crash all is resynced
    #[arg(long)]
    no_bitmap: bool,
    /// Take images that are members of another array
    #[arg(long)]
    force_overwrite: bool,
    /// Do it without asking, though images hold data
    #[arg(long)]
    yes: bool,
    /// Only tell what would be made and lost
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Makes the array.
    ///
    /// # Errors
    /// [`Code::Usage`] where the level or the images do not allow it, [`Code::Refused`] where data would be lost and that
    /// was not confirmed, [`Code::Busy`] where an image is in use.
    pub fn run(self) -> Result<Code> {
        let (name, members) = self.split()?;
        self.check(members.len() + self.missing)?;
        let images = open_all(&members)?;
        let spares = open_all(&self.spare)?;
        let all: Vec<Image> = images.iter().chain(&spares).cloned().collect();
        let name = match name {
            Some(name) => name,
            None => default_name(self.level, &members[0])?,
        };
        let loss = self.loss(&all)?;
        let output = Output::of_json("array create", self.json);
        let mut seats = images
            .into_iter()
            .map(new)
            .map(|new| new.map(Some))
            .collect::<Result<Vec<_>>>()?;
        seats.resize_with(seats.len() + self.missing, || None);
        let allotment = self.allot(&name, &seats, !loss.is_empty())?;
        if self.dry_run {
            output.record(&self.plan_facts(&name, seats.len(), allotment.as_ref(), loss))?;
            return Ok(Code::Success);
        }
        if !loss.is_empty() {
            confirm(&format!("{} would be lost", loss.join(", ")), &name, self.yes)?;
        }
        let mut wish = self.wish(&name, seats.len())?;
        let mut spares = spares.into_iter().map(new).collect::<Result<Vec<_>>>()?;
        if let Some(allotment) = &allotment {
            wish.member_bytes = allotment.member_bytes;
            let shares = allotment.shares.iter().flatten();
            let device_bytes = shares.filter_map(|share| share.partition_bytes).max();
            for spare in &mut spares {
                *spare = room_for_member(spare, &name, device_bytes.unwrap_or(0), !loss.is_empty())?;
            }
            seats = allotment.apply()?;
        }
        let array = if self.level == Kind::Guide(ArrayKind::Raid50) {
            create_nested(&wish, &seats, &spares)?
        } else {
            create(&wish, &seats, &spares)?
        };
        let needs_resync = array.status().needs_resync;
        array.stop(now())?;
        let facts = [
            ("name", Cell::text(array.name())),
            ("uuid", Cell::text(array.uuid().to_string())),
            ("level", Cell::text(level_name(&array))),
            ("size_bytes", Cell::Bytes(array.size_bytes())),
            ("needs_resync", Cell::Flag(needs_resync)),
        ];
        output.told(array.name(), &facts)?;
        Ok(Code::Success)
    }

    /// The name, if one was given, and the images.
    fn split(&self) -> Result<(Option<String>, Vec<PathBuf>)> {
        let first = &self.words[0];
        let text = first.to_string_lossy();
        let is_name = !first.exists() && !text.contains('/') && first.extension().is_none();
        let images = self.words[usize::from(is_name)..].to_vec();
        if images.is_empty() {
            let message = "no image is given";
            return Err(Failure::new(Code::Usage, message, "'headstack disk create', which makes some").into());
        }
        Ok((is_name.then(|| text.into_owned()), images))
    }

    fn check(&self, members: usize) -> Result<()> {
        let refuse = |message: String, remedy: &str| Err(Failure::new(Code::Usage, message, remedy).into());
        if let Some(message) = self.level.refusal(members) {
            return refuse(message, "'headstack help levels' for what each level needs");
        }
        if !CHUNKS.contains(&self.chunk) || !self.chunk.is_power_of_two() {
            let message = format!(
                "a chunk of {} bytes cannot be: it is 4K to 1M, and a power of two",
                self.chunk
            );
            return refuse(message, "--chunk 512K");
        }
        Ok(())
    }

    /// How the images are shared out; none for RAID 4, which takes them whole.
    fn allot(&self, name: &str, seats: &[Option<NewImage>], overwrite: bool) -> Result<Option<Allotment>> {
        let Kind::Guide(kind) = self.level else {
            return Ok(None);
        };
        let request = Request {
            name: name.to_owned(),
            kind,
            capacity_bytes: self.capacity,
            chunk_bytes: self.chunk,
            bitmap: !kind.level().is_bare() && !self.no_bitmap,
            overwrite,
        };
        Ok(Some(Allotment::plan(&request, seats)?))
    }

    /// What a dry run tells.
    fn plan_facts(
        &self,
        name: &str,
        members: usize,
        allotment: Option<&Allotment>,
        loss: Vec<String>,
    ) -> Vec<(&'static str, Cell)> {
        let left = |share: &Option<Share>| share.as_ref().map(|share| share.left_bytes);
        let left: Option<Vec<Option<u64>>> = allotment.map(|allotment| allotment.shares.iter().map(left).collect());
        vec![
            ("name", Cell::text(name)),
            ("level", Cell::text(self.level.name())),
            ("members", Cell::Number(members as u64)),
            (
                "size_bytes",
                allotment.map_or(Cell::None, |allotment| Cell::Bytes(allotment.capacity_bytes)),
            ),
            ("left_bytes", Cell::Json(serde_json::json!(left))),
            ("lost", Cell::Json(loss.into())),
            ("dry_run", Cell::Flag(true)),
        ]
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
                    return Err(Failure::new(Code::Refused, message, remedy).into());
                }
                contents => loss.push(format!("{} ({contents})", path.display())),
            }
        }
        Ok(loss)
    }

    fn wish(&self, name: &str, members: usize) -> Result<Wish> {
        let wrong = |message: String| Failure::new(Code::Usage, message, "'headstack array create --help'");
        let level = self.level.level();
        let member_bytes = self.capacity.map(|capacity| {
            let each = capacity.div_ceil(self.level.data_members(members));
            each.next_multiple_of(self.chunk)
        });
        Ok(Wish {
            name: name.to_owned(),
            uuid: new_uuid()?,
            created: now(),
            level,
            layout: self.level.layout(self.layout.as_deref()).map_err(wrong)?,
            chunk_bytes: if self.level == Kind::Guide(ArrayKind::Jbod) {
                0
            } else {
                self.chunk
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

fn open_all(paths: &[PathBuf]) -> Result<Vec<Image>> {
    paths.iter().map(|path| image(path)).collect()
}

/// `RAID_5_0`, or with the next number that no array beside the first image has.
fn default_name(level: Kind, image: &std::path::Path) -> Result<String> {
    let beside = image.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = beside.unwrap_or(std::path::Path::new(".")).to_path_buf();
    let taken: Vec<String> = discover(&images(&[beside])?)
        .arrays
        .into_iter()
        .map(|set| set.name)
        .collect();
    let stem = level.name().replace(' ', "_");
    let mut names = (0_u32..).map(|number| format!("{stem}_{number}"));
    Ok(names.find(|name| !taken.contains(name)).unwrap_or(stem))
}
