//! Where a dump in pass 4 stood last: how many files were done, how far it was in the next, and where the tape stood.
//!
//! Kept as a line of JSON, a zero byte, what was gathered of the next record, and the CRC-32C of all that; a file that is
//! in progress has its header in the line, so that the rest of it is written as the beginning was.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Keeper;
use crate::dump::{
    error::{Result, Trouble},
    record::{Header, TapeBlock},
    stream::Standing,
};

/// Where a dump stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Files that were done, in the order of the plan.
    pub(crate) files: u64,
    /// The file that was in progress.
    pub(crate) within: Option<Within>,
    /// Places of files that were noted.
    pub(crate) places: u64,
    /// What befell single objects so far.
    pub(crate) troubles: Vec<Trouble>,
    /// Numbers of objects that are not on the tape as they should be.
    pub(crate) again: BTreeSet<u32>,
    /// Objects with attributes that stand behind the end.
    #[serde(default)]
    pub(crate) trailing: Vec<Trailing>,
    /// Where the stream stood.
    pub(crate) standing: Standing,
}

/// An object with attributes that are too long to stand with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trailing {
    /// Its number.
    pub(crate) number: u32,
    /// Its inode number on the host, and its type.
    pub(crate) inode: (u64, u16),
    /// Where it is.
    #[serde(with = "super::path")]
    pub(crate) path: std::path::PathBuf,
}

/// A file of which a part was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Within {
    /// How far, in bytes.
    pub(crate) offset_bytes: u64,
    /// The header of its next segment, before it is filled in, in hexadecimal.
    header: String,
}

impl Within {
    pub(crate) fn new(offset_bytes: u64, header: &Header) -> Self {
        Self {
            offset_bytes,
            header: data_encoding::HEXLOWER.encode(&header.encode()),
        }
    }

    /// The header; none where it is none.
    pub(crate) fn header(&self) -> Option<Header> {
        let bytes = data_encoding::HEXLOWER.decode(self.header.as_bytes()).ok()?;
        let block: TapeBlock = bytes.try_into().ok()?;
        Header::decode(&block).ok()
    }
}

impl Mark {
    /// The mark as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(0);
        bytes.extend_from_slice(&self.standing.record);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a mark.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err("its checksum is wrong");
        }
        let end = body.iter().position(|byte| *byte == 0).ok_or("it has no end")?;
        let mut mark: Self = serde_json::from_slice(&body[..end]).map_err(|_| "it is no mark")?;
        mark.standing.record = body[end + 1..].to_vec();
        Ok(mark)
    }
}

impl Keeper {
    /// Keeps the last mark, behind which an image begins, besides those that come.
    pub(in crate::dump) fn keep_before_image(&self) -> Result<()> {
        self.replace("image", &self.read("mark")?)
    }

    /// What [`Keeper::keep_before_image`] kept last.
    pub(in crate::dump) fn kept_before_image(&self) -> Result<Mark> {
        Mark::decode(&self.read("image")?).map_err(|reason| self.damaged("image", reason))
    }
}
