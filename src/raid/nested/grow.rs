//! A RAID 50 grows: each of its legs does, as any RAID 5, and then the RAID 0 over them takes in what they have more.
//!
//! Until all legs are larger the outer superblocks say what they said before, so that its zones, and with them all places,
//! stay: legs that differ for a while are only legs with room to spare. What the outer superblocks say is raised in one
//! commit; a leg that a crash keeps from being told is one event behind, and the next assembly knows what it missed. Then,
//! as where the crash came before, the work goes on by itself.

use std::sync::{Arc, atomic::Ordering};

use crate::raid::{
    Level, SECTOR_BYTES, Sector, Slot,
    add::look,
    array::{Array, Control, Failures, Reshaping, Roster},
    create::NewImage,
    error::{Error, Result},
    geometry::Geometry,
    grow::rooms,
    rebuild::{Ending, Pace, Progress},
    reshape::Plan,
};
use crate::storage::Access;

impl Array {
    /// Lets images join the legs, as many each, or more where a crash left a leg behind; images that have joined already
    /// are passed over. No leg begins before all of them can.
    pub(in crate::raid) fn begin_reshape_of_legs(&self, plan: &Plan) -> Result<()> {
        if plan.level.is_some() || plan.layout.is_some() || plan.chunk_bytes.is_some() {
            let reason = "a raid50 keeps its level and chunk; make another array and copy";
            return refuse("reshape", self.kind_name(), reason);
        }
        let Some(_turn) = self.try_reshaping() else {
            return Err(self.wrong_state("a reshape is under way already"));
        };
        self.check_extends()?;
        let plans: Vec<Plan> = self
            .shares(&plan.images)?
            .into_iter()
            .map(|images| Plan { images, ..plan.clone() })
            .collect();
        let growing = || {
            self.legs()
                .iter()
                .zip(&plans)
                .filter(|(_, plan)| !plan.images.is_empty())
        };
        // Claims last until all have been looked at, so that no image is taken twice.
        let looked: Vec<_> = growing().map(|(leg, plan)| leg.rehearse(plan)).collect::<Result<_>>()?;
        drop(looked);
        self.reshape_runs().store(true, Ordering::Release);
        let begun = growing().try_for_each(|(leg, plan)| leg.begin_reshape(plan));
        self.reshape_runs().store(false, Ordering::Release);
        begun
    }

    /// Moves the legs on, one after the other, and takes in what they have more.
    pub(in crate::raid) fn reshape_legs(&self, pace: Pace<'_>) -> Result<Ending> {
        self.check_writable()?;
        let Some(_turn) = self.try_reshaping() else {
            return Err(self.wrong_state("a reshape is under way already"));
        };
        self.reshape_runs().store(true, Ordering::Release);
        let ended = self.move_legs(pace).and_then(|ending| match ending {
            Ending::Complete => self.extend().map(|()| ending),
            Ending::Stopped => Ok(ending),
        });
        self.reshape_runs().store(false, Ordering::Release);
        ended
    }

    fn move_legs(&self, pace: Pace<'_>) -> Result<Ending> {
        let stages: Vec<Reshaping> = self.legs().iter().map(|leg| stage_of(leg)).collect();
        let whole_bytes = stages.iter().map(|stage| stage.whole_bytes).sum();
        let mut before: u64 = 0;
        for (leg, stage) in self.legs().iter().zip(&stages) {
            let mut pace = |progress: Progress| {
                pace(Progress {
                    done_bytes: before + progress.done_bytes,
                    whole_bytes,
                })
            };
            if leg.reshape(&mut pace)? == Ending::Stopped {
                return Ok(Ending::Stopped);
            }
            before += stage.whole_bytes;
        }
        Ok(Ending::Complete)
    }

    /// Uses every disk up to `wanted` bytes, or as far as those of its leg reach. Returns the size of the whole.
    pub(in crate::raid) fn grow_legs(&self, wanted: Option<u64>) -> Result<u64> {
        self.check_writable()?;
        let Some(_turn) = self.try_reshaping() else {
            return Err(self.wrong_state("a reshape is under way already"));
        };
        self.check_extends()?;
        self.legs().iter().try_for_each(|leg| leg.check_size(wanted))?;
        for leg in self.legs() {
            leg.grow_members(wanted)?;
        }
        self.extend()?;
        Ok(self.size_bytes())
    }

    /// Where the whole is going to, while its legs are reshaped or it has not taken in yet what they have more.
    pub(in crate::raid) fn reshape_of_legs(&self, roster: &Roster, control: &Control) -> Option<Reshaping> {
        let moving = self.legs().iter().any(|leg| leg.roster().moving().is_some());
        if self.legs().is_empty() || !moving && due_bytes(roster, control).is_none() {
            return None;
        }
        let stages: Vec<Reshaping> = self.legs().iter().map(|leg| stage_of(leg)).collect();
        let start = roster.members().map(|(_, member)| member.data_offset_bytes()).max();
        Reshaping {
            running: self.reshape_runs().load(Ordering::Acquire),
            ..Reshaping::of_legs(&stages, start.unwrap_or(0), roster.geometry().chunk_bytes())?
        }
        .into()
    }

    /// Refuses legs that cannot be used up to a larger size.
    fn check_extends(&self) -> Result<()> {
        if used_of_each(self.roster().geometry()).is_none() {
            let reason = "its legs are used up to different sizes; make a new array and copy";
            return refuse("reshape", self.kind_name(), reason);
        }
        rooms(&self.control()).map(drop)
    }

    /// The images that each leg gets: those that it knows, and of the others so many that all legs have as many disks.
    fn shares(&self, images: &[NewImage]) -> Result<Vec<Vec<NewImage>>> {
        let mut shares: Vec<Vec<NewImage>> = vec![Vec::new(); self.legs().len()];
        let mut free = Vec::new();
        for new in images {
            let path = new.image.path();
            let seated = self.status().members;
            if seated.iter().any(|seat| seat.path.as_ref() == Some(&path)) {
                continue;
            }
            let found = look(&path, &*new.image.open(Access::Read)?)?.0;
            let knows = |leg: &Arc<Array>| {
                found
                    .as_ref()
                    .is_some_and(|found| found.superblock.array_uuid == leg.uuid())
            };
            match self.legs().iter().position(knows) {
                Some(leg) => shares[leg].push(new.clone()),
                None => free.push(new.clone()),
            }
        }
        let widths: Vec<usize> = self
            .legs()
            .iter()
            .map(|leg| usize::from(leg.roster().slots()))
            .collect();
        let given = shares.iter().map(Vec::len).sum::<usize>() + free.len();
        let all = widths.iter().sum::<usize>() + given;
        let width = all / widths.len();
        for (own, share) in widths.iter().zip(&mut shares) {
            let count = width
                .checked_sub(own + share.len())
                .filter(|count| *count <= free.len());
            match count {
                Some(count) if all.is_multiple_of(widths.len()) => share.extend(free.drain(..count)),
                _ => {
                    let reason = format!("its legs, of {widths:?} disks, have to get as many disks each");
                    return refuse("images", given, reason);
                }
            }
        }
        if given == 0 && self.status().reshape.is_none() {
            return refuse("images", images.len(), "they are members of it already");
        }
        Ok(shares)
    }

    /// Takes in what the legs have more, where all of them have.
    fn extend(&self) -> Result<()> {
        let mut failures = Failures::default();
        {
            let _gate = self.exclude();
            let before = self.roster();
            let mut control = self.control();
            let Some(bytes) = due_bytes(&before, &control) else {
                return Ok(());
            };
            let old = before.geometry();
            let sizes = vec![bytes; usize::from(old.slots())];
            let new = Geometry::new(old.level(), old.layout(), old.chunk_bytes(), &sizes);
            let new = new.or_else(|error| refuse("size", bytes, error))?;
            let mut changed = control.clone();
            for device in &mut changed.devices {
                device.superblock.data_size = Sector(bytes / SECTOR_BYTES);
                device.member = Arc::new(device.member.moved(device.member.data_offset_bytes(), bytes));
            }
            let seats = before.seats().iter().map(|seat| {
                let mut devices = changed.devices.iter();
                let device = devices.find(|device| seat.as_ref().is_some_and(|member| device.member.is(member)))?;
                Some(Arc::clone(&device.member))
            });
            let next = before.shaped(new, seats.collect());
            changed.set_writes(true);
            self.say(&mut changed, &next, &mut failures)?;
            changed.set_writes(false);
            if failures.is_empty() {
                let size = next.geometry().capacity_bytes();
                *control = changed;
                self.replace_roster(next);
                self.set_size(size);
                return Ok(());
            }
        }
        Err(self.not_written(0, failures.into_error()))
    }
}

fn refuse<T>(parameter: &'static str, value: impl ToString, reason: impl ToString) -> Result<T> {
    Err(Error::BadParameter {
        parameter,
        value: value.to_string(),
        reason: reason.to_string(),
    })
}

/// Where a leg is going to, or that it is there.
fn stage_of(leg: &Array) -> Reshaping {
    leg.status()
        .reshape
        .unwrap_or_else(|| Reshaping::done(Level::Raid5, leg.geometry().slots(), leg.size_bytes()))
}

/// Bytes that are used of each leg; none where they differ.
fn used_of_each(geometry: &Geometry) -> Option<u64> {
    let used = geometry.used_bytes(Slot(0));
    let alike = (1..geometry.slots()).all(|slot| geometry.used_bytes(Slot(slot)) == used);
    alike.then_some(used)
}

/// Bytes to use of each leg, where not all superblocks say so yet.
fn due_bytes(roster: &Roster, control: &Control) -> Option<u64> {
    let geometry = roster.geometry();
    let used = used_of_each(geometry)?;
    // None where a superblock stands behind the data, for those end there.
    let room = rooms(control).ok()?.into_iter().min()?;
    let room = room - room % geometry.chunk_bytes().max(1);
    let mut devices = control.devices.iter();
    let untold = devices.any(|device| device.superblock.events != control.events);
    (room > used || untold).then_some(room.max(used))
}
