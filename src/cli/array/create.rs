//! `headstack array create`: makes an array of images.
//!
//! What the images hold is lost, which is why it is looked at first; only blank images are taken without a word.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Map, Value};

use crate::{
    cli::{
        arguments::size,
        exit::{Code, Failure},
        images::images,
        output::{Cell, JsonOption, Output, confirm},
        store::ask_if_running,
    },
    controller::{
        Store,
        create::{Cache, Creation, Init, words::Kind},
        interface::StoreAsk,
        order::on_host,
        settings::Remembered,
    },
    raid::discover::discover,
};

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
    /// When a write counts as done, where a controller serves the array
    #[arg(long, value_enum, default_value_t = Cache::WriteBack)]
    cache: Cache,
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
        let wish = self.wish()?;
        let store = Store::around(&wish.images[0]);
        if store.is_none() && self.cache != Cache::default() {
            let message = "outside a store the cache is that of who serves the array";
            let remedy = "'headstack nbd --cache write-through'";
            return Err(Failure::new(Code::Usage, message, remedy).into());
        }
        let output = Output::of_json("array create", self.json);
        let mut facts = make(
            store.as_ref(),
            Creation {
                dry_run: true,
                ..wish.clone()
            },
        )?;
        if self.dry_run {
            output.record(&cells(
                &facts,
                &[
                    "name",
                    "level",
                    "members",
                    "size_bytes",
                    "left_bytes",
                    "lost",
                    "dry_run",
                ],
            ))?;
            return Ok(Code::Success);
        }
        let lost: Vec<&str> = facts["lost"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let name = facts["name"].as_str().unwrap_or_default();
        if !lost.is_empty() {
            confirm(&format!("{} would be lost", lost.join(", ")), name, self.yes)?;
        }
        facts = make(
            store.as_ref(),
            Creation {
                yes: true,
                name: Some(name.to_owned()),
                ..wish
            },
        )?;
        let name = facts["name"].as_str().unwrap_or_default();
        output.told(
            name,
            &cells(&facts, &["name", "uuid", "level", "size_bytes", "needs_resync"]),
        )?;
        Ok(Code::Success)
    }

    /// What is wished, with the paths that another process needs.
    fn wish(&self) -> Result<Creation> {
        let (name, members) = self.split()?;
        let absolute = |paths: &[PathBuf]| {
            let one = |path: &PathBuf| std::fs::canonicalize(path).with_context(|| path.display().to_string());
            paths.iter().map(one).collect::<Result<Vec<_>>>()
        };
        Ok(Creation {
            name,
            level: self.level,
            chunk_bytes: self.chunk,
            layout: self.layout.clone(),
            init: self.init,
            capacity_bytes: self.capacity,
            images: absolute(&members)?,
            spares: absolute(&self.spare)?,
            missing: self.missing,
            no_bitmap: self.no_bitmap,
            cache: self.cache,
            force_overwrite: self.force_overwrite,
            yes: self.yes,
            dry_run: self.dry_run,
        })
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
}

/// Makes the array, or lets the controller do it that has the images in use.
fn make(store: Option<&Store>, wish: Creation) -> Result<Map<String, Value>> {
    let Some(store) = store else {
        return at_rest(&wish);
    };
    let ask = StoreAsk::CreateArray(Box::new(wish.clone()));
    if let Some(facts) = ask_if_running(store, ask)? {
        return Ok(facts);
    }
    let facts = at_rest(&wish)?;
    if wish.cache == Cache::WriteThrough && !wish.dry_run {
        let mut remembered = Remembered::load(store)?;
        remembered
            .write_through
            .extend(facts["uuid"].as_str().map(str::to_owned));
        remembered.save(store)?;
    }
    Ok(facts)
}

/// Makes the array of images that nobody has in use.
fn at_rest(wish: &Creation) -> Result<Map<String, Value>> {
    let beside = wish.images[0].parent().map(PathBuf::from);
    let found = discover(&images(&beside.into_iter().collect::<Vec<_>>())?);
    let taken: Vec<String> = found.arrays.into_iter().map(|set| set.name).collect();
    Ok(wish.make(&on_host, &taken)?.facts)
}

fn cells<'a>(facts: &Map<String, Value>, keys: &[&'a str]) -> Vec<(&'a str, Cell)> {
    let cell = |key: &&'a str| (*key, Cell::of(key, facts.get(*key).unwrap_or(&Value::Null)));
    keys.iter().map(cell).collect()
}
