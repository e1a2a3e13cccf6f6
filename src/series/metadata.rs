//! The text of `metadata.txt`, of a series and of a database: bytes to parameters and back, no I/O.
//!
//! Source: tempsdb 0.6.4, texts written by it, and 0.5a2's source (which leaves out `page_size` when it is 4096 and
//! every space). JSON as in [`super::json`], one object, keys written in this order:
//!
//! | key                     | value                                                   | when absent                   |
//! |-------------------------|---------------------------------------------------------|-------------------------------|
//! | `block_size`            | bytes of a value, 0 to 16 MiB                             | damage                        |
//! | `max_entries_per_chunk` | 0 to 2147483647; 0 acts as 1                              | damage                        |
//! | `last_entry_synced`     | any timestamp                                           | damage                        |
//! | `page_size`             | 1 byte to 1 GiB                                           | 4096                          |
//! | `metadata`              | the user's object; `null` counts as absent              | none                          |
//! | `gzip_level`            | number, for series of `.gz` chunks; `null` counts as absent | plain chunks                |
//! | any other               |                                                         | accepted, lost when rewritten |
//!
//! The root of a varlen series keeps its parameters in front of the user's keys:
//! `"metadata": {"size_field": 2, "length_profile": [10, 255]}`. `metadata.minijson`, which tempsdb 0.6 writes where
//! PyPI's `minijson` is importable, is not read.

use serde_json::{Map, Value};

use super::{
    BLOCK_SIZE_MAX, Damage, ENTRIES_PER_CHUNK_MAX, Error, FixedParameters, PAGE_SIZE_MAX, Result, VarlenParameters,
    json,
};

/// Name of the file, in a series directory and in a database's root.
pub const METADATA_FILE: &str = "metadata.txt";
/// Greatest length of the file in bytes.
pub const METADATA_LIMIT_BYTES: u64 = 16 << 20;

const PAGE_SIZE_DEFAULT: u32 = 4096;
const SIZE_FIELD: &str = "size_field";
const LENGTH_PROFILE: &str = "length_profile";

/// What `metadata.txt` of one series says.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesMetadata {
    /// Length of a value in bytes.
    pub block_size: u32,
    /// Entries after which the next chunk begins; 0 acts as 1.
    pub max_entries_per_chunk: u32,
    /// The user's mark of what was copied elsewhere; has nothing to do with durability.
    pub last_entry_synced: u64,
    /// Unit by which a chunk file grows, in bytes.
    pub page_size: u32,
    /// The user's object, led by `size_field` and `length_profile` in a varlen root.
    pub metadata: Option<Map<String, Value>>,
    /// Compression of a series of `.gz` chunks.
    pub gzip_level: Option<u32>,
}

impl SeriesMetadata {
    /// What a new fixed series starts with.
    pub fn new(parameters: &FixedParameters) -> Self {
        Self {
            block_size: parameters.block_size,
            max_entries_per_chunk: parameters.entries_per_chunk,
            last_entry_synced: 0,
            page_size: parameters.page_size,
            metadata: None,
            gzip_level: None,
        }
    }

    /// What sub-series `part` of a new varlen series starts with; 0 is the root.
    ///
    /// # Panics
    /// Where the parameters were not validated.
    pub fn new_part(parameters: &VarlenParameters, part: usize) -> Self {
        let last = parameters.length_profile.len().checked_sub(1);
        let last = last.expect("a valid length profile is not empty");
        let length = parameters.length_profile[part.min(last)];
        let prefix = if part == 0 {
            u32::from(parameters.size_struct)
        } else {
            0
        };
        let fixed = FixedParameters {
            block_size: prefix + length,
            entries_per_chunk: parameters.entries_per_chunk,
            page_size: PAGE_SIZE_DEFAULT,
        };
        Self {
            metadata: (part == 0).then(|| with_varlen(parameters, None)),
            ..Self::new(&fixed)
        }
    }

    /// Reads the text.
    ///
    /// # Errors
    /// [`Damage::Metadata`] that names the key or byte.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let mut object = decode_object(bytes)?;
        let narrow = |key: &'static str, value: Option<u64>, least: u32, most: u32| {
            let value = value.ok_or_else(|| Damage::Metadata(format!("{key} is missing")))?;
            let narrow = u32::try_from(value)
                .ok()
                .filter(|narrow| (least..=most).contains(narrow));
            narrow.ok_or_else(|| Damage::Metadata(format!("{key} is {value}, it is {least} to {most}")))
        };
        let unsigned = |key| unsigned(object.get(key), key);
        let block_size = narrow("block_size", unsigned("block_size")?, 0, BLOCK_SIZE_MAX)?;
        let entries = unsigned("max_entries_per_chunk")?;
        let max_entries_per_chunk = narrow("max_entries_per_chunk", entries, 0, ENTRIES_PER_CHUNK_MAX)?;
        let last_entry_synced = unsigned("last_entry_synced")?;
        let last_entry_synced =
            last_entry_synced.ok_or_else(|| Damage::Metadata("last_entry_synced is missing".to_owned()))?;
        let page_size = unsigned("page_size")?.unwrap_or(u64::from(PAGE_SIZE_DEFAULT));
        let page_size = narrow("page_size", Some(page_size), 1, PAGE_SIZE_MAX)?;
        let gzip_level = match object.get("gzip_level") {
            None | Some(Value::Null) => None,
            Some(_) => Some(narrow("gzip_level", unsigned("gzip_level")?, 0, u32::MAX)?),
        };
        let metadata = match object.remove("metadata") {
            None | Some(Value::Null) => None,
            Some(Value::Object(metadata)) => Some(metadata),
            Some(other) => {
                let found = kind_of(&other);
                return Err(Damage::Metadata(format!(
                    "the key \"metadata\" holds {found}, not an object"
                )));
            }
        };
        Ok(Self {
            block_size,
            max_entries_per_chunk,
            last_entry_synced,
            page_size,
            metadata,
            gzip_level,
        })
    }

    /// Writes the text as tempsdb 0.6.4 does.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!(
            r#"{{"block_size": {}, "max_entries_per_chunk": {}, "last_entry_synced": {}, "page_size": {}"#,
            self.block_size, self.max_entries_per_chunk, self.last_entry_synced, self.page_size
        );
        if let Some(metadata) = &self.metadata {
            text.push_str(r#", "metadata": "#);
            text.push_str(&json::encode_object(metadata));
        }
        if let Some(level) = self.gzip_level {
            text.push_str(&format!(r#", "gzip_level": {level}"#));
        }
        text.push('}');
        text.into_bytes()
    }

    /// Parameters of the fixed series that this is of.
    pub fn fixed_parameters(&self) -> FixedParameters {
        FixedParameters {
            block_size: self.block_size,
            entries_per_chunk: self.max_entries_per_chunk,
            page_size: self.page_size,
        }
    }
}

/// Parameters of the varlen series whose root this is of.
///
/// # Errors
/// [`Damage::Metadata`] where they are missing, out of range or at odds with the block size.
pub fn varlen_parameters(root: &SeriesMetadata) -> Result<VarlenParameters, Damage> {
    let missing = |key| Damage::Metadata(format!("{key} of a varlen series is missing"));
    let metadata = root.metadata.as_ref().ok_or_else(|| missing("the key \"metadata\""))?;
    let size_field = unsigned(metadata.get(SIZE_FIELD), SIZE_FIELD)?.ok_or_else(|| missing(SIZE_FIELD))?;
    let size_struct = u8::try_from(size_field).ok().filter(|size| (1..=4).contains(size));
    let size_struct =
        size_struct.ok_or_else(|| Damage::Metadata(format!("{SIZE_FIELD} is {size_field}, it is 1 to 4")))?;
    let profile = match metadata.get(LENGTH_PROFILE) {
        Some(Value::Array(profile)) if !profile.is_empty() => profile,
        Some(_) => return Err(Damage::Metadata(format!("{LENGTH_PROFILE} is not a list of lengths"))),
        None => return Err(missing(LENGTH_PROFILE)),
    };
    let mut length_profile = Vec::with_capacity(profile.len());
    for (part, length) in profile.iter().enumerate() {
        let length = unsigned(Some(length), LENGTH_PROFILE)?.unwrap_or_default();
        // The reference library reads and writes a head of no bytes; any other empty part can never be appended to.
        let least = u64::from(part > 0 || profile.len() == 1);
        let fits = u32::try_from(length)
            .ok()
            .filter(|fits| *fits <= BLOCK_SIZE_MAX && length >= least);
        length_profile.push(fits.ok_or_else(|| {
            Damage::Metadata(format!(
                "{LENGTH_PROFILE} has length {length}, it is {least} to {BLOCK_SIZE_MAX}"
            ))
        })?);
    }
    let head = u32::from(size_struct) + length_profile[0];
    if head != root.block_size {
        let found = root.block_size;
        return Err(Damage::Metadata(format!(
            "block_size is {found}, {SIZE_FIELD} and {LENGTH_PROFILE} make it {head}"
        )));
    }
    Ok(VarlenParameters {
        length_profile,
        size_struct,
        entries_per_chunk: root.max_entries_per_chunk,
    })
}

/// The object that a varlen root stores: the parameters, then the user's keys, of which `size_field` and
/// `length_profile` are left out.
pub fn with_varlen(parameters: &VarlenParameters, user: Option<&Map<String, Value>>) -> Map<String, Value> {
    let profile = parameters
        .length_profile
        .iter()
        .map(|&length| Value::from(length))
        .collect();
    let mut object = Map::new();
    object.insert(SIZE_FIELD.to_owned(), Value::from(parameters.size_struct));
    object.insert(LENGTH_PROFILE.to_owned(), Value::Array(profile));
    for (key, value) in user.into_iter().flatten() {
        if key != SIZE_FIELD && key != LENGTH_PROFILE {
            object.insert(key.clone(), value.clone());
        }
    }
    object
}

/// The user's part of what a varlen root stores; none where there is nothing but the parameters.
pub fn without_varlen(root: &SeriesMetadata) -> Option<Map<String, Value>> {
    let mut user = root.metadata.clone().unwrap_or_default();
    user.shift_remove(SIZE_FIELD);
    user.shift_remove(LENGTH_PROFILE);
    (!user.is_empty()).then_some(user)
}

/// Reads any object, such as a database's metadata.
///
/// # Errors
/// [`Damage::Metadata`] that names the byte.
pub fn decode_object(bytes: &[u8]) -> Result<Map<String, Value>, Damage> {
    let length_bytes = bytes.len();
    if u64::try_from(length_bytes).is_ok_and(|length_bytes| length_bytes > METADATA_LIMIT_BYTES) {
        return Err(Damage::Metadata(format!(
            "{length_bytes} bytes, {METADATA_LIMIT_BYTES} are the most"
        )));
    }
    match json::decode(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Damage::Metadata(format!("{}, not an object", kind_of(&other)))),
        Err(reason) => Err(Damage::Metadata(reason)),
    }
}

/// Writes any object, such as a database's metadata.
pub fn encode_object(object: &Map<String, Value>) -> Vec<u8> {
    json::encode_object(object).into_bytes()
}

/// Checks that a user's object can be read back once it is written.
///
/// # Errors
/// [`Error::BadParameter`] where it is too long or nested too deeply.
pub fn check_object(object: &Map<String, Value>) -> Result<()> {
    let bad = |value, reason| {
        Err(Error::BadParameter {
            parameter: "metadata",
            value,
            reason,
        })
    };
    let depth = 1 + object.values().map(json::depth).max().unwrap_or(0);
    if depth >= json::DEPTH_MAX {
        return bad(format!("{depth} objects deep"), "it is nested at most 511 objects deep");
    }
    let length_bytes = json::encode_object(object).len();
    // The rest of the file is a kilobyte at most, but for a length profile which no one makes that long.
    if u64::try_from(length_bytes).map_or(true, |length_bytes| length_bytes > METADATA_LIMIT_BYTES / 2) {
        return bad(format!("{length_bytes} bytes long"), "it takes at most 8 MiB as JSON");
    }
    Ok(())
}

/// A whole number that is not negative; none where the key is absent.
fn unsigned(value: Option<&Value>, key: &str) -> Result<Option<u64>, Damage> {
    let Some(value) = value else {
        return Ok(None);
    };
    match value {
        Value::Number(number) => match number.as_u64() {
            Some(unsigned) => Ok(Some(unsigned)),
            None => {
                let number: String = number.as_str().chars().take(40).collect();
                Err(Damage::Metadata(format!(
                    "{key} is {number}, not a whole number of 64 bits"
                )))
            }
        },
        other => Err(Damage::Metadata(format!("{key} is {}, not a number", kind_of(other)))),
    }
}

/// What kind of value this is, for messages.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
