//! What is asked of a process that serves arrays, and what it answers: the whole of it, so that a page needs no more than a
//! verb has.
//!
//! Both sides are JSON, one document a line. A request says the version of the interface that it was made for; a server of
//! another version refuses it by name. Where the asker is in the process itself, requests and answers are these values.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    error::{Result, Told},
    order::Order,
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
