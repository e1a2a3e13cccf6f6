//! Extended attributes: parameters of a series, defaults for new ones, marks and metadata, all under
//! `user.headstack.`.
//!
//! Listed are only attributes that can be set again, so that a copy with attributes (into the root of a mount) makes
//! the series anew: parameters first. Others answer by name.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, str::FromStr};

use serde_json::{Map, Value, json};

use super::{Effect, Filesystem, Stale, control::mark_synced, lock};
use crate::{
    mount::{
        errno::{NAME_MAX, Refusal, Result},
        nodes::{Item, Place, Tree},
        view::SeriesView,
    },
    series::{
        AnyContents, AnySeries, FixedParameters, VarlenParameters,
        text::{FORMAT_KEY, Format},
    },
};

/// What every attribute begins with.
const PREFIX: &str = "user.headstack.";
/// What attributes of the metadata's keys begin with, after that.
const METADATA: &str = "meta.";
/// Where the database is that is mounted, as an attribute of the root.
pub const DATABASE: &str = "user.headstack.database";
/// Key of the database's metadata under which the defaults are kept.
const DEFAULTS_KEY: &str = "headstack";
/// Page sizes that are chosen for a larger block are a multiple of this many bytes.
const PAGE_UNIT: u32 = 4096;

/// Parameters that mkdir gives a new series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Defaults {
    /// In the root.
    pub fixed: FixedParameters,
    /// Format in the root; hex where none.
    pub fixed_format: Option<Format>,
    /// In `varlen`.
    pub varlen: VarlenParameters,
    /// Format in `varlen`.
    pub varlen_format: Option<Format>,
}

impl Defaults {
    /// Reads what the database remembers; what it cannot understand is as if it were not there.
    pub fn load(metadata: Option<&Map<String, Value>>) -> Self {
        let mut defaults = Self::default();
        let Some(kept) = metadata.and_then(|map| map.get(DEFAULTS_KEY)?.as_object()) else {
            return defaults;
        };
        for (name, value) in kept {
            let (varlen, name) = match name.strip_prefix("varlen.") {
                Some(name) => (true, name),
                None => (false, name.as_str()),
            };
            let Some(value) = value.as_str() else { continue };
            if let Err(error) = defaults.set(varlen, name, value) {
                log::warn!("default {name}={value} in the database's metadata is left aside: {error}");
            }
        }
        defaults
    }

    /// What is not the built-in default, for the database to remember.
    fn kept(&self) -> Map<String, Value> {
        let built_in = Self::default();
        let mut kept = Map::new();
        for (varlen, names) in [(false, FIXED_NAMES), (true, VARLEN_NAMES)] {
            for name in names {
                let value = self.get(varlen, name);
                if value != built_in.get(varlen, name) {
                    let key = if varlen {
                        format!("varlen.{name}")
                    } else {
                        (*name).to_owned()
                    };
                    kept.insert(key, json!(value));
                }
            }
        }
        kept
    }

    fn get(&self, varlen: bool, name: &str) -> Option<String> {
        let format = if varlen { self.varlen_format } else { self.fixed_format };
        match (varlen, name) {
            (_, FORMAT_KEY) => Some(format.unwrap_or_default().to_string()),
            (false, name) => fixed_parameter(&self.fixed, name),
            (true, name) => varlen_parameter(&self.varlen, name),
        }
    }

    fn set(&mut self, varlen: bool, name: &str, value: &str) -> Result<()> {
        match (varlen, name) {
            (false, FORMAT_KEY) => self.fixed_format = Some(parse_format(value)?),
            (true, FORMAT_KEY) => self.varlen_format = Some(parse_format(value)?),
            (false, name) => self.fixed = with_fixed_parameter(&self.fixed, name, value)?,
            (true, name) => self.varlen = with_varlen_parameter(&self.varlen, name, value)?,
        }
        Ok(())
    }
}

/// Parameters in the order in which they can be set: a block has to fit its page.
const FIXED_NAMES: &[&str] = &["page_size", "block_size", "entries_per_chunk", FORMAT_KEY];
const VARLEN_NAMES: &[&str] = &["size_struct", "length_profile", "entries_per_chunk", FORMAT_KEY];

fn fixed_parameter(parameters: &FixedParameters, name: &str) -> Option<String> {
    Some(match name {
        "block_size" => parameters.block_size.to_string(),
        "entries_per_chunk" => parameters.entries_per_chunk.to_string(),
        "page_size" => parameters.page_size.to_string(),
        _ => return None,
    })
}

fn varlen_parameter(parameters: &VarlenParameters, name: &str) -> Option<String> {
    Some(match name {
        "length_profile" => {
            let lengths: Vec<String> = parameters.length_profile.iter().map(u32::to_string).collect();
            lengths.join(",")
        }
        "size_struct" => parameters.size_struct.to_string(),
        "entries_per_chunk" => parameters.entries_per_chunk.to_string(),
        _ => return None,
    })
}

fn parse<T: FromStr>(name: &str, value: &str) -> Result<T> {
    value.trim().parse().map_err(|_| bad(name, value))
}

fn bad(name: &str, value: &str) -> Refusal {
    Refusal::BadAttribute {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fn parse_format(value: &str) -> Result<Format> {
    Ok(value.trim().parse()?)
}

fn with_fixed_parameter(parameters: &FixedParameters, name: &str, value: &str) -> Result<FixedParameters> {
    let mut changed = parameters.clone();
    match name {
        "block_size" => {
            changed.block_size = parse(name, value)?;
            // One attribute at a time cannot pass through a state that is wrong.
            let record = changed.block_size.saturating_add(8);
            if record > changed.page_size {
                changed.page_size = record
                    .checked_next_multiple_of(PAGE_UNIT)
                    .ok_or_else(|| bad(name, value))?;
            }
        }
        "entries_per_chunk" => changed.entries_per_chunk = parse(name, value)?,
        "page_size" => changed.page_size = parse(name, value)?,
        _ => return Err(unknown(name)),
    }
    changed.validate()?;
    Ok(changed)
}

fn with_varlen_parameter(parameters: &VarlenParameters, name: &str, value: &str) -> Result<VarlenParameters> {
    let mut changed = parameters.clone();
    match name {
        "length_profile" => {
            changed.length_profile = value
                .split(',')
                .map(|length| parse(name, length))
                .collect::<Result<_>>()?;
        }
        "size_struct" => changed.size_struct = parse(name, value)?,
        "entries_per_chunk" => changed.entries_per_chunk = parse(name, value)?,
        _ => return Err(unknown(name)),
    }
    changed.validate()?;
    Ok(changed)
}

fn unknown(name: &str) -> Refusal {
    Refusal::AttributeFixed {
        name: format!("{PREFIX}{name}"),
    }
}

/// Metadata of a new series that is to be printed in a format.
pub(super) fn format_metadata(format: Option<Format>, block_size: Option<usize>) -> Option<Map<String, Value>> {
    let format = format.filter(|format| format.suits(block_size))?;
    Some(Map::from_iter([(FORMAT_KEY.to_owned(), json!(format.name()))]))
}

/// The part of an attribute's name after our prefix.
fn own_name(name: &OsStr) -> Result<&str> {
    let text = name.to_str().ok_or(Refusal::NoNamespace)?;
    match text.strip_prefix(PREFIX) {
        Some(own) => Ok(own),
        None if text.starts_with("user.") => Err(Refusal::NoAttribute { name: text.to_owned() }),
        None => Err(Refusal::NoNamespace),
    }
}

/// The part of an attribute's name after our prefix, where somebody wants to change it.
fn settable_name(name: &OsStr) -> Result<&str> {
    match own_name(name) {
        Err(Refusal::NoAttribute { name }) => Err(Refusal::AttributeFixed { name }),
        other => other,
    }
}

impl Filesystem {
    /// Value of an attribute.
    ///
    /// # Errors
    /// There is none of that name; of other namespaces there are none at all.
    pub fn get_attribute(&self, node: u64, name: &OsStr) -> Result<Vec<u8>> {
        let own = own_name(name)?;
        let value = match self.place(node)? {
            Place::Root(Tree::Live) if name == DATABASE => {
                return Ok(self.database.path().as_os_str().as_bytes().to_vec());
            }
            Place::Root(Tree::Live) => lock(&self.defaults).get(false, own),
            Place::Varlen(Tree::Live) => lock(&self.defaults).get(true, own),
            Place::Snapshots => self.tags(own)?,
            Place::Series(series, Item::Directory | Item::Entries(_)) => {
                self.series_attribute(&*self.view(series)?, own)?
            }
            _ => None,
        };
        value.map(String::into_bytes).ok_or_else(|| Refusal::NoAttribute {
            name: name.to_string_lossy().into_owned(),
        })
    }

    fn series_attribute(&self, view: &SeriesView, own: &str) -> Result<Option<String>> {
        if let Some(key) = own.strip_prefix(METADATA) {
            let metadata = view.metadata().unwrap_or_default();
            return Ok(metadata.get(key).map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }));
        }
        Ok(match own {
            FORMAT_KEY => Some(view.codec().format().to_string()),
            "last_entry_synced" => Some(view.last_entry_synced().to_string()),
            "last_entry_ts" => Some(view.last_timestamp()?.unwrap_or_default().to_string()),
            "entries" => Some(view.entries()?.to_string()),
            _ => match view.contents() {
                AnyContents::Fixed(contents) => fixed_parameter(&contents.parameters(), own),
                AnyContents::Varlen(contents) => varlen_parameter(&contents.parameters(), own),
            },
        })
    }

    /// Names of the attributes that can be set again, each with a NUL byte behind it.
    ///
    /// # Errors
    /// The node is gone or its series damaged.
    pub fn list_attributes(&self, node: u64) -> Result<Vec<u8>> {
        let mut names: Vec<String> = match self.place(node)? {
            Place::Root(Tree::Live) => FIXED_NAMES.iter().map(|name| (*name).to_owned()).collect(),
            Place::Varlen(Tree::Live) => VARLEN_NAMES.iter().map(|name| (*name).to_owned()).collect(),
            Place::Series(series, Item::Directory) => {
                let view = self.view(series)?;
                let parameters = match view.contents() {
                    AnyContents::Fixed(_) => FIXED_NAMES,
                    AnyContents::Varlen(_) => VARLEN_NAMES,
                };
                let metadata = view.metadata().unwrap_or_default();
                let keys = metadata
                    .keys()
                    .filter(|key| key.as_str() != FORMAT_KEY && !key.contains('\0'));
                let own = parameters
                    .iter()
                    .chain(&["last_entry_synced"])
                    .map(|name| (*name).to_owned());
                own.chain(keys.map(|key| format!("{METADATA}{key}"))).collect()
            }
            _ => Vec::new(),
        };
        // A name of more than 255 bytes cannot be an attribute's.
        names.retain(|name| PREFIX.len() + name.len() <= NAME_MAX);
        Ok(names
            .into_iter()
            .flat_map(|name| format!("{PREFIX}{name}\0").into_bytes())
            .collect())
    }

    /// Sets an attribute: parameters while the series is empty, marks and metadata at any time.
    ///
    /// # Errors
    /// The attribute cannot be set, or not to that.
    pub fn set_attribute(&self, node: u64, name: &OsStr, value: &[u8]) -> Result<Effect<()>> {
        let place = self.place(node)?;
        let own = settable_name(name)?;
        self.writable(place.tree())?;
        let text = || {
            let lossy = String::from_utf8_lossy(value);
            str::from_utf8(value).map_err(|_| bad(own, &lossy))
        };
        match place {
            Place::Root(Tree::Live) => self.set_default(false, own, text()?),
            Place::Varlen(Tree::Live) => self.set_default(true, own, text()?),
            Place::Snapshots => Ok(self.set_tags(own, text()?)?.into()),
            Place::Series(series, Item::Directory | Item::Entries(_)) => {
                let view = self.view(series)?;
                let stale = self.set_series_attribute(&view, own, text()?)?;
                Ok(Effect::new((), stale))
            }
            _ => Err(unknown(own)),
        }
    }

    fn set_default(&self, varlen: bool, own: &str, value: &str) -> Result<Effect<()>> {
        let mut defaults = lock(&self.defaults);
        let mut changed = defaults.clone();
        changed.set(varlen, own, value)?;
        let mut metadata = self.database.metadata()?.unwrap_or_default();
        match changed.kept() {
            kept if kept.is_empty() => metadata.remove(DEFAULTS_KEY),
            kept => metadata.insert(DEFAULTS_KEY.to_owned(), Value::Object(kept)),
        };
        self.database
            .set_metadata((!metadata.is_empty()).then_some(&metadata))?;
        *defaults = changed;
        Ok(().into())
    }

    fn set_series_attribute(&self, view: &SeriesView, own: &str, value: &str) -> Result<Vec<Stale>> {
        let series = view.live().ok_or(Refusal::Frozen)?;
        if let Some(key) = own.strip_prefix(METADATA) {
            // The format has an attribute of its own, which minds that lines may be there already.
            if key == FORMAT_KEY {
                return Err(unknown(own));
            }
            let mut metadata = view.metadata().unwrap_or_default();
            let parsed = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            metadata.insert(key.to_owned(), parsed);
            return self.set_metadata(view, Some(metadata));
        }
        match own {
            "last_entry_synced" => mark_synced(series, parse(own, value)?)?,
            FORMAT_KEY => {
                let format = parse_format(value)?;
                self.set_format(view, Some(format))?;
            }
            _ => view.change_while_empty(own, || {
                match series {
                    AnySeries::Fixed(series) => {
                        series.set_parameters(&with_fixed_parameter(&series.parameters(), own, value)?)?;
                    }
                    AnySeries::Varlen(series) => {
                        series.set_parameters(&with_varlen_parameter(&series.parameters(), own, value)?)?;
                    }
                }
                Ok(())
            })?,
        }
        Ok(self.all_stale(view.node(), Stale::Attributes))
    }

    /// Sets the format of an empty series, or takes it away.
    fn set_format(&self, view: &SeriesView, format: Option<Format>) -> Result<()> {
        let block_size = match view.contents() {
            AnyContents::Fixed(contents) => Some(contents.parameters().block_size as usize),
            AnyContents::Varlen(_) => None,
        };
        if let Some(format) = format.filter(|format| !format.suits(block_size)) {
            return Err(bad(FORMAT_KEY, format.name()));
        }
        let series = view.live().ok_or(Refusal::Frozen)?;
        view.change_while_empty(FORMAT_KEY, || {
            let mut metadata = view.metadata().unwrap_or_default();
            match format {
                Some(format) => metadata.insert(FORMAT_KEY.to_owned(), json!(format.name())),
                None => metadata.remove(FORMAT_KEY),
            };
            let metadata = (!metadata.is_empty()).then_some(metadata);
            match series {
                AnySeries::Fixed(series) => series.set_metadata(metadata)?,
                AnySeries::Varlen(series) => series.set_metadata(metadata.as_ref())?,
            }
            Ok(())
        })
    }

    /// Removes an attribute: a key of the metadata, or the format of an empty series.
    ///
    /// # Errors
    /// There is none of that name, or it has to stay.
    pub fn remove_attribute(&self, node: u64, name: &OsStr) -> Result<Effect<()>> {
        let place = self.place(node)?;
        let own = settable_name(name)?;
        self.writable(place.tree())?;
        self.get_attribute(node, name)?;
        if place == Place::Snapshots {
            return Ok(self.set_tags(own, "")?.into());
        }
        let Place::Series(series, _) = place else {
            return Err(unknown(own));
        };
        let view = self.view(series)?;
        let stale = match own.strip_prefix(METADATA) {
            Some(key) if key != FORMAT_KEY => {
                let mut metadata = view.metadata().unwrap_or_default();
                metadata.remove(key);
                self.set_metadata(&view, (!metadata.is_empty()).then_some(metadata))?
            }
            None if own == FORMAT_KEY => {
                self.set_format(&view, None)?;
                self.all_stale(series, Stale::Attributes)
            }
            _ => return Err(unknown(own)),
        };
        Ok(Effect::new((), stale))
    }
}
