//! Orders from a verb to the process that serves the array.
//!
//! The other side of the control socket: one request, progress as it comes, one result.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::order::{Answer, Order, Request, Tell};
use crate::{
    cli::exit::{Code, Failure, Told},
    raid::rebuild::Progress,
};

/// Connects to the control socket at `path`; none where nobody answers there.
pub fn connect(path: &Path) -> Option<UnixStream> {
    UnixStream::connect(path).ok()
}

/// Sends an order and waits for its result.
///
/// # Errors
/// What the server says, with its exit code; [`Code::Unavailable`] where it goes away.
pub fn ask(mut stream: UnixStream, request: &Request, tell: Tell<'_>) -> Result<Map<String, Value>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).context("the server of the array")?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next() {
        let line = line.context("the server of the array")?;
        match serde_json::from_str(&line).context("the answer of the array's server")? {
            Answer::Progress {
                done_bytes,
                whole_bytes,
            } => tell(Progress {
                done_bytes,
                whole_bytes,
            })?,
            Answer::Done(facts) => {
                if matches!(request.order, Order::Stop { .. }) {
                    // The end of the stream says that nothing of the array is in use there any more.
                    lines.for_each(drop);
                }
                return Ok(facts);
            }
            Answer::Failed { code, message } => return Err(Told::new(Code::of(code), message).into()),
        }
    }
    let message = "the server of the array went away before it answered";
    Err(Failure::new(Code::Unavailable, message, "'headstack array show' for what came of it").into())
}
