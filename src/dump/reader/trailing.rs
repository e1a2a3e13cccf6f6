//! What stands behind the end of a dump: attributes that are too long to stand with their objects.
//!
//! Other programs stop at the end and never see them. Ends before them say that they follow, ends behind them how many they
//! were, so that it shows where some are lost.

use super::{Item, Reader};
use crate::dump::record::{EXTENSION_TRAILING, Header, TRAILING_FOLLOW};

impl Reader {
    /// True where nothing more of the dump stands behind an end.
    pub(super) fn is_last(&mut self, end: &Header) -> bool {
        let told = end.private.as_ref().map_or(0, |private| private.offset_bytes);
        if told == TRAILING_FOLLOW {
            self.trailing.get_or_insert(0);
            return false;
        }
        if let Some(seen) = self.trailing
            && seen != told
        {
            self.lose(format!("{seen} of {told} long attributes stand behind the end"));
        }
        true
    }

    /// Attributes as they stand with an object, or behind the end.
    pub(super) fn attributes(&mut self, header: Header, block: Vec<u8>) -> Item {
        if header.extension == EXTENSION_TRAILING && header.private.is_some() {
            *self.trailing.get_or_insert(0) += 1;
            return Item::Trailing(Box::new(header), block);
        }
        Item::Attributes(Box::new(header), block)
    }
}
