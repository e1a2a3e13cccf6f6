//! Requests from a verb to the process that serves the arrays.
//!
//! The other side of the control socket: one request, progress as it comes, one result.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    thread::{self, JoinHandle},
};

use serde_json::{Map, Value};

use super::{
    error::{Error, Kind, Result},
    interface::{Answer, Ask, Request, Tell, VERSION},
};
use crate::raid::rebuild::Progress;

/// Connects to the control socket at `path`; none where nobody answers there.
pub fn connect(path: &Path) -> Option<UnixStream> {
    UnixStream::connect(path).ok()
}

/// Sends a request and waits for its result; where that is the end of the server, for that too.
///
/// # Errors
/// What the server says; [`Kind::Unavailable`] where it goes away.
pub fn ask(mut stream: UnixStream, ask: Ask, tell: Tell<'_>) -> Result<Map<String, Value>> {
    let request = Request { version: VERSION, ask };
    let mut line = serde_json::to_vec(&request).map_err(|error| broken(error.into()))?;
    line.push(b'\n');
    // A server that hears nobody more has said so before it was asked.
    let sent = stream.write_all(&line);
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next() {
        let line = line.map_err(broken)?;
        match serde_json::from_str(&line).map_err(|error| broken(error.into()))? {
            Answer::Progress {
                done_bytes,
                whole_bytes,
            } => tell(Progress {
                done_bytes,
                whole_bytes,
            })?,
            Answer::Done(facts) => {
                if facts.get("ended").and_then(Value::as_bool) == Some(true) {
                    lines.for_each(drop);
                }
                return Ok(facts);
            }
            Answer::Failed(told) => return Err(told.into()),
        }
    }
    Err(broken(
        sent.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()),
    ))
}

/// A request that lasts until this is dropped: the server does something for as long as it is listened to.
pub struct Lasting {
    stream: UnixStream,
    listener: Option<JoinHandle<()>>,
}

impl Lasting {
    /// Sends a request, and waits until the server has begun with it.
    ///
    /// # Errors
    /// What the server says; [`Kind::Unavailable`] where it goes away.
    pub fn begin(mut stream: UnixStream, ask: Ask) -> Result<Self> {
        send(&mut stream, ask)?;
        let mut lines = BufReader::new(stream.try_clone().map_err(broken)?).lines();
        let line = lines.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
        match serde_json::from_str(&line.map_err(broken)?).map_err(|error| broken(error.into()))? {
            Answer::Progress { .. } => {}
            Answer::Failed(told) => return Err(told.into()),
            Answer::Done(_) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
        }
        let listener = thread::Builder::new().name("listener".to_owned());
        let listener = listener.spawn(move || lines.map_while(io::Result::ok).for_each(drop));
        Ok(Self {
            stream,
            listener: Some(listener.map_err(broken)?),
        })
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        // Fails only where the server is gone already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(listener) = self.listener.take() {
            // A panic of the thread has been told where it happened.
            let _ = listener.join();
        }
    }
}

fn send(stream: &mut UnixStream, ask: Ask) -> Result<()> {
    let request = Request { version: VERSION, ask };
    let mut line = serde_json::to_vec(&request).map_err(|error| broken(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(broken)
}

/// The server's side is not as it should be.
fn broken(source: io::Error) -> Error {
    let message = format!("the server of the array went away before it answered: {source}");
    Error::refused(Kind::Unavailable, message, "'headstack array show' for what came of it")
}
