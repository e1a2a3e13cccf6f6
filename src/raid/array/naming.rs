//! The name that the superblocks of an array have, and another one.
//!
//! Names are for people: nothing is found or decided by them, so a crash that leaves two of them on the members does no
//! harm. The freshest superblock's counts and is written to the others with the next change.

use super::{Array, Failures};
use crate::raid::{
    error::Result,
    metadata::identity::{Name, Time},
    nested::leg_name,
    stopped::checked_name,
};

impl Array {
    /// Writes another name to all members, durably. [`Array::name`] tells it from the next assembly on.
    ///
    /// # Errors
    /// [`BadParameter`](crate::raid::Error::BadParameter) where it has not 1 to 32 bytes,
    /// [`ReadOnly`](crate::raid::Error::ReadOnly), [`NotWritten`](crate::raid::Error::NotWritten).
    pub fn rename(&self, name: &str, now: Time) -> Result<()> {
        let stored = checked_name(name)?;
        self.check_writable()?;
        for (number, leg) in self.legs().iter().enumerate() {
            leg.rename(&leg_name(name, number), now)?;
        }
        let failures = self.write_names(stored, now);
        self.settle(Ok(()), failures, 0, 1)
    }

    fn write_names(&self, name: Name, now: Time) -> Failures {
        let mut failures = Failures::default();
        let _inside = self.enter();
        let degraded = self.roster().is_degraded();
        let roster = self.roster();
        let mut control = self.control();
        control.now = now;
        control.set_name(name);
        for (member, error) in control.commit_always(roster.intent().lock().as_mut(), degraded) {
            failures.push(&member, error);
        }
        failures
    }
}
