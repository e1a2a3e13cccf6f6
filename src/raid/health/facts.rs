//! What is known of an array, and how events change it.
//!
//! Facts add up where states exclude one another: an array that reshapes, misses a member and has another one out of
//! date is in one state, but leaves it by three events.

/// Work on an array that can be stopped half-way and gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Work {
    /// None, or done.
    #[default]
    None,
    /// Going on.
    Running,
    /// Interrupted.
    Stopped,
}

/// What the engine knows of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The members that are in sync suffice for all data.
    pub readable: bool,
    /// Slots without a member.
    pub missing: u16,
    /// Members that are there but have to be rebuilt.
    pub out_of_date: u16,
    /// They are being rebuilt.
    pub rebuilding: bool,
    /// Redundancy is known not to agree with data.
    pub inconsistent: bool,
    /// Redundancy is being compared with data.
    pub verifying: bool,
    /// Zeroing, or making parity for the first time.
    pub initialization: Work,
    /// Growing, or moving to another level.
    pub reshape: Work,
}

impl Default for Facts {
    /// Facts of an array that is well.
    fn default() -> Self {
        Self {
            readable: true,
            missing: 0,
            out_of_date: 0,
            rebuilding: false,
            inconsistent: false,
            verifying: false,
            initialization: Work::None,
            reshape: Work::None,
        }
    }
}

/// What can happen to an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A member that was in sync is gone.
    MemberLost {
        /// The others suffice.
        readable: bool,
    },
    /// A member that was out of date is gone.
    StaleMemberLost,
    /// A lost member is back and missed no write.
    MemberBack {
        /// All data can be read now.
        readable: bool,
    },
    /// A new disk, or an old member that missed writes, fills an empty slot.
    MemberAdded,
    /// Members that are out of date begin to be filled.
    RebuildStarted,
    /// It was interrupted.
    RebuildStopped,
    /// They are in sync.
    RebuildFinished,
    /// Comparing began.
    VerifyStarted,
    /// Comparing ended, or was stopped.
    VerifyEnded,
    /// Redundancy was seen not to agree with data.
    MismatchFound,
    /// Redundancy was made true again.
    MismatchRepaired,
    /// Initialising began, or goes on.
    InitializationStarted,
    /// It was interrupted.
    InitializationStopped,
    /// It is done.
    InitializationFinished,
    /// A reshape began, or goes on.
    ReshapeStarted,
    /// It was interrupted.
    ReshapeStopped,
    /// It is done.
    ReshapeFinished,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::MemberLost { readable: true },
        Self::MemberLost { readable: false },
        Self::StaleMemberLost,
        Self::MemberBack { readable: true },
        Self::MemberBack { readable: false },
        Self::MemberAdded,
        Self::RebuildStarted,
        Self::RebuildStopped,
        Self::RebuildFinished,
        Self::VerifyStarted,
        Self::VerifyEnded,
        Self::MismatchFound,
        Self::MismatchRepaired,
        Self::InitializationStarted,
        Self::InitializationStopped,
        Self::InitializationFinished,
        Self::ReshapeStarted,
        Self::ReshapeStopped,
        Self::ReshapeFinished,
    ];
}

impl Facts {
    /// True where every member is there and in sync.
    pub const fn is_complete(self) -> bool {
        self.readable && self.missing == 0 && self.out_of_date == 0
    }

    /// True where nothing is at work.
    const fn is_idle(self) -> bool {
        !self.verifying
            && !self.rebuilding
            && !matches!(self.initialization, Work::Running)
            && !matches!(self.reshape, Work::Running)
    }

    /// The facts after an event; none where it cannot happen now, and a request for it has to be refused.
    ///
    /// The loss of a member ends a verify and stops an initialisation; the loss of data stops everything. A rebuild
    /// waits for a reshape that runs, and nothing begins on an array that cannot be read.
    pub fn after(self, event: Event) -> Option<Self> {
        let (happens, next) = match event {
            Event::MemberLost { readable } => (readable <= self.readable, self.without_member(readable)),
            Event::StaleMemberLost => {
                let next = Self {
                    missing: self.missing.saturating_add(1),
                    out_of_date: self.out_of_date.saturating_sub(1),
                    rebuilding: self.rebuilding && self.out_of_date > 1,
                    ..self
                };
                (self.out_of_date > 0, next)
            }
            Event::MemberBack { readable } => {
                let next = Self {
                    missing: self.missing.saturating_sub(1),
                    readable,
                    ..self
                };
                (self.missing > 0 && readable >= self.readable, next)
            }
            Event::MemberAdded => {
                let next = Self {
                    missing: self.missing.saturating_sub(1),
                    out_of_date: self.out_of_date.saturating_add(1),
                    ..self
                };
                (self.missing > 0 && self.readable, next)
            }
            Event::MismatchFound => {
                let next = Self {
                    inconsistent: true,
                    ..self
                };
                (self.readable, next)
            }
            Event::MismatchRepaired => {
                let next = Self {
                    inconsistent: false,
                    ..self
                };
                (self.inconsistent && self.readable, next)
            }
            _ => return self.after_work(event),
        };
        happens.then_some(next)
    }

    fn without_member(self, readable: bool) -> Self {
        let stopped = |work| if work == Work::Running { Work::Stopped } else { work };
        Self {
            readable,
            missing: self.missing.saturating_add(1),
            rebuilding: self.rebuilding && readable,
            verifying: false,
            initialization: stopped(self.initialization),
            reshape: if readable { self.reshape } else { stopped(self.reshape) },
            ..self
        }
    }

    /// The facts after work began, stopped or ended.
    fn after_work(self, event: Event) -> Option<Self> {
        let mut next = self;
        let happens = match event {
            Event::RebuildStarted => {
                next.rebuilding = true;
                self.readable && self.out_of_date > 0 && self.is_idle()
            }
            Event::RebuildStopped => std::mem::take(&mut next.rebuilding),
            Event::RebuildFinished => {
                next.out_of_date = 0;
                std::mem::take(&mut next.rebuilding)
            }
            Event::VerifyStarted => {
                next.verifying = true;
                let at_rest = self.initialization == Work::None && self.reshape == Work::None;
                self.is_complete() && self.is_idle() && at_rest
            }
            Event::VerifyEnded => std::mem::take(&mut next.verifying),
            Event::InitializationStarted => {
                next.initialization = Work::Running;
                self.is_complete() && self.is_idle() && self.reshape == Work::None
            }
            Event::InitializationStopped => std::mem::replace(&mut next.initialization, Work::Stopped) == Work::Running,
            Event::InitializationFinished => std::mem::replace(&mut next.initialization, Work::None) == Work::Running,
            Event::ReshapeStarted => {
                next.reshape = Work::Running;
                let begins = self.is_complete() && self.initialization == Work::None && !self.inconsistent;
                self.readable && self.is_idle() && (begins || self.reshape == Work::Stopped)
            }
            Event::ReshapeStopped => std::mem::replace(&mut next.reshape, Work::Stopped) == Work::Running,
            Event::ReshapeFinished => std::mem::replace(&mut next.reshape, Work::None) == Work::Running,
            _ => false,
        };
        happens.then_some(next)
    }
}
