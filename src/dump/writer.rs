//! Passes III to V: what was chosen goes on the tape, directories first, then everything else by its number.
//!
//! A dump is one call of [`dump`]: it walks, chooses, writes and remembers. With a [`Keeper`] it can be stopped in pass 4,
//! in whatever way, and [`resume`] goes on. Behind every object stand its extended attributes, so that stock `restore`
//! finds them; what does not fit there goes behind the end of the dump, where only we look.

mod data;
mod load;
mod objects;

use std::{collections::BTreeSet, path::PathBuf, sync::atomic::AtomicBool};

use serde::{Deserialize, Serialize};

use self::objects::{Writer, image::is_torn};
use super::{
    catalog::Catalog,
    context::{Keeper, plan::Plan},
    dumpdates::{Dumpdates, EPOCH, Remembered},
    error::{Error, Hindrance, Result, Trouble},
    images::Images,
    members,
    numbers::Numbers,
    record::{Header, Kind, Label, Private},
    selection::Selection,
    stream::Stream,
    tree::{Status, Tree},
    walker::{LeftOut, Since, Walk},
};
use crate::tape::{Container, Volumes};

/// Seconds by which a change may carry an earlier time than the clock showed.
const CLOCK_SLACK_S: i64 = 1;

/// How much of its file system a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All of it.
    #[default]
    Store,
    /// A directory in its root, such as a series.
    Group,
    /// Anything else.
    Subtree,
}

/// What a dump is asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Level, 0 to 31.
    pub level: u8,
    /// The time now, in seconds since 1970.
    pub now_s: i64,
    /// Blocking factor, 4 to 256.
    pub factor: u32,
    /// Name of the dump, at most 15 bytes.
    pub label: String,
    /// Name of the host.
    pub host: String,
    /// What is flagged `nodump` is left out from this level on.
    pub honour_nodump_from: u8,
    /// Identity of the dump, which is like no other.
    pub identity: [u8; 16],
    /// The tree's absolute path, by which dumps are remembered.
    pub path: String,
    /// True where the dump is remembered and may be a base.
    pub update: bool,
    /// How much of its file system the tree is.
    #[serde(default)]
    pub scope: Scope,
    /// True where it is noted what is on the tape and where, which a dump that goes on needs too.
    pub history: bool,
    /// What is left out.
    #[serde(default)]
    pub selection: Selection,
}

/// Where a dump is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A pass begins, 1 to 5, with what it does.
    Pass(u8, &'static str),
    /// The dump builds on one of this level and date.
    Base(u8, i64),
    /// Tape blocks that the dump will take, about.
    Estimate(u64),
    /// The volume of this name is written from now on.
    Volume(PathBuf),
    /// Tape blocks written so far.
    Written(u64),
    /// An object is told of.
    Trouble(Trouble),
}

/// What goes on around a dump while it runs.
pub struct Watch<'a> {
    /// Is told where the dump is.
    pub notice: &'a mut dyn FnMut(&Notice),
    /// Set by whoever wants the dump to stop.
    pub stop: &'a AtomicBool,
}

/// What became of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Date on the tape, in seconds since 1970.
    pub date_s: i64,
    /// Date of the base; none at level 0.
    pub base_s: Option<i64>,
    /// Objects on the tape.
    pub objects: u64,
    /// Tape blocks written.
    pub blocks: u64,
    /// Volumes written.
    pub volumes: u32,
    /// True where the catalogue stands behind the dump on its tape.
    pub indexed: bool,
    /// What befell single objects.
    pub troubles: Vec<Trouble>,
}

/// Dumps a tree, of which nothing is kept if it fails.
///
/// # Errors
/// [`Error::NoBase`], [`Error::BadParameter`], [`Error::Tree`] where its root cannot be read, [`Error::Tape`],
/// [`Error::State`]. Single objects that cannot be read are in the summary.
pub fn dump(
    tree: &Tree,
    order: &Order,
    volumes: Volumes,
    dates: &mut Dumpdates,
    notice: &mut dyn FnMut(&Notice),
) -> Result<Summary> {
    let stop = &AtomicBool::new(false);
    dump_kept(tree, order, volumes, dates, None, &mut Watch { notice, stop })
}

/// Dumps a tree with a context, which stays with the caller.
///
/// # Errors
/// As [`dump`]; [`Error::Interrupted`].
pub fn dump_kept(
    tree: &Tree,
    order: &Order,
    volumes: Volumes,
    dates: &mut Dumpdates,
    mut keeper: Option<&mut Keeper>,
    watch: &mut Watch<'_>,
) -> Result<Summary> {
    check(order)?;
    let base = base_of(tree, order, dates)?;
    let mut numbers = match &base {
        None => Numbers::new(tree.status().identity),
        Some(base) => dates.numbers(base)?,
    };
    let chain_next = numbers.next();
    if let Some(base) = &base {
        (watch.notice)(&Notice::Base(base.level, base.date_s));
    }
    // Chains are told apart by their dates, so no two of a tree are alike.
    let after = dates.latest_s(&order.path).map_or(i64::MIN, |latest| latest + 1);
    let date_s = order.now_s.max(after);
    numbers.set_root(tree.status().identity);
    // Of a whole tree nothing is left out on the way, so its directories are known as it is walked.
    let first = match order.scope {
        Scope::Subtree => "walking the tree to find files",
        Scope::Store | Scope::Group => "walking the tree, combined with pass 2",
    };
    (watch.notice)(&Notice::Pass(1, first));
    let leave_out = LeftOut {
        flagged: order.level >= order.honour_nodump_from,
        selection: &order.selection,
        images: tree.images(),
    };
    let mut walk = Walk::over(tree, &mut numbers, leave_out, watch.stop)?;
    tree.images()
        .join(&mut walk, &order.selection, order.now_s, &mut numbers)?;
    (watch.notice)(&Notice::Pass(2, "choosing directories"));
    let since = base.as_ref().map(|base| Since {
        seconds: base.since_s,
        inode_changes: !order.selection.ignore_inode_changes,
        number: base.next_number,
        again: base.again.clone(),
    });
    walk.choose(since.as_ref());
    let (_held, left) = leave_out_of(tree, &mut walk);
    let estimate = walk.tape_blocks();
    (watch.notice)(&Notice::Estimate(estimate));
    if let Some(keeper) = &mut keeper {
        keeper.change(|context| {
            (context.date_s, context.chain_next, context.estimate) = (date_s, chain_next, estimate);
            context.base = base.clone();
            context.pass = 3;
        })?;
    }
    let stream = Stream::begin(volumes, label_of(order, date_s, base.as_ref()), order.history)?;
    let troubles = std::mem::take(&mut walk.troubles);
    let (folders, files) = walk.in_order();
    let mut writer = Writer::new(tree, Plan { walk, files }, stream, keeper, watch, order);
    troubles.into_iter().for_each(|trouble| writer.tell(trouble));
    left.into_iter().for_each(|object| writer.leave(object));
    writer.write_maps(&numbers)?;
    writer.write_folders(&folders)?;
    writer.begin_files(&numbers)?;
    finish(writer, order, date_s, base.as_ref(), &numbers, dates)
}

/// Leaves images to the next dump that cannot be had now, and keeps others from writing to those that can.
fn leave_out_of(tree: &Tree, walk: &mut Walk) -> (members::Held, Vec<usize>) {
    let mut left = tree.images().refuse(walk);
    let (held, busy) = members::hold(tree, walk);
    for image in busy {
        walk.objects[image.object].chosen = false;
        walk.lose(image.path, members::told(&image.why));
        left.push(image.object);
    }
    (held, left)
}

/// The dump that an order builds on.
fn base_of(tree: &Tree, order: &Order, dates: &Dumpdates) -> Result<Option<Remembered>> {
    if order.level == 0 {
        return Ok(None);
    }
    let path = || tree.path().to_path_buf();
    let base = dates.base(&order.path, order.level).ok_or_else(|| Error::NoBase {
        path: path(),
        level: order.level,
    })?;
    let refuse = |reason| Err(Error::BaselineRequired { path: path(), reason });
    if base.epoch > EPOCH {
        return refuse("its last dump was made by a later release");
    }
    match (base.read_only, tree.is_read_only()) {
        (true, false) => refuse("it was read-only when its last dump was made, and is writable now"),
        (false, true) => refuse("it was writable when its last dump was made, and is read-only now"),
        _ => Ok(Some(base.clone())),
    }
}

/// Goes on with a dump that stopped in pass 4; `snapshot_there` says whether what it reads is still there.
///
/// # Errors
/// [`Error::NotRestartable`], and as [`dump_kept`].
pub fn resume(
    keeper: &mut Keeper,
    snapshot_there: bool,
    dates: &mut Dumpdates,
    watch: &mut Watch<'_>,
) -> Result<Summary> {
    resume_with(keeper, snapshot_there, Images::default(), dates, watch)
}

/// Goes on with a dump as [`resume`] does, of a tree of which images stand for some files.
///
/// # Errors
/// As [`resume`].
pub fn resume_with(
    keeper: &mut Keeper,
    snapshot_there: bool,
    images: Images,
    dates: &mut Dumpdates,
    watch: &mut Watch<'_>,
) -> Result<Summary> {
    let context = keeper.context().clone();
    let refuse = |hindrance| Error::NotRestartable {
        id: context.id(),
        hindrance,
    };
    if let Some(hindrance) = context.hindrance(snapshot_there) {
        return Err(refuse(hindrance));
    }
    if let Some(base) = &context.base
        && dates.numbers(base)?.next() != context.chain_next
    {
        return Err(refuse(Hindrance::Chain));
    }
    let tree = Tree::open(&context.tree)?.with_images(images);
    let (plan, numbers, mut mark) = keeper.kept()?;
    if is_torn(&tree, &plan, &mark) {
        mark = keeper.kept_before_image()?;
    }
    let header = label_of(&context.order, context.date_s, context.base.as_ref());
    let (_held, busy) = members::hold(&tree, &plan.walk);
    if let Some(image) = busy.first() {
        let what = tree.path().join(&image.path).display().to_string();
        return Err(Error::Busy { what });
    }
    let notes = keeper.kept_notes(&mark)?;
    let stream = Stream::resume(context.reels.volumes()?, header, &mark.standing, Some(notes))?;
    (watch.notice)(&Notice::Estimate(context.estimate));
    (watch.notice)(&Notice::Pass(4, "writing files where it stopped"));
    let mut writer = Writer::new(&tree, plan, stream, Some(keeper), watch, &context.order);
    writer.stand_at(mark)?;
    finish(
        writer,
        &context.order,
        context.date_s,
        context.base.as_ref(),
        &numbers,
        dates,
    )
}

/// Pass 4, and what comes behind it.
fn finish(
    mut writer: Writer<'_, '_>,
    order: &Order,
    date_s: i64,
    base: Option<&Remembered>,
    numbers: &Numbers,
    dates: &mut Dumpdates,
) -> Result<Summary> {
    writer.write_files()?;
    writer.write_trailing()?;
    let read_only = writer.tree().is_read_only();
    let (stream, mut troubles, again) = writer.into_parts();
    let (container, tape) = (stream.volumes().container, stream.tape());
    let partial = troubles.iter().filter(|trouble| trouble.loss);
    let partial = partial.map(|trouble| trouble.path.to_string_lossy().into_owned());
    let written = stream.finish(partial.collect())?;
    if container == Container::Tap && written.noted.is_some() && !written.indexed {
        troubles.push(Trouble {
            path: tape,
            what: "has no room for the catalogue; 'headstack tape catalogue' makes it again where it is lost".into(),
            loss: false,
        });
    }
    if let Some(noted) = &written.noted {
        Catalog::new(dates.directory()).add_written(noted)?;
    }
    let done = Remembered {
        read_only,
        again,
        ..remembered(order, date_s, base, numbers)
    };
    remember(order, done, numbers, dates)?;
    Ok(Summary {
        date_s,
        base_s: base.map(|base| base.date_s),
        objects: written.objects,
        blocks: written.blocks,
        volumes: written.volumes,
        indexed: written.indexed,
        troubles,
    })
}

/// What every volume says of a dump.
fn label_of(order: &Order, date_s: i64, base: Option<&Remembered>) -> Header {
    let mut header = Header::new(Kind::Tape);
    header.date_s = date_s;
    header.base_date_s = base.map_or(0, |base| base.date_s);
    header.factor = order.factor;
    header.label = Label {
        label: order.label.clone().into(),
        level: order.level.into(),
        filesystem: order.path.clone().into(),
        device: b"headstack".to_vec(),
        host: order.host.clone().into(),
    };
    header.private = Some(private_of(None, order.identity));
    header
}

/// Remembers a dump that is done.
fn remember(order: &Order, done: Remembered, numbers: &Numbers, dates: &mut Dumpdates) -> Result<()> {
    // A later one may have been made and remembered while this one was stopped.
    let newer = |dump: &Remembered| dump.path == done.path && dump.level == done.level && dump.date_s > done.date_s;
    if !order.update || dates.all().iter().any(newer) {
        return Ok(());
    }
    dates.remember(done, numbers)
}

/// What is remembered of a dump of which nothing is lost.
fn remembered(order: &Order, date_s: i64, base: Option<&Remembered>, numbers: &Numbers) -> Remembered {
    let name = data_encoding::HEXLOWER.encode(&order.identity);
    Remembered {
        path: order.path.clone(),
        level: order.level,
        date_s,
        base_s: base.map_or(0, |base| base.date_s),
        since_s: order.now_s - CLOCK_SLACK_S,
        next_number: numbers.next(),
        chain: base.map_or_else(|| name.clone(), |base| base.chain.clone()),
        dump: name,
        epoch: EPOCH,
        read_only: false,
        again: BTreeSet::new(),
    }
}

/// Checks the ranges of an order.
///
/// # Errors
/// [`Error::BadParameter`].
pub fn check(order: &Order) -> Result<()> {
    let refuse = |parameter, value: u32, reason| {
        Err(Error::BadParameter {
            parameter,
            value: value.to_string(),
            reason,
        })
    };
    if order.level > 31 {
        return refuse("level", order.level.into(), "levels are 0 to 31");
    }
    if !(4..=256).contains(&order.factor) {
        return refuse("blocking factor", order.factor, "it is 4 to 256");
    }
    Ok(())
}

/// Our own facts of a header, without its checksum.
fn private_of(status: Option<&Status>, dump: [u8; 16]) -> Private {
    let time = |pick: fn(&Status) -> i64| status.map_or(0, pick);
    Private {
        checksum: 0,
        modified_ns: time(|status| status.node.modified.ns()),
        accessed_ns: time(|status| status.node.accessed.ns()),
        changed_ns: time(|status| status.node.changed.ns()),
        born_ns: status.map(|status| status.identity.born_ns).filter(|ns| *ns != 0),
        file_id: status.map_or(0, |status| status.identity.inode),
        device: status.map_or(0, |status| status.device),
        dump,
        offset_bytes: 0,
        image: None,
    }
}
