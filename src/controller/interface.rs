//! What is asked of a process that serves arrays, and what it answers: the whole of it, so that a page needs no more than a
//! verb has.
//!
//! Both sides are JSON, one document a line. A request says the version of the interface that it was made for; a server of
//! another version refuses it by name. Where the asker is in the process itself, requests and answers are these values.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    create::Creation,
    error::{Result, Told},
    log::Query,
    notify::NotifyAsk,
    order::Order,
    schedule::{ScheduleAsk, task::Restore},
};
use crate::raid::rebuild::Progress;

/// Version of the interface; another one is not understood.
pub const VERSION: u32 = 1;

/// A request with its version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Version of the interface.
    pub version: u32,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Something of one array.
    Array {
        /// Its name or UUID; none for the only one.
        name: Option<String>,
        /// What.
        order: Order,
    },
    /// The end of the service of one array. The answer has `ended` where it was the last one: then the process ends too, and
    /// with it the stream.
    Stop {
        /// Its name or UUID; none for the only one.
        name: Option<String>,
        /// Cut clients off that have it.
        disconnect: bool,
    },
    /// An invitation to the console: a link for one use, for whoever may ask here.
    Invite,
    /// Something of the controller of a store; see [`StoreAsk`].
    Store(StoreAsk),
}

/// What is asked of the controller of a store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreAsk {
    /// How all is, the worst first.
    Status,
    /// An event that tells what a user of the console did.
    Note {
        /// The user's name.
        user: String,
        /// What the user did.
        text: String,
    },
    /// A look at the directory of the images: arrays that can be started are, disks that came back are taken in.
    Rescan,
    /// Something done to a disk, to rehearse.
    Disk {
        /// Its name or path.
        name: String,
        /// What.
        deed: DiskDeed,
    },
    /// Faults that come by themselves, as a scenario says.
    Rehearse {
        /// The scenario's text; empty to end the one that is under way.
        scenario: String,
    },
    /// A change of the spare pool.
    Spare {
        /// Name or path of the disk.
        name: String,
        /// Whether it goes in or comes out.
        add: bool,
        /// Take it though it holds something, which is lost when it is used.
        yes: bool,
    },
    /// Another value of a setting.
    Set {
        /// Its key.
        key: String,
        /// The value, as JSON or as a word.
        value: String,
    },
    /// Events.
    Events {
        /// Which.
        query: Query,
        /// How long to wait for one, in seconds.
        wait_s: u64,
    },
    /// What is wrong with an array, the steps that bring it back, and what may be asked of it; see
    /// [`steps`](super::explain::steps).
    Explain {
        /// Its name or UUID.
        name: String,
    },
    /// A new array of disks of the store.
    CreateArray(Box<Creation>),
    /// The end of an array: its disks are given back.
    DeleteArray {
        /// Its name or UUID.
        name: String,
        /// Do it though its data are lost.
        yes: bool,
    },
    /// Another name for an array.
    RenameArray {
        /// Its name or UUID.
        name: String,
        /// The other one.
        new: String,
    },
    /// The service of an array that was stopped.
    StartArray {
        /// Its name or UUID.
        name: String,
    },
    /// A moment of an array, to be read with [`StoreAsk::ReadArray`] while its clients go on. Progress is told once it can
    /// be read, and then again and again: the moment ends when the asker hangs up.
    FreezeArray {
        /// Its name or UUID.
        name: String,
        /// A UUID that the asker makes up, by which the moment is read.
        moment: String,
    },
    /// Bytes of a moment of an array: `next_bytes` is the offset of the first that are no hole, at or behind the one that
    /// is asked for, none where there are no more; `bytes` are those from there on, in base 64.
    ReadArray {
        /// The UUID of the moment.
        moment: String,
        /// Where.
        offset_bytes: u64,
        /// How many at most; 0 for none, where only holes are asked for.
        length_bytes: u32,
    },
    /// An array for the asker alone: its clients are cut off, and it is taken out of service. Progress is told once it is,
    /// and then again and again: it is served again when the asker hangs up.
    LendArray {
        /// Its name or UUID.
        name: String,
    },
    /// Tells that an array was left out of a dump.
    LeftOut {
        /// Name of the array.
        name: String,
        /// Why.
        reason: String,
    },
    /// Values of an attribute of a disk's health over time; see [`ATTRIBUTES`](super::disk::smart::ATTRIBUTES).
    History {
        /// Name or path of the disk.
        disk: String,
        /// Name of the attribute.
        attribute: String,
        /// When, and how many points.
        span: Span,
    },
    /// The series of the store's database.
    Series,
    /// Entries of a series.
    Points {
        /// Its name.
        series: String,
        /// Whether it is one of variable length.
        #[serde(default)]
        varlen: bool,
        /// Which, and how many.
        span: Span,
    },
    /// The snapshots of the store's database.
    Snapshots,
    /// A snapshot of the store's database.
    CreateSnapshot {
        /// Its name; none for the time.
        name: Option<String>,
    },
    /// A snapshot less. One that a tag holds stays.
    RemoveSnapshot {
        /// Its name.
        name: String,
    },
    /// How all is, in Prometheus' text format: `text`.
    Metrics,
    /// The tapes of the store, the dumps on them and the dumps that stopped.
    Tapes,
    /// Files of the dumps that the catalogue knows: at most [`FOUND_MAX`](super::library::FOUND_MAX).
    FindFiles {
        /// Text in their path, or with `./` before it a path from the root of what was dumped.
        text: String,
    },
    /// What a restore would do: what the tape holds, and what would be overwritten, `overwritten`; `refusal` where the verb
    /// would not do it so. A restore itself is a task of the schedule.
    PlanRestore(Restore),
    /// All events forgotten.
    ClearEvents,
    /// An event for a test of what is told about events.
    TestEvent,
    /// Something of those who are told about events.
    Notify(NotifyAsk),
    /// Something of the schedule.
    Schedule(ScheduleAsk),
}

/// A range of timestamps, and how many points of it are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Span {
    /// The first timestamp; none for the first that there is.
    pub from: Option<u64>,
    /// The last timestamp; none for the last that there is.
    pub to: Option<u64>,
    /// At most so many, spread evenly over the range.
    pub points: usize,
}

impl Default for Span {
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            points: 500,
        }
    }
}

/// What is done to a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskDeed {
    /// It is unplugged.
    Pull,
    /// It is plugged in.
    Insert,
    /// It gets a fault, which is written as [`Fault`](super::disk::faults::Fault) says.
    Inject(String),
    /// It loses its faults.
    Heal,
    /// Its light blinks: the log and the facts say where it is.
    Identify,
}

/// What is answered: any number of lines of progress, then one of the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// How far it is.
    Progress {
        /// Bytes that are done.
        done_bytes: u64,
        /// All bytes.
        whole_bytes: u64,
    },
    /// It is done; the facts.
    Done(Map<String, Value>),
    /// It is not.
    Failed(Told),
}

/// Told how far a request is.
pub type Tell<'a> = &'a mut dyn FnMut(Progress) -> Result<()>;

/// Answers requests.
pub type Answerer = dyn Fn(Ask, Tell<'_>) -> Result<Map<String, Value>> + Send + Sync;
