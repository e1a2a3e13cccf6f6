//! The verbs of this program as processes of their own, and the course of a run: how far it is, and the wish that it ends.
//!
//! What goes wrong in such a process cannot harm the arrays, and it does exactly what the same verb does when an operator
//! types it. It is asked by its environment to tell on standard error how far it is ([`PROGRESS`]).

use std::{
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{controller::locked, raid::rebuild::Progress};

/// The variable that asks a verb for lines of progress: the word, bytes that are done, all bytes.
pub const PROGRESS: &str = "HEADSTACK_PROGRESS";
/// The word that such a line begins with.
pub const PROGRESS_WORD: &str = "progress";

/// Most that is read of what a verb prints, in bytes.
const OUTPUT_MAX_BYTES: u64 = 256 << 20;
/// Most that is kept of one line of what a verb complains about, in bytes.
const LINE_MAX_BYTES: u64 = 64 << 10;

/// The course of a run.
#[derive(Debug, Clone, Default)]
pub struct Course {
    asked: Arc<AtomicBool>,
    child: Arc<Mutex<Option<Child>>>,
    reached: Arc<Mutex<Option<Progress>>>,
}

impl Course {
    /// True once the end was asked for.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Asks for the end; a verb that runs is told to end.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        if let Some(child) = locked(&self.child).as_ref() {
            // One that has ended just now needs no signal.
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
        }
    }

    /// Takes note of how far the run is.
    pub fn reach(&self, progress: Progress) {
        *locked(&self.reached) = Some(progress);
    }

    /// How far it is, where that is known.
    pub fn reached(&self) -> Option<Progress> {
        *locked(&self.reached)
    }

    /// Reads what a verb says on standard error to its end; returns the last line that tells no progress.
    fn listen(&self, err: impl Read) -> io::Result<String> {
        let mut err = BufReader::new(err);
        let mut last = String::new();
        let mut line = Vec::new();
        while err.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            line.clear();
            match progress(&text) {
                Some(progress) => self.reach(progress),
                None if text.is_empty() => {}
                // The program's own name tells nobody anything here.
                None => text.strip_prefix("headstack: ").unwrap_or(&text).clone_into(&mut last),
            }
        }
        Ok(last)
    }
}

fn progress(line: &str) -> Option<Progress> {
    let numbers = line.strip_prefix(PROGRESS_WORD)?.strip_prefix(' ')?;
    let (done, whole) = numbers.split_once(' ')?;
    Some(Progress {
        done_bytes: done.parse().ok()?,
        whole_bytes: whole.parse().ok()?,
    })
}

/// The verbs of this program, with the state of a store.
#[derive(Debug, Clone)]
pub struct Verbs {
    /// The program.
    pub program: PathBuf,
    /// Directory of the store's state.
    pub state: PathBuf,
}

/// What a verb left.
#[derive(Debug)]
pub struct Left {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub printed: Vec<u8>,
    /// The last that it complained about.
    pub complaint: String,
}

impl Verbs {
    /// Runs a verb, and gives what it prints.
    ///
    /// # Errors
    /// What the verb complains about, or that it was to end.
    pub fn run(&self, words: &[OsString], course: &Course) -> Result<Vec<u8>, String> {
        let left = self.leave(words, course)?;
        if left.status.success() {
            return Ok(left.printed);
        }
        let verb = words.first().map_or("".into(), |word| word.to_string_lossy());
        Err(format!("{verb} failed ({}): {}", left.status, left.complaint))
    }

    /// Runs a verb to its end, whatever that is.
    ///
    /// # Errors
    /// It cannot be run, or was to end before it began.
    pub fn leave(&self, words: &[OsString], course: &Course) -> Result<Left, String> {
        let mut command = Command::new(&self.program);
        command.args(words).env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
        command
            .env(PROGRESS, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let named = |error: io::Error| format!("{}: {error}", self.program.display());
        let (out, err) = {
            let mut place = locked(&course.child);
            if course.is_asked() {
                return Err("it was to end".to_owned());
            }
            let child = place.insert(command.spawn().map_err(named)?);
            (child.stdout.take(), child.stderr.take())
        };
        let listener = course.clone();
        let complaints = thread::Builder::new()
            .name("complaints".to_owned())
            .spawn(move || err.map_or(Ok(String::new()), |err| listener.listen(err)));
        let mut printed = Vec::new();
        let read = out.map_or(Ok(0), |mut out| {
            out.by_ref().take(OUTPUT_MAX_BYTES).read_to_end(&mut printed)
        });
        // What cannot be read is not told.
        let said = complaints
            .map_err(named)?
            .join()
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default();
        let mut place = locked(&course.child);
        let status = match place.take() {
            Some(mut child) => child.wait().map_err(named)?,
            None => return Err("it was to end".to_owned()),
        };
        drop(place);
        read.map_err(named)?;
        let complaint = if said.is_empty() {
            "it does not say why".to_owned()
        } else {
            said
        };
        Ok(Left {
            status,
            printed,
            complaint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> (Verbs, impl Fn(&str) -> Vec<OsString>) {
        let verbs = Verbs {
            program: "/bin/sh".into(),
            state: "/".into(),
        };
        (verbs, |script: &str| vec!["-c".into(), script.into()])
    }

    #[test]
    fn a_verb_that_fails_says_why_and_one_that_is_to_end_does() {
        let (verbs, words) = shell();
        let course = Course::default();
        assert_eq!(verbs.run(&words("echo yes"), &course).unwrap(), b"yes\n");
        let failed = verbs
            .run(&words("echo first >&2; echo last >&2; exit 3"), &course)
            .unwrap_err();
        assert!(failed.contains("last") && failed.contains('3'), "{failed}");
        let other = course.clone();
        let waiter = thread::spawn(move || verbs.run(&words("read never </dev/zero; exec sleep 600"), &other));
        while course.child.lock().unwrap().is_none() {
            thread::yield_now();
        }
        course.ask();
        assert!(waiter.join().unwrap().is_err());
    }

    #[test]
    fn a_verb_tells_how_far_it_is_and_no_flood_of_words_holds_it_up() {
        let (verbs, words) = shell();
        let course = Course::default();
        let script = "echo progress 5 10 >&2; echo progress x >&2; head -c 300000 /dev/zero >&2; echo >&2; exit 1";
        let left = verbs.leave(&words(script), &course).unwrap();
        assert_eq!(left.status.code(), Some(1));
        let reached = course.reached().unwrap();
        assert_eq!((reached.done_bytes, reached.whole_bytes), (5, 10));
        let script = "echo $HEADSTACK_PROGRESS";
        assert_eq!(verbs.run(&words(script), &course).unwrap(), b"1\n");
    }
}
