//! `headstack array examine`: what stands in the superblock of each image, field by field.
//!
//! One member's view of its array, as `mdadm --examine` tells it; nothing is concluded from it here.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    cli::{
        exit::{Code, Failure},
        images::{host_time, images},
        output::{self, Cell, FormOptions, Output},
    },
    raid::{
        SECTOR_BYTES, Sector,
        assemble::{Found, Image, find},
        metadata::{
            bitmap::Bitmap,
            superblock::{Features, MAX_SECTOR, Role, Superblock, Version},
        },
    },
    storage::{Access, Storage},
};

/// Most bytes of a bitmap that are read.
const BITMAP_MAX_BYTES: u64 = 64 << 20;

/// Show the superblock of images field by field
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array examine disk0.img
  headstack array examine --json disk0.img disk1.img")]
pub struct Arguments {
    /// Images, or directories of them
    #[arg(value_name = "IMG", required = true, value_hint = clap::ValueHint::FilePath)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    form: FormOptions,
}

impl Arguments {
    /// Prints them.
    ///
    /// # Errors
    /// An image does not exist. One without a superblock, or with a damaged one, is told after the others.
    pub fn run(self) -> Result<Code> {
        let output = Output::new("array examine", self.form);
        let mut all = Vec::new();
        let mut wrong = None;
        for (number, image) in images(&self.images)?.iter().enumerate() {
            match examine(image, number) {
                Ok(facts) => all.push(facts),
                Err(error) => wrong = Some(output::failure(&error)),
            }
        }
        if output.is_json() {
            let objects: Vec<Value> = all.into_iter().map(object).collect();
            output.document(Map::from_iter([("images".to_owned(), objects.into())]))?;
        } else {
            for (number, facts) in all.iter().enumerate() {
                if number > 0 {
                    output.told("", &[])?;
                }
                output.record(facts)?;
            }
        }
        Ok(wrong.unwrap_or(Code::Success))
    }
}

type Facts = Vec<(&'static str, Cell)>;

fn object(facts: Facts) -> Value {
    let pairs = facts.into_iter().map(|(key, cell)| (key.to_owned(), cell.json()));
    Value::Object(pairs.collect())
}

fn examine(image: &Image, number: usize) -> Result<Facts> {
    let path = image.path();
    let storage = image.open(Access::Read)?;
    let Some(found) = find(&path, &*storage, number)? else {
        let message = format!("{}: it has no superblock of md", path.display());
        return Err(Failure::new(Code::Corrupt, message, "the image of a member").into());
    };
    let mut facts = vec![("path", Cell::path(&path))];
    facts.extend(array_facts(&found));
    facts.extend(device_facts(&found));
    facts.extend(bitmap_facts(&*storage, &found));
    Ok(facts)
}

fn bytes(sectors: Sector) -> Cell {
    sectors.bytes().map_or(Cell::None, Cell::Bytes)
}

/// What it says of its array.
fn array_facts(found: &Found) -> Facts {
    let view = &found.superblock;
    let version = Version::ALL
        .into_iter()
        .find(|version| version.place(found.device) == Some(view.super_offset));
    let resync = match view.resync_offset {
        MAX_SECTOR => Cell::text("in sync"),
        position => bytes(position),
    };
    let mut facts = vec![
        ("version", Cell::text(version.map_or("unknown", Version::name))),
        ("features", Cell::Json(features(view).into())),
        ("array_uuid", Cell::text(view.array_uuid.to_string())),
        ("array_name", Cell::text(view.name.to_string())),
        ("created", Cell::Time(host_time(view.created))),
        ("level", Cell::text(view.level.name())),
        ("layout", Cell::Number(view.layout.into())),
        ("slots", Cell::Number(view.slots.into())),
        ("chunk_bytes", Cell::Bytes(u64::from(view.chunk) * SECTOR_BYTES)),
        ("used_bytes", bytes(view.size)),
        ("updated", Cell::Time(host_time(view.updated))),
        ("events", Cell::Number(view.events)),
        ("resync_position", resync),
        ("roles", Cell::Json(roles(view))),
    ];
    if let Some(reshape) = view.reshaping() {
        facts.push((
            "reshape",
            Cell::Json(json!({
                "position_bytes": reshape.position.checked_mul(SECTOR_BYTES),
                "delta": reshape.delta,
                "new_level": reshape.new_level,
                "new_layout": reshape.new_layout,
                "new_chunk_bytes": u64::from(reshape.new_chunk) * SECTOR_BYTES,
                "new_offset_sectors": reshape.new_offset,
            })),
        ));
    }
    facts
}

fn features(view: &Superblock) -> Vec<&'static str> {
    let known = [
        (Features::BITMAP, "bitmap"),
        (Features::RECOVERY, "recovery"),
        (Features::RESHAPE, "reshape"),
        (Features::BAD_BLOCKS, "bad blocks"),
        (Features::JOURNAL, "journal"),
        (Features::PPL, "ppl"),
        (Features::MULTIPLE_PPLS, "multiple ppls"),
        (Features::CLUSTERED, "clustered"),
    ];
    let set = known.into_iter().filter(|(feature, _)| view.features.has(*feature));
    set.map(|(_, name)| name).collect()
}

fn roles(view: &Superblock) -> Value {
    let word = |role: &Role| match role {
        Role::Active(slot) => json!(slot.0),
        Role::Spare => json!("spare"),
        Role::Faulty => json!("faulty"),
        Role::Journal => json!("journal"),
    };
    let used = view
        .roles
        .iter()
        .rposition(|role| *role != Role::Spare)
        .map_or(0, |last| last + 1);
    view.roles[..used].iter().map(word).collect()
}

/// What it says of its device.
fn device_facts(found: &Found) -> Facts {
    let view = &found.superblock;
    let role = match view.role() {
        Role::Active(slot) => Cell::text(format!("member {slot}")),
        Role::Spare => Cell::text("spare"),
        Role::Faulty => Cell::text("faulty"),
        Role::Journal => Cell::text("journal"),
    };
    vec![
        ("device_uuid", Cell::text(view.device_uuid.to_string())),
        ("device_number", Cell::Number(view.device_number.into())),
        ("role", role),
        ("device_bytes", bytes(found.device)),
        ("superblock_offset_bytes", bytes(view.super_offset)),
        ("data_offset_bytes", bytes(view.data_offset)),
        ("data_bytes", bytes(view.data_size)),
        ("recovered_bytes", view.recovered_to().map_or(Cell::None, bytes)),
        ("corrected_reads", Cell::Number(view.corrected_reads.into())),
        ("device_flags", Cell::Number(view.device_flags.into())),
        ("logical_block_bytes", Cell::Bytes(view.logical_block_bytes.into())),
        ("bad_block_log_sectors", Cell::Number(view.bad_blocks.sectors.into())),
    ]
}

/// What its write-intent bitmap says, if it has one.
fn bitmap_facts(storage: &dyn Storage, found: &Found) -> Facts {
    let view = &found.superblock;
    let Some(start) = view.bitmap_start() else {
        return vec![("bitmap", Cell::None)];
    };
    let room = view
        .bitmap_room(found.device)
        .bytes()
        .unwrap_or(0)
        .min(BITMAP_MAX_BYTES);
    let mut area = vec![0; usize::try_from(room).unwrap_or(0)];
    let read = storage.read_at(&mut area, start.0 * SECTOR_BYTES);
    let decoded = match read {
        Ok(count) => Bitmap::decode(&area[..count]).map_err(|damage| damage.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match decoded {
        Err(reason) => vec![("bitmap", Cell::text(format!("damaged: {reason}")))],
        Ok(bitmap) => {
            let header = bitmap.header();
            vec![
                ("bitmap_offset_bytes", bytes(start)),
                ("bitmap_events", Cell::Number(header.events)),
                ("bitmap_events_cleared", Cell::Number(header.events_cleared)),
                ("bitmap_chunk_bytes", Cell::Bytes(header.chunk_bytes.into())),
                ("bitmap_bits", Cell::Number(header.bits())),
                ("bitmap_bits_set", Cell::Number(bitmap.count())),
            ]
        }
    }
}
