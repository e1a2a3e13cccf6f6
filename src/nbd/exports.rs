//! What is served: exports by name, and the contexts that each can be asked about.
//!
//! An export is an array under a name. Exports can be added and taken away while the server runs; a client keeps the
//! export that it chose until it leaves.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    connection::pool::Pool,
    frozen::Freezer,
    protocol::{STRING_MAX_BYTES, transmission::Dialect, transmission_flag as flag},
};
use crate::raid::Array;

/// What a client can ask about a range with `BLOCK_STATUS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// `base:allocation`: holes and zeros.
    Allocation,
    /// `headstack:health`: flag 1 where redundancy is lost, 2 where data are.
    Health,
    /// `headstack:stripe`: one extent a chunk; the flags are the slot of the member that holds its first copy.
    Stripe,
}

impl Context {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Allocation, Self::Health, Self::Stripe];

    /// The name that clients choose it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allocation => "base:allocation",
            Self::Health => "headstack:health",
            Self::Stripe => "headstack:stripe",
        }
    }

    /// The number that replies have for it.
    #[must_use]
    pub fn id(self) -> u32 {
        match self {
            Self::Allocation => 1,
            Self::Health => 2,
            Self::Stripe => 3,
        }
    }
}

/// One array under a name.
pub struct Export {
    name: String,
    description: String,
    array: Arc<Array>,
    read_only: bool,
    minimum_block_bytes: u32,
    write_through: bool,
    freezer: Freezer,
    pub(super) pool: Pool,
}

impl Export {
    /// Serves `array` as `name`.
    ///
    /// # Errors
    /// [`BadName`] where the protocol has no room for it.
    pub fn new(name: &str, array: Arc<Array>) -> Result<Self, BadName> {
        let bad = |reason| BadName {
            name: name.to_owned(),
            reason,
        };
        if name.len() > STRING_MAX_BYTES {
            return Err(bad("a name has at most 4096 bytes"));
        }
        if name.contains('\0') {
            return Err(bad("a name has no zero byte"));
        }
        Ok(Self {
            name: name.to_owned(),
            description: String::new(),
            array,
            read_only: false,
            minimum_block_bytes: 1,
            write_through: false,
            freezer: Freezer::default(),
            pool: Pool::default(),
        })
    }

    /// Adds a text for humans, cut to what the protocol has room for.
    #[must_use]
    pub fn with_description(mut self, description: &str) -> Self {
        let text = description.replace('\0', " ");
        let end = text.floor_char_boundary(STRING_MAX_BYTES);
        text[..end].clone_into(&mut self.description);
        self
    }

    /// Refuses writes, even where the array takes them.
    #[must_use]
    pub fn with_read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Takes only requests whose offset and length are multiples of 512, for members that are opened past the cache.
    #[must_use]
    pub fn with_whole_sectors(mut self) -> Self {
        self.minimum_block_bytes = 512;
        self
    }

    /// Makes every write durable before it is answered, whether its client asks for that or not.
    #[must_use]
    pub fn with_write_through(mut self, write_through: bool) -> Self {
        self.write_through = write_through;
        self
    }

    /// What lets a moment of the array be read while its clients write.
    #[must_use]
    pub fn freezer(&self) -> &Freezer {
        &self.freezer
    }

    /// True where every write is made durable before it is answered.
    #[must_use]
    pub fn is_write_through(&self) -> bool {
        self.write_through
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text for humans; may be empty.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The array.
    #[must_use]
    pub fn array(&self) -> &Arc<Array> {
        &self.array
    }

    /// True where writes are refused.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only || self.array.is_read_only()
    }

    /// Size that clients see, in bytes: whole smallest requests only.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let size = self.array.size_bytes();
        size - size % u64::from(self.minimum_block_bytes)
    }

    /// Smallest request, 1 or 512 bytes.
    #[must_use]
    pub fn minimum_block_bytes(&self) -> u32 {
        self.minimum_block_bytes
    }

    /// Size of requests that are served best, in bytes: a power of two between 512 and `maximum`.
    #[must_use]
    pub fn preferred_block_bytes(&self, maximum: u32) -> u32 {
        let wanted = self.array.preferred_block_bytes().clamp(512, maximum.max(512));
        1 << wanted.ilog2()
    }

    /// Transmission flags for clients of a dialect; `contexts` says whether any context was chosen.
    #[must_use]
    pub fn flags(&self, dialect: Dialect, contexts: bool) -> u16 {
        let mut flags =
            flag::HAS_FLAGS | flag::SEND_FLUSH | flag::CAN_MULTI_CONN | flag::SEND_CACHE | flag::SEND_RESIZE;
        flags |= if self.is_read_only() {
            flag::READ_ONLY
        } else {
            flag::SEND_FUA | flag::SEND_TRIM | flag::SEND_WRITE_ZEROES | flag::SEND_FAST_ZERO
        };
        if dialect != Dialect::Simple {
            flags |= flag::SEND_DF;
        }
        if dialect == Dialect::Extended && contexts {
            flags |= flag::BLOCK_STATUS_PAYLOAD;
        }
        flags
    }
}

/// A name that an export cannot have.
#[derive(Debug, thiserror::Error)]
#[error("{name:?} cannot name an export: {reason}")]
pub struct BadName {
    /// The name.
    pub name: String,
    /// Why not.
    pub reason: &'static str,
}

/// All exports of a server.
#[derive(Default)]
pub struct Exports {
    by_name: RwLock<BTreeMap<String, Arc<Export>>>,
    default: RwLock<Option<String>>,
}

impl Exports {
    /// Adds an export, or replaces the one of its name; clients of that one keep it.
    pub fn add(&self, export: Export) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.insert(export.name.clone(), Arc::new(export));
    }

    /// Takes an export away from new clients; true where there was one.
    pub fn remove(&self, name: &str) -> bool {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.remove(name).is_some()
    }

    /// Says which export is meant where a client gives no name. Without this, the only one is.
    pub fn set_default(&self, name: Option<&str>) {
        *self.default.write().unwrap_or_else(PoisonError::into_inner) = name.map(str::to_owned);
    }

    /// The export of a name; for the empty name the default one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Export>> {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(export) = by_name.get(name) {
            return Some(Arc::clone(export));
        }
        if !name.is_empty() {
            return None;
        }
        let default = self.default.read().unwrap_or_else(PoisonError::into_inner);
        let found = match default.as_deref() {
            Some(name) => by_name.get(name),
            None if by_name.len() == 1 => by_name.values().next(),
            None => None,
        };
        found.map(Arc::clone)
    }

    /// All of them, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Export>> {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        by_name.values().map(Arc::clone).collect()
    }
}
