//! Who holds which snapshot, as attributes of `.snapshot`: `user.headstack.hold.NAME`, one tag a line.
//!
//! Programs that work through the mount, such as a dump, hold the snapshot that they read so; `headstack snapshot hold`
//! does the same where nothing is mounted. A snapshot that is held cannot be removed.

use std::collections::BTreeSet;

use super::Filesystem;
use crate::mount::errno::{Refusal, Result};

/// What the attributes begin with, behind our prefix.
const HOLD: &str = "hold.";

/// The snapshot that an attribute of `.snapshot` is about.
fn snapshot_of(own: &str) -> Result<&str> {
    own.strip_prefix(HOLD)
        .ok_or_else(|| Refusal::AttributeFixed { name: own.to_owned() })
}

impl Filesystem {
    /// Tags of the snapshot that an attribute is about; none where it has none, or there is no such snapshot.
    pub(super) fn tags(&self, own: &str) -> Result<Option<String>> {
        let Some(name) = own.strip_prefix(HOLD) else {
            return Ok(None);
        };
        let found = self.database.snapshots()?.into_iter().find(|info| info.name == name);
        let tags: Vec<String> = found.map(|info| info.tags.into_iter().collect()).unwrap_or_default();
        Ok((!tags.is_empty()).then(|| tags.join("\n")))
    }

    /// Lets exactly these tags, one a line, hold a snapshot.
    pub(super) fn set_tags(&self, own: &str, value: &str) -> Result<()> {
        let name = snapshot_of(own)?;
        let held = self.tags(own)?.unwrap_or_default();
        let lines = |text: &str| -> BTreeSet<String> {
            text.lines()
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let (held, wanted) = (lines(&held), lines(value));
        for tag in wanted.difference(&held) {
            self.database.hold_snapshot(name, tag)?;
        }
        for tag in held.difference(&wanted) {
            self.database.release_snapshot(name, tag)?;
        }
        Ok(())
    }
}
