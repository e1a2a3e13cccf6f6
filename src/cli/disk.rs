//! `headstack disk ..`: the images that arrays are made of, before and beside their arrays.
//!
//! An image is a plain file; it has no header of its own until it is a member.

mod rehearse;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{
    arguments::size,
    exit::{Code, Failure},
    images::{image, images},
    output::{Cell, Column, FormOptions, JsonOption, Output, Table},
    store::ask_if_running,
};
use crate::{
    controller::{
        Store,
        disk::{drive::Drive, hardware::Hardware},
        interface::{DiskDeed, StoreAsk},
    },
    raid::{
        SECTOR_BYTES,
        discover::{ArraySet, Contents, Discovery, discover},
    },
};

/// Smallest image: less has no room for a superblock and any data.
const SIZE_MIN_BYTES: u64 = 2 << 20;

const COLUMNS: &[Column] = &[
    Column::left("path", "PATH"),
    Column::right("size_bytes", "SIZE"),
    Column::left("holds", "HOLDS"),
    Column::left("array", "ARRAY"),
    Column::left("member", "MEMBER"),
];

/// Verbs on images.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(Create),
    Ls(Ls),
    Show(Show),
    Inject(rehearse::Inject),
    /// Unplug a disk: what uses it misses it at once
    #[command(after_help = "\
Examples:
  headstack disk pull /srv/store/disks/disk1.img")]
    Pull(rehearse::OneDisk),
    /// Plug a disk in again: it is recognised, and filled where it missed something
    #[command(after_help = "\
Examples:
  headstack disk insert /srv/store/disks/disk1.img")]
    Insert(rehearse::OneDisk),
    /// Take all faults of a disk away; what hangs goes on
    #[command(after_help = "\
Examples:
  headstack disk heal /srv/store/disks/disk1.img")]
    Heal(rehearse::OneDisk),
    /// Say where a disk is
    #[command(after_help = "\
Examples:
  headstack disk identify disk1.img --store /srv/store")]
    Identify(rehearse::OneDisk),
    Rescan(rehearse::Rescan),
}

/// Make images for the members of arrays
///
/// They are sparse: they take space only for what is written.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack disk create disk0.img disk1.img disk2.img --size 1G")]
pub struct Create {
    /// Files to make
    #[arg(value_name = "IMG", required = true, value_hint = clap::ValueHint::FilePath)]
    images: Vec<PathBuf>,
    /// Size of each
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: u64,
    #[command(flatten)]
    json: JsonOption,
}

/// List images and what they hold
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack disk ls disks/")]
pub struct Ls {
    /// Images, or directories of them; the working directory by default
    #[arg(value_name = "IMG", default_value = ".", value_hint = clap::ValueHint::AnyPath)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    form: FormOptions,
}

/// Show one image: what it holds, what it is to which array, and the drive that it is on
///
/// Where the controller of its store runs, its place among the disks and its state are shown too. What the drive says of
/// itself comes from `smartctl` of smartmontools, where that is installed and may ask.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack disk show disk0.img")]
pub struct Show {
    /// The image
    #[arg(value_name = "IMG", value_hint = clap::ValueHint::FilePath)]
    image: PathBuf,
    #[command(flatten)]
    form: FormOptions,
}

impl Verb {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever it met.
    pub fn run(self) -> Result<Code> {
        match self {
            Self::Create(create) => create.run(),
            Self::Ls(ls) => ls.run(),
            Self::Show(show) => show.run(),
            Self::Inject(inject) => inject.run(),
            Self::Pull(disk) => disk.run("disk pull", DiskDeed::Pull),
            Self::Insert(disk) => disk.run("disk insert", DiskDeed::Insert),
            Self::Heal(disk) => disk.run("disk heal", DiskDeed::Heal),
            Self::Identify(disk) => disk.run("disk identify", DiskDeed::Identify),
            Self::Rescan(rescan) => rescan.run(),
        }
    }
}

impl Create {
    fn run(self) -> Result<Code> {
        if self.size < SIZE_MIN_BYTES || !self.size.is_multiple_of(SECTOR_BYTES) {
            let message = format!(
                "an image of {} bytes cannot be: it is a multiple of 512 of at least 2M",
                self.size
            );
            return Err(Failure::new(Code::Usage, message, "--size 1G").into());
        }
        for path in &self.images {
            let place = || path.display().to_string();
            let made = File::create_new(path).with_context(place)?;
            if let Err(error) = made.set_len(self.size).and_then(|()| made.sync_all()) {
                // What could not be made whole is not left behind; its own error is the one to tell.
                let _ = std::fs::remove_file(path);
                return Err(error).with_context(place);
            }
        }
        let paths = self.images.iter().map(|path| path.to_string_lossy()).collect();
        let facts = [("images", Cell::Json(paths)), ("size_bytes", Cell::Bytes(self.size))];
        Output::of_json("disk create", self.json).done(&format!("made {} images", self.images.len()), &facts)?;
        Ok(Code::Success)
    }
}

impl Ls {
    fn run(self) -> Result<Code> {
        let found = discover(&images(&self.images)?);
        let mut table = Table::new(COLUMNS);
        for (number, report) in found.images.iter().enumerate() {
            let place = place_of(&found, number);
            table.push(vec![
                Cell::path(&report.image.path()),
                Cell::Bytes(report.size_bytes),
                Cell::text(report.contents.to_string()),
                place.as_ref().map_or(Cell::None, |(set, _)| Cell::text(&set.name)),
                place.map_or(Cell::None, |(_, place)| Cell::text(place)),
            ]);
        }
        Output::new("disk ls", self.form).table("images", &table)?;
        Ok(Code::Success)
    }
}

impl Show {
    fn run(self) -> Result<Code> {
        let image = image(&self.image)?;
        let found = discover(&[image]);
        let Some(report) = found.images.first() else {
            return Ok(Code::Failure);
        };
        if let Contents::Unreadable(_) = report.contents {
            report.image.open(crate::storage::Access::Read)?;
        }
        let place = place_of(&found, 0);
        let path = report.image.path();
        let live = told_of(&path)?;
        let hardware = Hardware::of(&path);
        let told = |key: &str| Cell::of(key, live.get(key).unwrap_or(&Value::Null));
        let location = live.get("location").map_or(Cell::None, |at| {
            Cell::text(format!("controller {} port {}", at["controller"], at["port"]))
        });
        let drive = facts_of_drive(&hardware.drives);
        let facts = [
            ("path", Cell::path(&path)),
            ("location", location),
            ("model", hardware.model.map_or(Cell::None, Cell::Text)),
            ("size_bytes", Cell::Bytes(report.size_bytes)),
            ("free_bytes", Cell::Bytes(report.free_bytes)),
            ("revision", hardware.revision.map_or(Cell::None, Cell::Text)),
            ("state", told("state")),
            ("pcie_width", Cell::number(hardware.width.map(u64::from))),
            ("pcie_speed", hardware.speed.map_or(Cell::None, Cell::Text)),
            ("written_bytes", told("written_bytes")),
            ("holds", Cell::text(report.contents.to_string())),
            (
                "array",
                place.as_ref().map_or(Cell::None, |(set, _)| Cell::text(&set.name)),
            ),
            (
                "array_uuid",
                place
                    .as_ref()
                    .map_or(Cell::None, |(set, _)| Cell::text(set.uuid.to_string())),
            ),
            (
                "level",
                place
                    .as_ref()
                    .map_or(Cell::None, |(set, _)| Cell::text(super::array::level_name(set))),
            ),
            ("member", place.map_or(Cell::None, |(_, place)| Cell::text(place))),
        ];
        let facts: Vec<_> = facts.into_iter().chain(drive).collect();
        Output::new("disk show", self.form).record(&facts)?;
        Ok(Code::Success)
    }
}

/// What is told of the real drive under an image.
fn facts_of_drive(names: &[String]) -> [(&'static str, Cell); 9] {
    let name = match names {
        [] => Cell::None,
        names => Cell::Text(names.join(" ")),
    };
    let drive = names.first().and_then(|name| Drive::ask(name)).unwrap_or_default();
    let doubts = match drive.doubts.as_slice() {
        [] => Cell::None,
        doubts => Cell::Text(doubts.join("; ")),
    };
    [
        ("drive", name),
        ("drive_passed", drive.passed.map_or(Cell::None, Cell::Flag)),
        ("drive_temperature_c", Cell::number(drive.temperature_c)),
        ("drive_power_on_hours", Cell::number(drive.power_on_hours)),
        ("drive_percentage_used", Cell::number(drive.percentage_used)),
        (
            "drive_written_bytes",
            drive.written_bytes.map_or(Cell::None, Cell::Bytes),
        ),
        ("drive_media_errors", Cell::number(drive.media_errors)),
        ("drive_doubts", doubts),
        ("drive_trouble", drive.trouble.map_or(Cell::None, Cell::Text)),
    ]
}

/// What the controller tells of a disk; nothing where its store has none that runs.
fn told_of(path: &Path) -> Result<Map<String, Value>> {
    let status = Store::around(path).map_or(Ok(None), |store| ask_if_running(&store, StoreAsk::Status))?;
    let disks = status.as_ref().and_then(|status| status.get("disks")?.as_array());
    let is = |disk: &&Value| disk["path"].as_str().is_some_and(|at| Path::new(at) == path);
    let disk = disks.and_then(|disks| disks.iter().find(is)?.as_object().cloned());
    Ok(disk.unwrap_or_default())
}

/// The array that an image is a member of, and as what.
fn place_of(found: &Discovery, number: usize) -> Option<(&ArraySet, String)> {
    found.arrays.iter().find_map(|set| {
        let member = set.members.iter().find(|member| member.number == number)?;
        let word = member.standing.name();
        let place = match member.slot {
            Some(slot) => format!("{slot} ({word})"),
            None => word.to_owned(),
        };
        Some((set, place))
    })
}
