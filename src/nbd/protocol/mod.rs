//! The bytes of the NBD protocol: numbers, messages of the handshake, messages of the transmission.
//!
//! Messages are decoded from and encoded into byte slices; nothing here reads a socket. All numbers on the wire are
//! big-endian. Decoding never panics and believes no length before it is checked against the bytes that are there.
//!
//! Source: `doc/proto.md` of the NBD project, with its extensions for extended headers and resizing. Names are the
//! document's own without the prefix: `NBD_OPT_GO` is [`option::GO`], `NBD_CMD_FLAG_FUA` is [`request_flag::FUA`].

pub mod handshake;
pub mod transmission;

#[cfg(test)]
mod tests;

/// Handshake flags, which the server sends in its greeting.
pub mod handshake_flag {
    /// Options other than `EXPORT_NAME` are understood and answered.
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// The 124 zeros after `EXPORT_NAME` can be left out.
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// Options that a client may send during the handshake.
pub mod option {
    /// Chooses an export and ends the handshake; cannot be refused but by hanging up.
    pub const EXPORT_NAME: u32 = 1;
    /// Ends the session.
    pub const ABORT: u32 = 2;
    /// Lists the exports.
    pub const LIST: u32 = 3;
    /// Begins TLS.
    pub const STARTTLS: u32 = 5;
    /// Asks about an export.
    pub const INFO: u32 = 6;
    /// Asks about an export and ends the handshake where that succeeds.
    pub const GO: u32 = 7;
    /// Asks for structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// Lists metadata contexts.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Chooses metadata contexts.
    pub const SET_META_CONTEXT: u32 = 10;
    /// Asks for extended headers.
    pub const EXTENDED_HEADERS: u32 = 11;
}

/// Kinds of replies to options.
pub mod option_reply {
    /// The option is done.
    pub const ACK: u32 = 1;
    /// One export of a list.
    pub const SERVER: u32 = 2;
    /// One fact about an export.
    pub const INFO: u32 = 3;
    /// One metadata context.
    pub const META_CONTEXT: u32 = 4;
    /// Set in every kind that is an error.
    pub const ERROR_BIT: u32 = 1 << 31;
    /// The option is not known.
    pub const ERR_UNSUP: u32 = ERROR_BIT + 1;
    /// The option is not allowed here.
    pub const ERR_POLICY: u32 = ERROR_BIT + 2;
    /// The option's data are wrong.
    pub const ERR_INVALID: u32 = ERROR_BIT + 3;
    /// TLS has to be begun first.
    pub const ERR_TLS_REQD: u32 = ERROR_BIT + 5;
    /// There is no such export.
    pub const ERR_UNKNOWN: u32 = ERROR_BIT + 6;
    /// The server is ending.
    pub const ERR_SHUTDOWN: u32 = ERROR_BIT + 7;
    /// The option's data are too long.
    pub const ERR_TOO_BIG: u32 = ERROR_BIT + 9;
    /// Extended headers are in force already.
    pub const ERR_EXT_HEADER_REQD: u32 = ERROR_BIT + 10;
}

/// Facts that a client can ask for with `INFO` and `GO`.
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// The export's own name.
    pub const NAME: u16 = 1;
    /// A text for humans.
    pub const DESCRIPTION: u16 = 2;
    /// Smallest, preferred and largest request.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Transmission flags: what an export can do.
pub mod transmission_flag {
    /// Always set.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// Writes are refused.
    pub const READ_ONLY: u16 = 1 << 1;
    /// `FLUSH` is understood.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// The flag `FUA` is understood.
    pub const SEND_FUA: u16 = 1 << 3;
    /// `TRIM` is understood.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// `WRITE_ZEROES` and `NO_HOLE` are understood.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// The flag `DF` is understood.
    pub const SEND_DF: u16 = 1 << 7;
    /// A flush on one connection covers the writes of all.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// `RESIZE` is understood.
    pub const SEND_RESIZE: u16 = 1 << 9;
    /// `CACHE` is understood.
    pub const SEND_CACHE: u16 = 1 << 10;
    /// The flag `FAST_ZERO` is understood.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
    /// `BLOCK_STATUS` may choose contexts in a payload.
    pub const BLOCK_STATUS_PAYLOAD: u16 = 1 << 12;
}

/// Requests of the transmission.
pub mod command {
    /// Reads a range.
    pub const READ: u16 = 0;
    /// Writes a range.
    pub const WRITE: u16 = 1;
    /// Ends the session.
    pub const DISC: u16 = 2;
    /// Makes answered writes durable.
    pub const FLUSH: u16 = 3;
    /// Says that a range is no longer needed.
    pub const TRIM: u16 = 4;
    /// Says that a range will be read.
    pub const CACHE: u16 = 5;
    /// Makes a range read as zeros.
    pub const WRITE_ZEROES: u16 = 6;
    /// Asks for the extents of a range.
    pub const BLOCK_STATUS: u16 = 7;
    /// Asks for another size, which stands in the offset.
    pub const RESIZE: u16 = 8;
}

/// Flags of requests.
pub mod request_flag {
    /// Answered when durable.
    pub const FUA: u16 = 1 << 0;
    /// Zeros must take space.
    pub const NO_HOLE: u16 = 1 << 1;
    /// At most one content chunk in the reply.
    pub const DF: u16 = 1 << 2;
    /// At most one extent a context in the reply.
    pub const REQ_ONE: u16 = 1 << 3;
    /// Zeros only where that is faster than writing.
    pub const FAST_ZERO: u16 = 1 << 4;
    /// With extended headers: the length counts bytes that follow the request.
    pub const PAYLOAD_LEN: u16 = 1 << 5;
}

/// Kinds of reply chunks.
pub mod chunk {
    /// Flag of the last chunk of a reply.
    pub const FLAG_DONE: u16 = 1 << 0;
    /// No payload.
    pub const NONE: u16 = 0;
    /// An offset and data.
    pub const OFFSET_DATA: u16 = 1;
    /// A context and its extents, 32 bits each.
    pub const BLOCK_STATUS: u16 = 5;
    /// A context and its extents, 64 bits each.
    pub const BLOCK_STATUS_EXT: u16 = 6;
    /// An error number and a message.
    pub const ERROR: u16 = (1 << 15) + 1;
}

/// Flags of the context `base:allocation`.
pub mod allocation {
    /// Nothing is stored.
    pub const HOLE: u32 = 1 << 0;
    /// The range reads as zeros.
    pub const ZERO: u32 = 1 << 1;
}

/// Greatest length of a name, description or message, in bytes.
pub const STRING_MAX_BYTES: usize = 4096;

/// Error numbers of the protocol, which are not the host's although they look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Errno {
    /// Not permitted: a write to a read-only export.
    Perm = 1,
    /// The engine could not do it.
    Io = 5,
    /// No memory.
    NoMemory = 12,
    /// The request makes no sense.
    Invalid = 22,
    /// No space, or a write past the end.
    NoSpace = 28,
    /// The length is too great.
    Overflow = 75,
    /// Zeros cannot be made fast.
    NotSupported = 95,
    /// The server is ending.
    Shutdown = 108,
}
