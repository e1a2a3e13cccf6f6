//! Carries out one operation on the array and puts the reply in the client's dialect.
//!
//! What can block comes here on a worker's thread, what cannot on the reader's; both end in the same reply.

use super::{
    Connection,
    outbox::{Data, Reply},
    pool::{Panicked, guarded},
    request::{Operation, Range, Refusal},
};
use crate::{
    nbd::{
        errno::errno,
        exports::Context,
        protocol::{
            Errno, allocation,
            transmission::{self, Request, StatusExtent},
        },
    },
    raid::{Array, Error, ExtentKind, Zeroes, buffer::Buffer, geometry::Piece},
};

/// First window in which extents are looked for, in bytes; it doubles while there are few.
const STATUS_WINDOW_BYTES: u64 = 1 << 30;
/// Extents after which an answer stops early; the client asks on from there.
const STATUS_EXTENTS: usize = 16 << 10;

/// Why an operation has no result.
enum Failure {
    Engine(Error),
    Refused(Refusal),
    Panicked,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What an operation gave.
enum Outcome {
    Done,
    Data(Buffer),
    Extents(Vec<(Context, Vec<StatusExtent>)>),
}

impl Connection {
    /// Carries out an operation; whatever comes of it, there is a reply.
    pub(super) fn execute(
        &self,
        request: &Request,
        operation: Operation,
        payload: Option<Buffer>,
        cost_bytes: usize,
    ) -> Reply {
        let outcome = guarded(|| self.perform(operation, payload));
        let outcome = outcome.unwrap_or_else(|Panicked| Err(Failure::Panicked));
        let dialect = self.terms.dialect;
        let mut head = Vec::with_capacity(transmission::DATA_HEAD_MAX_BYTES);
        let mut data = None;
        match outcome {
            Ok(Outcome::Done) => transmission::reply_done(&mut head, dialect, request),
            Ok(Outcome::Data(buffer)) => {
                transmission::reply_data(&mut head, dialect, request);
                data = Some(Data::Bytes(buffer));
            }
            Ok(Outcome::Extents(contexts)) => {
                let last = contexts.len() - 1;
                for (at, (context, extents)) in contexts.iter().enumerate() {
                    transmission::reply_extents(&mut head, dialect, request, context.id(), extents, at == last);
                }
            }
            Err(Failure::Engine(error)) => {
                log::debug!("export {:?}: {error}", self.export.name());
                transmission::reply_error(&mut head, dialect, request, errno(&error), &error.to_string());
            }
            Err(Failure::Refused(Refusal { errno, reason })) => {
                transmission::reply_error(&mut head, dialect, request, errno, reason);
            }
            Err(Failure::Panicked) => {
                transmission::reply_error(&mut head, dialect, request, Errno::Io, "a fault in the server");
            }
        }
        Reply { head, data, cost_bytes }
    }

    fn perform(&self, operation: Operation, payload: Option<Buffer>) -> Result<Outcome, Failure> {
        let array = self.export.array();
        let bytes = payload.as_ref().map_or(&[][..], |payload| payload);
        let changed = match &operation {
            Operation::Write { range, .. } | Operation::Trim { range, .. } | Operation::Zeroes { range, .. } => {
                Some(range)
            }
            _ => None,
        };
        let freezer = self.export.freezer();
        let _under_way = changed.map(|range| freezer.enter(range.offset_bytes, range.length_bytes));
        match operation {
            Operation::Read(Range { length_bytes: 0, .. }) | Operation::Disconnect => {}
            Operation::Read(range) => {
                let length = usize::try_from(range.length_bytes).expect("reads are bounded by the largest request");
                let mut buffer = Buffer::take(length);
                array.read_at(&mut buffer, range.offset_bytes)?;
                return Ok(Outcome::Data(buffer));
            }
            Operation::Write { range, fua } => array.write_at(bytes, range.offset_bytes, fua)?,
            Operation::Flush => array.flush()?,
            Operation::Trim { range, fua } => array.trim(range.offset_bytes, range.length_bytes, fua)?,
            Operation::Cache(range) => array.cache(range.offset_bytes, range.length_bytes)?,
            Operation::Zeroes {
                range,
                may_trim,
                fast_only,
                fua,
            } => {
                let how = Zeroes {
                    may_trim,
                    fast_only,
                    fua,
                };
                array.write_zeroes(range.offset_bytes, range.length_bytes, how)?;
            }
            Operation::BlockStatus { range, one } => return status(array, range, &self.terms.contexts, one),
            Operation::BlockStatusOf { offset_bytes, one } => {
                let (range, contexts) = self.terms.check_status_payload(offset_bytes, bytes)?;
                return status(array, range, &contexts, one);
            }
            Operation::Resize { size_bytes } => self.resize(size_bytes)?,
        }
        Ok(Outcome::Done)
    }

    /// Lets the client see the size that the array has grown to. The array itself is not resized from here.
    fn resize(&self, size_bytes: u64) -> Result<(), Refusal> {
        let refuse = |errno, reason| Err(Refusal { errno, reason });
        let grown = self.export.size_bytes();
        if size_bytes > grown {
            return refuse(Errno::NoSpace, "the array is not that large; grow it first");
        }
        if size_bytes < grown {
            return refuse(Errno::Perm, "the array is larger, and is not cut by its clients");
        }
        self.set_size_bytes(grown);
        Ok(())
    }
}

fn status(array: &Array, range: Range, contexts: &[Context], one: bool) -> Result<Outcome, Failure> {
    let mut found = Vec::with_capacity(contexts.len());
    for context in contexts {
        let extents = match context {
            Context::Allocation => allocated(array, range, one)?,
            Context::Health => joined(range, one, array.health_status(range.offset_bytes, range.length_bytes)),
            Context::Stripe => joined(range, one, striped(array, range)),
        };
        found.push((*context, extents));
    }
    Ok(Outcome::Extents(found))
}

/// Extents of `base:allocation`, looked for in windows that grow as long as they are few.
fn allocated(array: &Array, range: Range, one: bool) -> Result<Vec<StatusExtent>, Error> {
    let mut found = Vec::new();
    let mut window = STATUS_WINDOW_BYTES;
    let mut at = 0;
    while at < range.length_bytes && found.len() < STATUS_EXTENTS && !(one && found.len() > 1) {
        let length = window.min(range.length_bytes - at);
        let extents = array.block_status(range.offset_bytes + at, length)?;
        let before = at;
        for extent in extents {
            let flags = match extent.kind {
                ExtentKind::Data => 0,
                ExtentKind::Hole => allocation::HOLE | allocation::ZERO,
                ExtentKind::Zero => allocation::ZERO,
            };
            at += extent.length_bytes;
            found.push((extent.length_bytes, flags));
        }
        if at == before {
            break;
        }
        window = window.saturating_mul(2);
    }
    Ok(joined(range, one, found))
}

/// Chunks of a range, with the slots that hold their first copies.
fn striped(array: &Array, range: Range) -> Vec<(u64, u32)> {
    let geometry = array.geometry();
    let pieces = geometry.map(range.offset_bytes, range.length_bytes);
    let extent = |piece: Piece<'_>| (piece.length_bytes, u32::from(piece.first_copy().0.0));
    pieces.take(STATUS_EXTENTS).map(extent).collect()
}

/// Cuts extents to the range, joins neighbours of the same flags, and makes sure that there is one.
fn joined(range: Range, one: bool, extents: Vec<(u64, u32)>) -> Vec<StatusExtent> {
    let mut out: Vec<StatusExtent> = Vec::new();
    let mut left = range.length_bytes;
    for (length_bytes, flags) in extents {
        let length_bytes = length_bytes.min(left);
        left -= length_bytes;
        match out.last_mut() {
            Some(last) if last.flags == flags => last.length_bytes += length_bytes,
            _ if length_bytes > 0 => out.push(StatusExtent { length_bytes, flags }),
            _ => {}
        }
    }
    if out.is_empty() {
        // A context may always say nothing, which is flags of zero.
        out.push(StatusExtent {
            length_bytes: range.length_bytes,
            flags: 0,
        });
    }
    out.truncate(if one { 1 } else { STATUS_EXTENTS });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Range = Range {
        offset_bytes: 4096,
        length_bytes: 100,
    };

    fn lengths(extents: &[StatusExtent]) -> Vec<(u64, u32)> {
        extents
            .iter()
            .map(|extent| (extent.length_bytes, extent.flags))
            .collect()
    }

    #[test]
    fn extents_are_joined_and_cut_to_the_request() {
        let extents = joined(RANGE, false, vec![(10, 1), (0, 2), (20, 1), (30, 0), (1000, 3), (5, 0)]);
        assert_eq!(lengths(&extents), [(30, 1), (30, 0), (40, 3)]);
    }

    #[test]
    fn one_extent_is_the_joined_first() {
        let extents = joined(RANGE, true, vec![(10, 1), (20, 1), (30, 0)]);
        assert_eq!(lengths(&extents), [(30, 1)]);
    }

    #[test]
    fn there_is_always_an_extent() {
        assert_eq!(lengths(&joined(RANGE, false, Vec::new())), [(100, 0)]);
    }
}
