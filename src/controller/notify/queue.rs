//! Events that are still to be told, and to whom: in memory, and in a file of the store's state that survives a kill.
//!
//! The file is a journal: a line of JSON for each event that came and for each step that a destination made, written anew
//! when it has grown. A last line without an end was being written when the process was killed; it is left out. There is
//! a bound: where too many events wait, the least important of the oldest are dropped, and each destination that wanted
//! one is told how many.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    controller::{
        error::{Error, Kind},
        event::{Event, Level},
    },
    storage::{Access, Directory, Storage},
};

/// The journal, in the store's state.
const FILE: &str = "notify.queue";
/// Where a damaged journal is put.
const ASIDE: &str = "notify.damaged.queue";
/// Events that wait at most.
pub const EVENTS_MAX: usize = 1000;
/// Events that are dropped together.
const DROPPED: usize = EVENTS_MAX / 4;
/// Length at which the journal is written anew, in bytes.
const ANEW_BYTES: u64 = 1 << 20;
/// Longest journal that is read.
const READ_MAX_BYTES: u64 = 64 << 20;

/// How far the telling to one destination is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Number of the last event that it needs no more.
    pub up_to: u64,
    /// When it was last told, in seconds since 1970.
    pub told_s: i64,
    /// The worst level that it was told then.
    pub worst: Level,
    /// Events that were dropped before it was told.
    pub left_out: u64,
    /// True once it was said that it cannot be told, until it can.
    pub troubled: bool,
}

/// An event with its number.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Numbered {
    number: u64,
    time_us: u64,
    #[serde(flatten)]
    event: Event,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Came(Numbered),
    Told { to: String, progress: Progress },
}

/// A destination: what it wants, and how far it is.
#[derive(Debug, Clone, Default)]
struct Destination {
    levels: Vec<Level>,
    progress: Progress,
}

impl Destination {
    fn wants(&self, numbered: &Numbered) -> bool {
        numbered.number > self.progress.up_to && self.levels.contains(&numbered.event.level)
    }
}

/// What waits for a destination.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The events, the oldest first.
    pub events: Vec<Event>,
    /// Number of the first and of each following one.
    pub numbers: Vec<u64>,
    /// How far the destination is.
    pub progress: Progress,
}

/// The queue.
pub struct Queue {
    directory: Arc<dyn Directory>,
    file: Option<Arc<dyn Storage>>,
    length_bytes: u64,
    events: VecDeque<Numbered>,
    last: u64,
    destinations: BTreeMap<String, Destination>,
    /// Progress of destinations that nobody has named yet since the journal was read.
    remembered: BTreeMap<String, Progress>,
}

impl Queue {
    /// The queue of a directory; what could not be read of it is told beside it.
    pub fn open(directory: Arc<dyn Directory>) -> (Self, Option<Error>) {
        let mut queue = Self {
            directory,
            file: None,
            length_bytes: 0,
            events: VecDeque::new(),
            last: 0,
            destinations: BTreeMap::new(),
            remembered: BTreeMap::new(),
        };
        let read = queue.directory.read(Path::new(FILE), READ_MAX_BYTES);
        let trouble = match read {
            Ok(bytes) => queue.replay(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(Error::host(queue.directory.path().join(FILE))(error)),
        };
        (queue, trouble)
    }

    fn replay(&mut self, bytes: &[u8]) -> Option<Error> {
        let mut damaged = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else { break };
            match serde_json::from_slice(line) {
                Ok(Line::Came(numbered)) => {
                    self.last = self.last.max(numbered.number);
                    self.events.push_back(numbered);
                }
                Ok(Line::Told { to, progress }) => {
                    self.remembered.insert(to, progress);
                }
                Err(_) => damaged += 1,
            }
        }
        let excess = self.events.len().saturating_sub(EVENTS_MAX);
        self.events.drain(..excess);
        if damaged == 0 && excess == 0 {
            return None;
        }
        // A copy is kept for whoever wants to know; the queue itself goes on with what can be read.
        let kept = self.directory.replace(Path::new(ASIDE), bytes);
        let path = self.directory.path().join(FILE);
        let message = format!(
            "{}: {damaged} lines of the events that are still to be told are damaged, {excess} are too many",
            path.display()
        );
        let remedy = match kept {
            Ok(()) => format!("{ASIDE}, which has all of it"),
            Err(error) => format!("again with more free space ({error})"),
        };
        Some(Error::refused(Kind::Corrupt, message, remedy))
    }

    /// Names all destinations and what they want. One that was not there yet is told what comes from now on.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn set_destinations(&mut self, wanted: impl IntoIterator<Item = (String, Vec<Level>)>) -> io::Result<()> {
        let before = std::mem::take(&mut self.destinations);
        for (to, levels) in wanted {
            let known = before.get(&to).map(|known| known.progress.clone());
            let progress = known.or_else(|| self.remembered.remove(&to)).unwrap_or(Progress {
                up_to: self.last,
                ..Progress::default()
            });
            self.destinations.insert(to, Destination { levels, progress });
        }
        self.remembered.clear();
        self.prune();
        self.write_anew()
    }

    /// Takes an event, if any destination wants it; false where none does.
    ///
    /// # Errors
    /// The journal cannot be written; the event is kept in memory all the same.
    pub fn push(&mut self, event: &Event) -> io::Result<bool> {
        let numbered = Numbered {
            number: self.last + 1,
            time_us: event.time_us,
            event: event.clone(),
        };
        if !self
            .destinations
            .values()
            .any(|destination| destination.wants(&numbered))
        {
            return Ok(false);
        }
        self.last = numbered.number;
        self.events.push_back(numbered.clone());
        if self.events.len() > EVENTS_MAX {
            self.drop_some();
            self.write_anew()?;
        } else {
            self.write(&Line::Came(numbered), event.level > Level::Information)?;
        }
        Ok(true)
    }

    /// Drops the least important of the oldest.
    fn drop_some(&mut self) {
        let mut order: Vec<(Level, u64)> = self.events.iter().map(|one| (one.event.level, one.number)).collect();
        order.sort_unstable();
        let dropped: Vec<u64> = order.iter().take(DROPPED).map(|(_, number)| *number).collect();
        let destinations = &mut self.destinations;
        self.events.retain(|numbered| {
            let drop = dropped.contains(&numbered.number);
            for destination in destinations.values_mut().filter(|_| drop) {
                destination.progress.left_out += u64::from(destination.wants(numbered));
            }
            !drop
        });
    }

    fn prune(&mut self) {
        let destinations = &self.destinations;
        self.events
            .retain(|numbered| destinations.values().any(|destination| destination.wants(numbered)));
    }

    /// Names of the destinations.
    pub fn destinations(&self) -> Vec<String> {
        self.destinations.keys().cloned().collect()
    }

    /// What waits for a destination; none where there is no such.
    pub fn waiting(&self, to: &str) -> Option<Waiting> {
        let destination = self.destinations.get(to)?;
        let wanted = self.events.iter().filter(|numbered| destination.wants(numbered));
        let (numbers, events) = wanted
            .map(|numbered| {
                let event = Event {
                    time_us: numbered.time_us,
                    ..numbered.event.clone()
                };
                (numbered.number, event)
            })
            .unzip();
        Some(Waiting {
            events,
            numbers,
            progress: destination.progress.clone(),
        })
    }

    /// Takes note of how far a destination is; what no destination wants any more is forgotten.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn advance(&mut self, to: &str, change: impl FnOnce(&mut Progress)) -> io::Result<()> {
        let Some(destination) = self.destinations.get_mut(to) else {
            return Ok(());
        };
        change(&mut destination.progress);
        let progress = destination.progress.clone();
        self.prune();
        let to = to.to_owned();
        self.write(&Line::Told { to, progress }, true)
    }

    fn write(&mut self, line: &Line, durably: bool) -> io::Result<()> {
        let Some(file) = self.file.clone() else {
            return self.write_anew();
        };
        let bytes = encoded(line)?;
        file.write_all_at(&bytes, self.length_bytes)?;
        self.length_bytes += bytes.len() as u64;
        if durably {
            file.sync()?;
        }
        if self.length_bytes > ANEW_BYTES {
            self.write_anew()
        } else {
            Ok(())
        }
    }

    fn write_anew(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (to, destination) in &self.destinations {
            let (to, progress) = (to.clone(), destination.progress.clone());
            bytes.extend(encoded(&Line::Told { to, progress })?);
        }
        for numbered in &self.events {
            bytes.extend(encoded(&Line::Came(numbered.clone()))?);
        }
        self.file = None;
        self.directory.replace(Path::new(FILE), &bytes)?;
        self.length_bytes = bytes.len() as u64;
        self.file = Some(self.directory.open(Path::new(FILE), Access::ReadWrite)?);
        Ok(())
    }
}

fn encoded(line: &Line) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{controller::event::Name, storage::SimDirectory};

    fn event(level: Level, text: &str) -> Event {
        Event::new(Name::TestMessage, text).with_level(level)
    }

    fn texts(queue: &Queue, to: &str) -> Vec<String> {
        let waiting = queue.waiting(to).unwrap();
        waiting.events.into_iter().map(|event| event.text).collect()
    }

    fn all() -> Vec<(String, Vec<Level>)> {
        vec![
            ("all".to_owned(), Level::ALL.to_vec()),
            ("errors".to_owned(), vec![Level::Error]),
        ]
    }

    fn opened(directory: &Arc<dyn Directory>) -> Queue {
        let (mut queue, trouble) = Queue::open(Arc::clone(directory));
        assert!(trouble.is_none(), "{trouble:?}");
        queue.set_destinations(all()).unwrap();
        queue
    }

    /// R42: each destination gets its own levels, and nothing twice, over any number of restarts.
    #[test]
    fn what_was_not_told_survives_and_what_was_does_not_come_back() {
        let directory: Arc<dyn Directory> = Arc::new(SimDirectory::new());
        let mut queue = opened(&directory);
        for (level, text) in [
            (Level::Information, "one"),
            (Level::Error, "two"),
            (Level::Warning, "three"),
        ] {
            assert!(queue.push(&event(level, text)).unwrap());
        }
        let mut queue = opened(&directory);
        assert_eq!(texts(&queue, "all"), ["one", "two", "three"]);
        assert_eq!(texts(&queue, "errors"), ["two"]);
        let up_to = queue.waiting("all").unwrap().numbers[1];
        queue.advance("all", |progress| progress.up_to = up_to).unwrap();
        let mut queue = opened(&directory);
        assert_eq!(texts(&queue, "all"), ["three"]);
        assert_eq!(texts(&queue, "errors"), ["two"]);
        queue
            .set_destinations([("new".to_owned(), Level::ALL.to_vec())])
            .unwrap();
        assert!(texts(&queue, "new").is_empty(), "who is new hears of what is new");
        queue.push(&event(Level::Information, "four")).unwrap();
        assert_eq!(texts(&queue, "new"), ["four"]);
        queue.set_destinations([]).unwrap();
        assert!(!queue.push(&event(Level::Error, "five")).unwrap());
    }

    #[test]
    fn too_many_events_leave_the_worst_and_a_count() {
        let directory: Arc<dyn Directory> = Arc::new(SimDirectory::new());
        let mut queue = opened(&directory);
        queue.push(&event(Level::Error, "the worst")).unwrap();
        for number in 0..EVENTS_MAX {
            queue.push(&event(Level::Information, &number.to_string())).unwrap();
        }
        let queue = opened(&directory);
        let waiting = queue.waiting("all").unwrap();
        assert_eq!(waiting.events.len(), EVENTS_MAX + 1 - DROPPED);
        assert_eq!(waiting.events[0].text, "the worst");
        assert_eq!(waiting.events[1].text, DROPPED.to_string());
        assert_eq!(waiting.progress.left_out, DROPPED as u64);
        assert_eq!(queue.waiting("errors").unwrap().progress.left_out, 0);
    }

    #[test]
    fn a_torn_line_is_left_out_and_a_damaged_one_is_told() {
        let directory: Arc<dyn Directory> = Arc::new(SimDirectory::new());
        let mut queue = opened(&directory);
        queue.push(&event(Level::Error, "one")).unwrap();
        queue.push(&event(Level::Error, "two")).unwrap();
        let whole = directory.read(Path::new(FILE), READ_MAX_BYTES).unwrap();
        let torn = &whole[..whole.len() - 7];
        directory.replace(Path::new(FILE), torn).unwrap();
        assert_eq!(texts(&opened(&directory), "all"), ["one"]);
        let mut damaged = whole.clone();
        damaged[0] = b'#';
        directory.replace(Path::new(FILE), &damaged).unwrap();
        let (_, trouble) = Queue::open(Arc::clone(&directory));
        assert_eq!(trouble.unwrap().judge().0, Kind::Corrupt);
        assert_eq!(directory.read(Path::new(ASIDE), READ_MAX_BYTES).unwrap(), damaged);
        for garbage in [&b"\0\xff\n"[..], b"{}\n[]\n", b"\n"] {
            directory.replace(Path::new(FILE), garbage).unwrap();
            assert!(Queue::open(Arc::clone(&directory)).1.is_some());
        }
    }
}
