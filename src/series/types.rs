//! The nouns every part of the engine shares: timestamps, identities and the parameters of a series.
//!
//! Parameters are checked here against what the reference library can hold and append, before anything is made.

use std::{fmt, num::ParseIntError, str::FromStr};

use super::error::{Error, Result};

/// When an entry happened: unsigned 64 bit, in the caller's own unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The smallest timestamp.
    pub const MIN: Self = Self(0);
    /// The largest timestamp.
    pub const MAX: Self = Self(u64::MAX);
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// Which of a database's two namespaces a series lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Every value has the same length.
    Fixed,
    /// Values differ in length and are split over several fixed series.
    Varlen,
}

/// Number of a series: given once, kept through renames, never reused. Starts at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u32);

/// What a series is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// Its namespace.
    pub kind: Kind,
    /// Its name, which is its directory's.
    pub name: String,
}

impl SeriesKey {
    /// Names a fixed series.
    pub fn fixed(name: impl Into<String>) -> Self {
        Self {
            kind: Kind::Fixed,
            name: name.into(),
        }
    }

    /// Names a variable-length series.
    pub fn varlen(name: impl Into<String>) -> Self {
        Self {
            kind: Kind::Varlen,
            name: name.into(),
        }
    }

    /// Refuses a name that the format keeps for itself, or that no file can have.
    ///
    /// # Errors
    /// [`Error::BadName`] that says why.
    pub fn validate(&self) -> Result<()> {
        if self.kind == Kind::Fixed && ["varlen", "metadata.txt", "metadata.minijson"].contains(&self.name.as_str()) {
            return Err(Error::BadName {
                name: self.name.clone(),
                reason: "the format keeps it for itself",
            });
        }
        check_name(&self.name)
    }

    /// What this kind of series is called in messages.
    pub fn what(&self) -> &'static str {
        match self.kind {
            Kind::Fixed => "series",
            Kind::Varlen => "varlen series",
        }
    }
}

/// Parameters of a fixed series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedParameters {
    /// Length of a value in bytes.
    pub block_size: u32,
    /// Entries after which the next chunk file begins; 0 acts as 1.
    pub entries_per_chunk: u32,
    /// Unit by which a chunk file grows, in bytes; any number.
    pub page_size: u32,
}

impl Default for FixedParameters {
    fn default() -> Self {
        Self {
            block_size: 8,
            entries_per_chunk: 1 << 20,
            page_size: 4096,
        }
    }
}

/// Greatest block size in bytes: one value is mapped, copied and checked as a whole.
pub const BLOCK_SIZE_MAX: u32 = 1 << 24;
/// Greatest page size in bytes.
pub const PAGE_SIZE_MAX: u32 = 1 << 30;
/// Greatest `entries_per_chunk`, the reference library's own.
pub const ENTRIES_PER_CHUNK_MAX: u32 = i32::MAX as u32;

impl FixedParameters {
    /// Checks that the reference library can hold and append such entries.
    ///
    /// # Errors
    /// [`Error::BadParameter`] that names the parameter and its range.
    pub fn validate(&self) -> Result<()> {
        let bad = |parameter, value: u32, reason| {
            Err(Error::BadParameter {
                parameter,
                value: value.to_string(),
                reason,
            })
        };
        if self.page_size < 16 || self.page_size > PAGE_SIZE_MAX {
            return bad("page size", self.page_size, "it is 16 bytes to 1 GiB");
        }
        if self.block_size == 0 || self.block_size > BLOCK_SIZE_MAX {
            return bad("block size", self.block_size, "it is 1 byte to 16 MiB");
        }
        if u64::from(self.block_size) + 8 > u64::from(self.page_size) {
            return bad(
                "block size",
                self.block_size,
                "a value and its 8 byte timestamp have to fit in one page; ask for a larger page size",
            );
        }
        if self.entries_per_chunk > ENTRIES_PER_CHUNK_MAX {
            return bad("entries per chunk", self.entries_per_chunk, "it is at most 2147483647");
        }
        Ok(())
    }
}

/// Parameters of a variable-length series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VarlenParameters {
    /// Bytes of a value that each sub-series takes; the last one repeats for ever.
    pub length_profile: Vec<u32>,
    /// Bytes of the length prefix, 1 to 4.
    pub size_struct: u8,
    /// Entries after which a sub-series' next chunk file begins.
    pub entries_per_chunk: u32,
}

impl Default for VarlenParameters {
    fn default() -> Self {
        Self {
            length_profile: vec![10, 255],
            size_struct: 2,
            entries_per_chunk: 1 << 16,
        }
    }
}

impl VarlenParameters {
    /// Longest value in bytes: 255, 65535, 16777215 or 2147483647.
    pub fn maximum_length(&self) -> u64 {
        match self.size_struct {
            1 => 0xff,
            2 => 0xffff,
            3 => 0xff_ffff,
            _ => 0x7fff_ffff,
        }
    }

    /// Checks that the reference library can hold and append such values.
    ///
    /// # Errors
    /// [`Error::BadParameter`] that names the parameter and its range.
    pub fn validate(&self) -> Result<()> {
        let bad = |parameter, value: String, reason| {
            Err(Error::BadParameter {
                parameter,
                value,
                reason,
            })
        };
        if !(1..=4).contains(&self.size_struct) {
            return bad("size struct", self.size_struct.to_string(), "it is 1, 2, 3 or 4 bytes");
        }
        if self.entries_per_chunk == 0 || self.entries_per_chunk > ENTRIES_PER_CHUNK_MAX {
            return bad(
                "entries per chunk",
                self.entries_per_chunk.to_string(),
                "it is 1 to 2147483647",
            );
        }
        let prefix = u32::from(self.size_struct);
        let fits = |(i, &length): (usize, &u32)| {
            let extra = if i == 0 { prefix } else { 0 };
            length >= 1 && length <= 4088 - extra
        };
        if self.length_profile.is_empty() || !self.length_profile.iter().enumerate().all(fits) {
            return bad(
                "length profile",
                format!("{:?}", self.length_profile),
                "it is a list of lengths from 1 to 4088 bytes, the first together with its length prefix",
            );
        }
        Ok(())
    }
}

/// Refuses a name that no file can have, or that belongs to files of this program.
pub(super) fn check_name(name: &str) -> Result<()> {
    let reason = match name {
        "" => "it is empty",
        "." | ".." => "it means a directory",
        _ if name.contains('/') => "it contains a slash",
        _ if name.contains('\0') => "it contains a NUL byte",
        _ if name.starts_with(".headstack") => "names that begin with .headstack are kept for files of this program",
        _ if name.len() > 255 => "it is longer than 255 bytes",
        _ => return Ok(()),
    };
    Err(Error::BadName {
        name: name.to_owned(),
        reason,
    })
}
