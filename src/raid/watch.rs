//! Members that hang: what is asked of a file goes to threads of its own, and is given up when it takes too long.
//!
//! [`Watch::over`] is a directory whose files do so; the array's members and their journals are opened in one. Somebody
//! who has a clock looks again and again ([`Watch::look`]); what is under way at more than [`Watch::LOOKS`] looks in a row
//! has hung. From then on every operation on that file fails at once, with `ETIMEDOUT`, as on a disk that is gone. The
//! thread that hangs owns all that it works on, so it may end whenever it likes: what it still writes lands on a member
//! that was expelled, and as long as it lasts nobody may open that file here for writing.
//!
//! Until somebody looks, and for files that have no disk behind them, everything is done in the caller's thread.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::SystemTime,
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use rustix::io::Errno;

use crate::storage::{Access, Directory, Mapping, Span, Stat, Storage, through::Through};

pub mod starts;
#[cfg(test)]
mod tests;

/// Most threads of a file.
const THREADS: usize = 64;

/// An operation, for the thread that does it.
type Task = Box<dyn FnOnce(&dyn Storage) + Send>;

/// Looks at what is under way in the files of some directories.
#[derive(Default)]
pub struct Watch {
    on: AtomicBool,
    files: Mutex<Vec<Weak<Line>>>,
}

impl Watch {
    /// Looks in a row that an operation may be seen at.
    pub const LOOKS: u8 = 4;

    /// Says whether operations are watched; those of before go on as they began.
    pub fn set_on(&self, on: bool) {
        self.on.store(on, Ordering::Release);
    }

    fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Does what may hang before there is an open file, in a thread of its own where operations are watched.
    ///
    /// # Errors
    /// Those of `work`, and `ETIMEDOUT` where it was given up; its result is dropped when it comes.
    pub fn ask<T, W>(&self, path: &Path, work: W) -> io::Result<T>
    where
        T: Send + 'static,
        W: FnOnce() -> io::Result<T> + Send + 'static,
    {
        if !self.is_on() {
            return work();
        }
        let (line, given_up) = Line::new(path.to_path_buf());
        self.files().push(Arc::downgrade(&line));
        let number = line.begin()?;
        let (tell, answer) = bounded(1);
        let asked = Arc::clone(&line);
        thread::Builder::new().name("member".to_owned()).spawn(move || {
            let done = work();
            asked.end(number);
            // Who asked may have given up.
            let _ = tell.send(done);
        })?;
        select! {
            recv(answer) -> done => done.unwrap_or_else(|_| Err(Errno::IO.into())),
            recv(given_up) -> _ => Err(Errno::TIMEDOUT.into()),
        }
    }

    /// The same directory, whose files are watched.
    pub fn over(self: &Arc<Self>, files: Arc<dyn Directory>) -> Arc<dyn Directory> {
        let watch = Arc::clone(self);
        Arc::new(Watched { files, watch })
    }

    /// Looks once, and gives up what was seen too often; the files of which that is so.
    pub fn look(&self) -> Vec<PathBuf> {
        let mut files = self.files();
        files.retain(|line| line.strong_count() > 0);
        let lines: Vec<Arc<Line>> = files.iter().filter_map(Weak::upgrade).collect();
        drop(files);
        let hung = lines.iter().filter(|line| line.look());
        hung.map(|line| line.path.clone()).collect()
    }

    fn files(&self) -> MutexGuard<'_, Vec<Weak<Line>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True where an operation on a file was given up and has not ended.
    fn hangs(&self, path: &Path) -> bool {
        let lines: Vec<Arc<Line>> = self.files().iter().filter_map(Weak::upgrade).collect();
        let mut own = lines.iter().filter(|line| line.path == path);
        own.any(|line| line.hangs())
    }
}

/// What is under way in one open file.
struct Line {
    path: PathBuf,
    given_up: AtomicBool,
    state: Mutex<LineState>,
}

struct LineState {
    next: u64,
    /// Operations by number, and at how many looks each was seen.
    under_way: BTreeMap<u64, u8>,
    /// Dropped when the file is given up, which everybody who waits hears of.
    alive: Option<Sender<Infallible>>,
}

impl Line {
    /// A file in which nothing is under way, and what tells when it is given up.
    fn new(path: PathBuf) -> (Arc<Self>, Receiver<Infallible>) {
        let (alive, given_up) = bounded(0);
        let state = LineState {
            next: 0,
            under_way: BTreeMap::new(),
            alive: Some(alive),
        };
        let line = Self {
            path,
            given_up: AtomicBool::new(false),
            state: Mutex::new(state),
        };
        (Arc::new(line), given_up)
    }

    fn state(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an operation; its number.
    fn begin(&self) -> io::Result<u64> {
        let mut state = self.state();
        if state.alive.is_none() {
            return Err(Errno::TIMEDOUT.into());
        }
        let number = state.next;
        state.next += 1;
        state.under_way.insert(number, 0);
        Ok(number)
    }

    fn end(&self, number: u64) {
        self.state().under_way.remove(&number);
    }

    /// True where this look is the one that gives the file up.
    fn look(&self) -> bool {
        let mut state = self.state();
        let mut late = false;
        for looks in state.under_way.values_mut() {
            late |= *looks >= Watch::LOOKS;
            *looks = looks.saturating_add(1);
        }
        self.given_up.fetch_or(late, Ordering::AcqRel);
        late && state.alive.take().is_some()
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    fn hangs(&self) -> bool {
        let state = self.state();
        state.alive.is_none() && !state.under_way.is_empty()
    }
}

/// A directory whose files are watched.
struct Watched {
    files: Arc<dyn Directory>,
    watch: Arc<Watch>,
}

impl Through for Watched {
    fn files(&self) -> &Arc<dyn Directory> {
        &self.files
    }

    fn wrap(&self, path: &Path, storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
        if storage.never_waits() {
            return storage;
        }
        let (line, given_up) = Line::new(self.files.path().join(path));
        self.watch.files().push(Arc::downgrade(&line));
        let (tasks, taken) = bounded(0);
        Arc::new(WatchedFile {
            storage,
            watch: Arc::clone(&self.watch),
            line,
            given_up,
            tasks: Some(tasks),
            taken,
            threads: Mutex::default(),
        })
    }

    /// Refuses to open a file for writing in which an operation hangs: it may end at any time.
    fn open_below(&self, path: &Path, access: Access) -> io::Result<Arc<dyn Storage>> {
        if access == Access::ReadWrite && self.watch.hangs(&self.files.path().join(path)) {
            return Err(Errno::BUSY.into());
        }
        let (files, name) = (Arc::clone(&self.files), path.to_path_buf());
        let whole = files.path().join(path);
        self.watch.ask(&whole, move || files.open(&name, access))
    }
}

/// An open file that is watched.
struct WatchedFile {
    storage: Arc<dyn Storage>,
    watch: Arc<Watch>,
    line: Arc<Line>,
    given_up: Receiver<Infallible>,
    /// Has no room: a task goes to a thread that waits for one, or to a new one.
    tasks: Option<Sender<Task>>,
    taken: Receiver<Task>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl WatchedFile {
    fn is_watched(&self) -> bool {
        self.watch.is_on()
    }

    /// Lets a thread do what may hang, and waits for it as long as the watch does.
    fn ask<T, W>(&self, work: W) -> io::Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&dyn Storage) -> io::Result<T> + Send + 'static,
    {
        let number = self.line.begin()?;
        let line = Arc::clone(&self.line);
        let (tell, answer) = bounded(1);
        let task = Box::new(move |storage: &dyn Storage| {
            let done = work(storage);
            line.end(number);
            // Who asked may have given up.
            let _ = tell.send(done);
        });
        if !self.hand_out(task) {
            self.line.end(number);
            return Err(Errno::TIMEDOUT.into());
        }
        select! {
            recv(answer) -> done => done.unwrap_or_else(|_| Err(Errno::IO.into())),
            recv(self.given_up) -> _ => Err(Errno::TIMEDOUT.into()),
        }
    }

    /// Gives a task to a thread; false where the file was given up before one took it.
    fn hand_out(&self, task: Task) -> bool {
        let Some(tasks) = &self.tasks else { return false };
        let Err(TrySendError::Full(task)) = tasks.try_send(task) else {
            return true;
        };
        let Some(task) = self.hire(task) else { return true };
        select! {
            send(tasks, task) -> sent => sent.is_ok(),
            recv(self.given_up) -> _ => false,
        }
    }

    /// Begins a thread with a task; gives the task back where there are threads enough.
    fn hire(&self, first: Task) -> Option<Task> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() >= THREADS {
            return Some(first);
        }
        let (storage, taken) = (Arc::clone(&self.storage), self.taken.clone());
        let first = Arc::new(Mutex::new(Some(first)));
        let mine = Arc::clone(&first);
        let spawned = thread::Builder::new().name("member".to_owned()).spawn(move || {
            let take = || mine.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut next = take();
            while let Some(task) = next {
                task(&*storage);
                next = taken.recv().ok();
            }
        });
        match spawned {
            Ok(thread) => {
                threads.push(thread);
                None
            }
            Err(error) if threads.is_empty() => {
                log::warn!("{}: not watched, no thread: {error}", self.line.path.display());
                drop(threads);
                let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
                first.into_iter().for_each(|task| task(&*self.storage));
                None
            }
            Err(_) => first.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }
}

impl Drop for WatchedFile {
    /// Waits until the file is closed, so that whoever opens it next finds it unclaimed; not where it hangs.
    fn drop(&mut self) {
        self.tasks = None;
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.line.is_given_up() {
            for thread in threads {
                // A panic of the thread has been told where it happened.
                let _ = thread.join();
            }
        }
    }
}

impl Storage for WatchedFile {
    fn size_bytes(&self) -> io::Result<u64> {
        if !self.is_watched() {
            return self.storage.size_bytes();
        }
        self.ask(|storage| storage.size_bytes())
    }

    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        if !self.is_watched() {
            return self.storage.read_at(buffer, offset_bytes);
        }
        if self.read_cached_at(buffer, offset_bytes)? {
            return Ok(buffer.len());
        }
        let length = buffer.len();
        let read = self.ask(move |storage| {
            let mut bytes = vec![0; length];
            let count = storage.read_at(&mut bytes, offset_bytes)?;
            bytes.truncate(count);
            Ok(bytes)
        })?;
        buffer[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }

    /// What memory does not hold is no error of the file, so the reason is left to the read that waits for it.
    fn read_cached_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<bool> {
        if self.line.is_given_up() {
            return Err(Errno::TIMEDOUT.into());
        }
        Ok(self.storage.read_cached_at(buffer, offset_bytes).unwrap_or(false))
    }

    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        if !self.is_watched() {
            return self.storage.write_all_at(bytes, offset_bytes);
        }
        let bytes = bytes.to_vec();
        self.ask(move |storage| storage.write_all_at(&bytes, offset_bytes))
    }

    fn set_size(&self, size_bytes: u64) -> io::Result<()> {
        if !self.is_watched() {
            return self.storage.set_size(size_bytes);
        }
        self.ask(move |storage| storage.set_size(size_bytes))
    }

    fn reserve(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        if !self.is_watched() {
            return self.storage.reserve(offset_bytes, length_bytes);
        }
        self.ask(move |storage| storage.reserve(offset_bytes, length_bytes))
    }

    fn punch(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        if !self.is_watched() {
            return self.storage.punch(offset_bytes, length_bytes);
        }
        self.ask(move |storage| storage.punch(offset_bytes, length_bytes))
    }

    fn span_at(&self, offset_bytes: u64) -> io::Result<Option<Span>> {
        if !self.is_watched() {
            return self.storage.span_at(offset_bytes);
        }
        self.ask(move |storage| storage.span_at(offset_bytes))
    }

    fn is_hole(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<bool> {
        if !self.is_watched() {
            return self.storage.is_hole(offset_bytes, length_bytes);
        }
        self.ask(move |storage| storage.is_hole(offset_bytes, length_bytes))
    }

    fn sync(&self) -> io::Result<()> {
        if !self.is_watched() {
            return self.storage.sync();
        }
        self.ask(|storage| storage.sync())
    }

    fn map(&self, length_bytes: usize, access: Access) -> io::Result<Mapping> {
        self.storage.map(length_bytes, access)
    }

    fn stat(&self) -> io::Result<Stat> {
        self.storage.stat()
    }

    fn claim(&self, offset_bytes: u64, length_bytes: u64, access: Access) -> io::Result<()> {
        if !self.is_watched() {
            return self.storage.claim(offset_bytes, length_bytes, access);
        }
        self.ask(move |storage| storage.claim(offset_bytes, length_bytes, access))
    }

    fn set_modified(&self, modified: SystemTime) -> io::Result<()> {
        self.storage.set_modified(modified)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.storage.as_fd()
    }
}
