//! The feature map of a superblock: what a reader has to understand before it may use the array.
//!
//! A bit that is not named here is another format's, and the superblock is refused.
//! Source: `linux/raid/md_p.h`.

/// Features of md: what a reader has to understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Features(pub u32);

impl Features {
    /// There is a write-intent bitmap.
    pub const BITMAP: Self = Self(1);
    /// The member is being rebuilt up to its recovery offset.
    pub const RECOVERY: Self = Self(2);
    /// A reshape is under way.
    pub const RESHAPE: Self = Self(4);
    /// The bad-block log is not empty.
    pub const BAD_BLOCKS: Self = Self(8);
    /// The member is to replace the active one of the same slot.
    pub const REPLACEMENT: Self = Self(16);
    /// A reshape that keeps the number of slots runs from the end to the start.
    pub const RESHAPE_BACKWARDS: Self = Self(32);
    /// The data moves by the new offset of a reshape.
    pub const NEW_OFFSET: Self = Self(64);
    /// The rebuild goes by the bitmap.
    pub const RECOVERY_BITMAP: Self = Self(128);
    /// The array is shared by a cluster.
    pub const CLUSTERED: Self = Self(256);
    /// The array has a journal device.
    pub const JOURNAL: Self = Self(512);
    /// There is a partial parity log.
    pub const PPL: Self = Self(1024);
    /// There is a ring of partial parity logs.
    pub const MULTIPLE_PPLS: Self = Self(2048);
    /// The layout of a RAID 0 is meaningful.
    pub const RAID0_LAYOUT: Self = Self(4096);
    /// All that are known.
    pub const ALL: Self = Self(0x1fff);

    /// True where every feature of `other` is set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the features of `other`, or without them.
    #[must_use]
    pub fn with(self, other: Self, on: bool) -> Self {
        Self(if on { self.0 | other.0 } else { self.0 & !other.0 })
    }
}
