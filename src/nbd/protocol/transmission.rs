//! Messages of the transmission: requests and the three kinds of replies.
//!
//! | message | bytes | layout |
//! |---|---|---|
//! | request | 28 | magic u32, flags u16, command u16, cookie u64, offset u64, length u32 |
//! | extended request | 32 | the same with length u64 |
//! | simple reply | 16 | magic u32, error u32, cookie u64 |
//! | structured chunk | 20 + n | magic u32, flags u16, kind u16, cookie u64, n u32, payload |
//! | extended chunk | 32 + n | magic u32, flags u16, kind u16, cookie u64, offset u64, n u64, payload |
//!
//! Source: sections "Transmission" and "Structured reply types" of the protocol document, and its extension for
//! extended headers.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U16, U32, U64},
};

use super::{Errno, STRING_MAX_BYTES, chunk};

/// First in every request.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// First in every extended request.
pub const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;
/// First in every simple reply.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// First in every structured reply chunk.
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;
/// First in every extended reply chunk.
pub const EXTENDED_REPLY_MAGIC: u32 = 0x6e8a_278c;
/// Most bytes that [`reply_data`] appends: an extended chunk's head and an offset.
pub const DATA_HEAD_MAX_BYTES: usize = 40;

/// Which requests and replies both sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Requests and simple replies.
    Simple,
    /// Requests and structured replies.
    Structured,
    /// Extended requests and replies.
    Extended,
}

/// One request, without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Flags of [`super::request_flag`], and others.
    pub flags: u16,
    /// One of [`super::command`], or anything else.
    pub command: u16,
    /// The client's own number, to be given back.
    pub cookie: u64,
    /// First byte of the range.
    pub offset_bytes: u64,
    /// Bytes in the range, or in the payload.
    pub length_bytes: u64,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct CompactRequest {
    magic: U32,        //  0
    flags: U16,        //  4
    command: U16,      //  6
    cookie: U64,       //  8
    offset_bytes: U64, // 16
    length_bytes: U32, // 24
}
const _: () = assert!(size_of::<CompactRequest>() == 28);

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ExtendedRequest {
    magic: U32,        //  0
    flags: U16,        //  4
    command: U16,      //  6
    cookie: U64,       //  8
    offset_bytes: U64, // 16
    length_bytes: U64, // 24
}
const _: () = assert!(size_of::<ExtendedRequest>() == 32);

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct SimpleReply {
    magic: U32,  //  0
    error: U32,  //  4
    cookie: U64, //  8
}
const _: () = assert!(size_of::<SimpleReply>() == 16);

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct StructuredChunk {
    magic: U32,        //  0
    flags: U16,        //  4
    kind: U16,         //  6
    cookie: U64,       //  8
    length_bytes: U32, // 16
}
const _: () = assert!(size_of::<StructuredChunk>() == 20);

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct ExtendedChunk {
    magic: U32,        //  0
    flags: U16,        //  4
    kind: U16,         //  6
    cookie: U64,       //  8
    offset_bytes: U64, // 16
    length_bytes: U64, // 24
}
const _: () = assert!(size_of::<ExtendedChunk>() == 32);

/// What follows is no request: the two sides no longer know where messages begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no request begins with {found:#010x}")]
pub struct BadMagic {
    /// What stood in the magic number's place.
    pub found: u32,
}

impl Dialect {
    /// Length of a request's head in bytes.
    #[must_use]
    pub fn request_bytes(self) -> usize {
        match self {
            Self::Simple | Self::Structured => size_of::<CompactRequest>(),
            Self::Extended => size_of::<ExtendedRequest>(),
        }
    }
}

impl Request {
    /// Decodes the request that `bytes` begin with; none where they are too few.
    ///
    /// # Errors
    /// Another magic number than that of the dialect's requests.
    pub fn decode(dialect: Dialect, bytes: &[u8]) -> Result<Option<Self>, BadMagic> {
        let (magic, request) = if dialect == Dialect::Extended {
            let Ok((raw, _)) = ExtendedRequest::ref_from_prefix(bytes) else {
                return Ok(None);
            };
            let request = Self {
                flags: raw.flags.get(),
                command: raw.command.get(),
                cookie: raw.cookie.get(),
                offset_bytes: raw.offset_bytes.get(),
                length_bytes: raw.length_bytes.get(),
            };
            (raw.magic.get() == EXTENDED_REQUEST_MAGIC, request)
        } else {
            let Ok((raw, _)) = CompactRequest::ref_from_prefix(bytes) else {
                return Ok(None);
            };
            let request = Self {
                flags: raw.flags.get(),
                command: raw.command.get(),
                cookie: raw.cookie.get(),
                offset_bytes: raw.offset_bytes.get(),
                length_bytes: raw.length_bytes.get().into(),
            };
            (raw.magic.get() == REQUEST_MAGIC, request)
        };
        if magic {
            Ok(Some(request))
        } else {
            let found = bytes.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
            Err(BadMagic { found })
        }
    }
}

/// One extent of a context: its length in bytes and its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusExtent {
    /// How far it goes.
    pub length_bytes: u64,
    /// What the context says of it.
    pub flags: u32,
}

/// Puts a chunk's head in the dialect, which is not [`Dialect::Simple`], before a payload of `length_bytes`.
fn chunk_head(out: &mut Vec<u8>, dialect: Dialect, request: &Request, kind: u16, done: bool, length_bytes: usize) {
    let flags = U16::new(if done { chunk::FLAG_DONE } else { 0 });
    let kind = U16::new(kind);
    let cookie = U64::new(request.cookie);
    if dialect == Dialect::Extended {
        let head = ExtendedChunk {
            magic: U32::new(EXTENDED_REPLY_MAGIC),
            flags,
            kind,
            cookie,
            offset_bytes: U64::new(request.offset_bytes),
            length_bytes: U64::new(u64::try_from(length_bytes).expect("lengths fit 64 bits")),
        };
        out.extend_from_slice(head.as_bytes());
    } else {
        let length_bytes = u32::try_from(length_bytes).expect("payloads are bounded by the largest request");
        let head = StructuredChunk {
            magic: U32::new(STRUCTURED_REPLY_MAGIC),
            flags,
            kind,
            cookie,
            length_bytes: U32::new(length_bytes),
        };
        out.extend_from_slice(head.as_bytes());
    }
}

fn simple(out: &mut Vec<u8>, request: &Request, error: u32) {
    let reply = SimpleReply {
        magic: U32::new(SIMPLE_REPLY_MAGIC),
        error: U32::new(error),
        cookie: U64::new(request.cookie),
    };
    out.extend_from_slice(reply.as_bytes());
}

/// Appends what stands before the data in the reply to a read of `request.length_bytes`, which is at least 1.
pub fn reply_data(out: &mut Vec<u8>, dialect: Dialect, request: &Request) {
    if dialect == Dialect::Simple {
        simple(out, request, 0);
        return;
    }
    let length = usize::try_from(request.length_bytes).expect("reads are bounded by the largest request");
    chunk_head(out, dialect, request, chunk::OFFSET_DATA, true, length + 8);
    out.extend_from_slice(&request.offset_bytes.to_be_bytes());
}

/// Appends the reply of a request that is done and gives no data.
pub fn reply_done(out: &mut Vec<u8>, dialect: Dialect, request: &Request) {
    if dialect == Dialect::Simple {
        simple(out, request, 0);
    } else {
        chunk_head(out, dialect, request, chunk::NONE, true, 0);
    }
}

/// Appends the reply of a request that failed. The message is for humans, and is lost where replies are simple.
pub fn reply_error(out: &mut Vec<u8>, dialect: Dialect, request: &Request, errno: Errno, message: &str) {
    let number = errno as u32;
    if dialect == Dialect::Simple {
        simple(out, request, number);
        return;
    }
    let message = &message.as_bytes()[..message.floor_char_boundary(STRING_MAX_BYTES)];
    let length = u16::try_from(message.len()).expect("messages are cut to 4096 bytes");
    chunk_head(out, dialect, request, chunk::ERROR, true, 6 + message.len());
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
}

/// Appends the extents of one context, at least one; `done` with the last context. The dialect is not
/// [`Dialect::Simple`]; with [`Dialect::Structured`] an extent is shorter than 4 GiB.
pub fn reply_extents(
    out: &mut Vec<u8>,
    dialect: Dialect,
    request: &Request,
    context: u32,
    extents: &[StatusExtent],
    done: bool,
) {
    if dialect == Dialect::Extended {
        let count = u32::try_from(extents.len()).expect("the number of extents is bounded");
        chunk_head(
            out,
            dialect,
            request,
            chunk::BLOCK_STATUS_EXT,
            done,
            8 + 16 * extents.len(),
        );
        out.extend_from_slice(&context.to_be_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        for extent in extents {
            out.extend_from_slice(&extent.length_bytes.to_be_bytes());
            out.extend_from_slice(&u64::from(extent.flags).to_be_bytes());
        }
        return;
    }
    chunk_head(out, dialect, request, chunk::BLOCK_STATUS, done, 4 + 8 * extents.len());
    out.extend_from_slice(&context.to_be_bytes());
    for extent in extents {
        let length = u32::try_from(extent.length_bytes).expect("extents are cut to the request, which has 32 bits");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&extent.flags.to_be_bytes());
    }
}
