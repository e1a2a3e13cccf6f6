//! What a client may ask: turns a request into an operation that is safe to hand to the engine, or into a refusal.
//!
//! Pure: it sees what was agreed on, no socket and no array. After it every range lies inside the export, every length
//! is bounded, and every flag is one that the request may have.

use crate::nbd::{
    exports::Context,
    protocol::{
        Errno, command,
        request_flag::{DF, FAST_ZERO, FUA, NO_HOLE, PAYLOAD_LEN, REQ_ONE},
        transmission::{Dialect, Request},
    },
};

/// What was agreed on, and what holds now.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) dialect: Dialect,
    pub(super) size_bytes: u64,
    pub(super) read_only: bool,
    /// Every write is durable before it is answered.
    pub(super) write_through: bool,
    pub(super) minimum_block_bytes: u32,
    pub(super) maximum_request_bytes: u32,
    pub(super) contexts: Vec<Context>,
}

/// A range inside the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) offset_bytes: u64,
    pub(super) length_bytes: u64,
}

/// A request that may be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read(Range),
    /// Its bytes follow.
    Write {
        range: Range,
        fua: bool,
    },
    Disconnect,
    Flush,
    Trim {
        range: Range,
        fua: bool,
    },
    Cache(Range),
    Zeroes {
        range: Range,
        may_trim: bool,
        fast_only: bool,
        fua: bool,
    },
    BlockStatus {
        range: Range,
        one: bool,
    },
    /// Its contexts and its length follow, in the payload; the length here is nothing.
    BlockStatusOf {
        offset_bytes: u64,
        one: bool,
    },
    Resize {
        size_bytes: u64,
    },
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    pub(super) reason: &'static str,
}

fn refuse<T>(errno: Errno, reason: &'static str) -> Result<T, Refusal> {
    Err(Refusal { errno, reason })
}

impl Terms {
    /// Bytes that follow a request, whether it is refused or not.
    pub(super) fn payload_bytes(&self, request: &Request) -> u64 {
        let follows = match self.dialect {
            Dialect::Simple | Dialect::Structured => request.command == command::WRITE,
            // The document wants the flag on every such write; qemu 10.0 forgets it, and sends the bytes all the same.
            Dialect::Extended => request.command == command::WRITE || request.flags & PAYLOAD_LEN != 0,
        };
        if follows { request.length_bytes } else { 0 }
    }

    /// The operation that a request asks for.
    pub(super) fn check(&self, request: &Request) -> Result<Operation, Refusal> {
        let fua = self.write_through || request.flags & FUA != 0;
        self.check_flags(request)?;
        match request.command {
            command::READ => {
                let range = self.range(request, Errno::Invalid)?;
                if range.length_bytes > u64::from(self.maximum_request_bytes) {
                    return refuse(Errno::Overflow, "the read is longer than the largest request");
                }
                Ok(Operation::Read(range))
            }
            command::WRITE => {
                self.check_writable()?;
                if request.length_bytes > u64::from(self.maximum_request_bytes) {
                    return refuse(Errno::Invalid, "the write is longer than the largest request");
                }
                let range = self.range(request, Errno::NoSpace)?;
                Ok(Operation::Write { range, fua })
            }
            command::DISC => Ok(Operation::Disconnect),
            command::FLUSH if request.offset_bytes != 0 || request.length_bytes != 0 => {
                refuse(Errno::Invalid, "a flush has no range")
            }
            command::FLUSH => Ok(Operation::Flush),
            command::TRIM => {
                self.check_writable()?;
                let range = self.range(request, Errno::Invalid)?;
                Ok(Operation::Trim { range, fua })
            }
            command::CACHE => Ok(Operation::Cache(self.range(request, Errno::Invalid)?)),
            command::WRITE_ZEROES => {
                self.check_writable()?;
                Ok(Operation::Zeroes {
                    range: self.range(request, Errno::NoSpace)?,
                    may_trim: request.flags & NO_HOLE == 0,
                    fast_only: request.flags & FAST_ZERO != 0,
                    fua,
                })
            }
            command::BLOCK_STATUS => self.check_block_status(request),
            command::RESIZE => Ok(Operation::Resize {
                size_bytes: request.offset_bytes,
            }),
            _ => refuse(Errno::Invalid, "unknown command"),
        }
    }

    /// The range and the contexts that a payload of `BLOCK_STATUS` names.
    pub(super) fn check_status_payload(
        &self,
        offset_bytes: u64,
        payload: &[u8],
    ) -> Result<(Range, Vec<Context>), Refusal> {
        let wrong = Refusal {
            errno: Errno::Invalid,
            reason: "the payload is a length and contexts that were agreed on, each once",
        };
        let (length, ids) = payload.split_first_chunk::<8>().ok_or(wrong)?;
        let (ids, rest) = ids.as_chunks::<4>();
        let mut contexts = Vec::new();
        for id in ids {
            let id = u32::from_be_bytes(*id);
            let context = self.contexts.iter().find(|context| context.id() == id).ok_or(wrong)?;
            if contexts.contains(context) {
                return Err(wrong);
            }
            contexts.push(*context);
        }
        if contexts.is_empty() || !rest.is_empty() {
            return Err(wrong);
        }
        let range = self.checked(offset_bytes, u64::from_be_bytes(*length), Errno::Invalid)?;
        if range.length_bytes == 0 {
            return refuse(Errno::Invalid, "nothing to tell of no bytes");
        }
        Ok((range, contexts))
    }

    fn check_block_status(&self, request: &Request) -> Result<Operation, Refusal> {
        if self.contexts.is_empty() {
            return refuse(Errno::Invalid, "no context was agreed on");
        }
        let one = request.flags & REQ_ONE != 0;
        if request.flags & PAYLOAD_LEN != 0 {
            let offset_bytes = request.offset_bytes;
            return Ok(Operation::BlockStatusOf { offset_bytes, one });
        }
        let range = self.range(request, Errno::Invalid)?;
        if range.length_bytes == 0 {
            return refuse(Errno::Invalid, "nothing to tell of no bytes");
        }
        Ok(Operation::BlockStatus { range, one })
    }

    fn check_flags(&self, request: &Request) -> Result<(), Refusal> {
        // FUA is to be taken with every command, where it says nothing.
        let mut known = FUA;
        known |= match request.command {
            command::READ if self.dialect != Dialect::Simple => DF,
            command::WRITE_ZEROES => NO_HOLE | FAST_ZERO,
            command::BLOCK_STATUS => REQ_ONE,
            _ => 0,
        };
        if self.dialect == Dialect::Extended && matches!(request.command, command::WRITE | command::BLOCK_STATUS) {
            known |= PAYLOAD_LEN;
        }
        if request.flags & !known != 0 {
            return refuse(Errno::Invalid, "a flag that the command does not have");
        }
        Ok(())
    }

    fn check_writable(&self) -> Result<(), Refusal> {
        if self.read_only {
            return refuse(Errno::Perm, "the export is read-only");
        }
        Ok(())
    }

    fn range(&self, request: &Request, past_end: Errno) -> Result<Range, Refusal> {
        self.checked(request.offset_bytes, request.length_bytes, past_end)
    }

    fn checked(&self, offset_bytes: u64, length_bytes: u64, past_end: Errno) -> Result<Range, Refusal> {
        let end = offset_bytes.checked_add(length_bytes);
        if end.is_none_or(|end| end > self.size_bytes) {
            return refuse(past_end, "the range reaches past the end of the export");
        }
        let unit = u64::from(self.minimum_block_bytes);
        if !offset_bytes.is_multiple_of(unit) || !length_bytes.is_multiple_of(unit) {
            return refuse(Errno::Invalid, "the range is not made of whole smallest requests");
        }
        Ok(Range {
            offset_bytes,
            length_bytes,
        })
    }
}

#[cfg(test)]
mod tests;
