//! Making durable: one flush of the array is one of each member.
//!
//! A member that cannot flush has lost what it took since the last one, which is as if it had failed those writes: it is
//! expelled. Where the array cannot do without it no flush ever succeeds again, because nobody can say what is lost.

use std::sync::atomic::Ordering;

use super::{Array, Failures};
use crate::raid::error::Result;

impl Array {
    /// Makes all writes that were answered before this call durable, from whichever connection they came.
    ///
    /// # Errors
    /// [`FlushLost`](crate::raid::Error::FlushLost), from then on for ever.
    pub fn flush(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        let failures = self.flush_members()?;
        if failures.is_empty() || self.expel(&failures) {
            return Ok(());
        }
        self.lost.store(true, Ordering::Release);
        self.look_for_members();
        Err(self.flush_lost(Some(failures.into_error())))
    }

    /// Lets no write or flush succeed any more.
    pub(in crate::raid) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Flushes each member once; the caller may keep writes out.
    pub(in crate::raid) fn flush_members(&self) -> Result<Failures> {
        if self.lost.load(Ordering::Acquire) || self.is_disabled() {
            return Err(self.flush_lost(None));
        }
        let mut failures = Failures::default();
        for (_, member) in self.roster().members() {
            failures.note(member, member.flush());
        }
        Ok(failures)
    }
}
