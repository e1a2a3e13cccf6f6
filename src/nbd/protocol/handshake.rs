//! Messages of the handshake: the greeting, options and their replies.
//!
//! | message | bytes | layout |
//! |---|---|---|
//! | greeting | 18 | `NBDMAGIC`, `IHAVEOPT`, flags u16 |
//! | client flags | 4 | flags u32 |
//! | option | 16 + n | `IHAVEOPT`, option u32, n u32, data |
//! | reply to an option | 20 + n | magic u64, option u32, kind u32, n u32, data |
//! | reply to `EXPORT_NAME` | 10 or 134 | size u64, flags u16, zeros |
//!
//! Source: sections "Fixed newstyle negotiation", "Option types" and "Option reply types" of the protocol document.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U16, U32, U64},
};

use super::{STRING_MAX_BYTES, info, option_reply};

/// `NBDMAGIC`, first in the greeting.
pub const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
/// `IHAVEOPT`, second in the greeting and first in every option.
pub const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
/// First in every reply to an option.
pub const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Zeros after the reply to `EXPORT_NAME`, unless both sides leave them out.
pub const EXPORT_NAME_ZEROES: usize = 124;

/// What the server says first.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Greeting {
    /// [`MAGIC`].
    pub magic: U64, //  0
    /// [`OPTION_MAGIC`].
    pub option_magic: U64, //  8
    /// Flags of [`super::handshake_flag`].
    pub flags: U16, // 16
}
const _: () = assert!(size_of::<Greeting>() == 18);

impl Greeting {
    /// The greeting with these flags of [`super::handshake_flag`].
    #[must_use]
    pub fn new(flags: u16) -> Self {
        Self {
            magic: U64::new(MAGIC),
            option_magic: U64::new(OPTION_MAGIC),
            flags: U16::new(flags),
        }
    }
}

/// Head of an option.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct OptionHeader {
    /// [`OPTION_MAGIC`].
    pub magic: U64, //  0
    /// One of [`super::option`], or anything else.
    pub option: U32, //  8
    /// Bytes of data that follow.
    pub length: U32, // 12
}
const _: () = assert!(size_of::<OptionHeader>() == 16);

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct OptionReplyHeader {
    magic: U64,  //  0
    option: U32, //  8
    kind: U32,   // 12
    length: U32, // 16
}
const _: () = assert!(size_of::<OptionReplyHeader>() == 20);

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct InfoExport {
    kind: U16,       //  0
    size_bytes: U64, //  2
    flags: U16,      // 10
}
const _: () = assert!(size_of::<InfoExport>() == 12);

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct InfoBlockSize {
    kind: U16,      //  0
    minimum: U32,   //  2
    preferred: U32, //  6
    maximum: U32,   // 10
}
const _: () = assert!(size_of::<InfoBlockSize>() == 14);

/// The data of an option do not have the form that the option has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Data of `INFO` and `GO`.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The export; empty for the default one.
    pub name: &'a str,
    /// Facts of [`info`] that were asked for, and others.
    pub wanted: Vec<u16>,
}

impl<'a> Choice<'a> {
    /// Decodes the option's data.
    ///
    /// # Errors
    /// Lengths that do not add up, and a name that is no string of the protocol.
    pub fn decode(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = data;
        let name = take_string(&mut rest)?;
        let count = take::<U16>(&mut rest)?.get();
        let (wanted, rest) = <[U16]>::ref_from_prefix_with_elems(rest, usize::from(count))
            .map_err(|_| Malformed("the information requests do not fit the option"))?;
        if !rest.is_empty() {
            return Err(Malformed("the option is longer than its information requests"));
        }
        Ok(Self {
            name,
            wanted: wanted.iter().map(|kind| kind.get()).collect(),
        })
    }
}

/// Data of `LIST_META_CONTEXT` and `SET_META_CONTEXT`.
#[derive(Debug, PartialEq, Eq)]
pub struct ContextQuery<'a> {
    /// The export; empty for the default one.
    pub name: &'a str,
    /// Names and wildcards of contexts.
    pub queries: Vec<&'a str>,
}

impl<'a> ContextQuery<'a> {
    /// Decodes the option's data.
    ///
    /// # Errors
    /// Lengths that do not add up, and names that are no strings of the protocol.
    pub fn decode(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = data;
        let name = take_string(&mut rest)?;
        let count = take::<U32>(&mut rest)?.get();
        let mut queries = Vec::new();
        for _ in 0..count {
            queries.push(take_string(&mut rest)?);
        }
        if !rest.is_empty() {
            return Err(Malformed("the option is longer than its queries"));
        }
        Ok(Self { name, queries })
    }
}

/// A string of the protocol.
///
/// # Errors
/// Not UTF-8, with a zero byte, or longer than [`STRING_MAX_BYTES`].
pub fn string(bytes: &[u8]) -> Result<&str, Malformed> {
    if bytes.len() > STRING_MAX_BYTES {
        return Err(Malformed("a name is longer than 4096 bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed("a name is not UTF-8"))?;
    if text.contains('\0') {
        return Err(Malformed("a name has a zero byte"));
    }
    Ok(text)
}

fn take<T: FromBytes + KnownLayout + Immutable + Unaligned + Copy>(rest: &mut &[u8]) -> Result<T, Malformed> {
    let (value, tail) = T::read_from_prefix(rest).map_err(|_| Malformed("the option is too short"))?;
    *rest = tail;
    Ok(value)
}

/// Takes a 32-bit length and that many bytes of text.
fn take_string<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    let length = usize::try_from(take::<U32>(rest)?.get()).unwrap_or(usize::MAX);
    let (text, tail) = rest
        .split_at_checked(length)
        .ok_or(Malformed("a name is longer than the option"))?;
    *rest = tail;
    string(text)
}

/// Appends one reply to an option; `parts` are its data, one after the other.
pub fn reply(out: &mut Vec<u8>, option: u32, kind: u32, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).expect("replies to options are made of strings, which are short");
    let header = OptionReplyHeader {
        magic: U64::new(REPLY_MAGIC),
        option: U32::new(option),
        kind: U32::new(kind),
        length: U32::new(length),
    };
    out.extend_from_slice(header.as_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Appends one export of a list.
pub fn reply_server(out: &mut Vec<u8>, option: u32, name: &str, description: &str) {
    let length = u32::try_from(name.len()).expect("names of exports are at most 4096 bytes long");
    let length = U32::new(length);
    let parts = [length.as_bytes(), name.as_bytes(), description.as_bytes()];
    reply(out, option, option_reply::SERVER, &parts);
}

/// Appends size and transmission flags of an export.
pub fn reply_info_export(out: &mut Vec<u8>, option: u32, size_bytes: u64, flags: u16) {
    let data = InfoExport {
        kind: U16::new(info::EXPORT),
        size_bytes: U64::new(size_bytes),
        flags: U16::new(flags),
    };
    reply(out, option, option_reply::INFO, &[data.as_bytes()]);
}

/// Appends a fact that is a text: [`info::NAME`] or [`info::DESCRIPTION`].
pub fn reply_info_text(out: &mut Vec<u8>, option: u32, kind: u16, text: &str) {
    let kind = U16::new(kind);
    reply(out, option, option_reply::INFO, &[kind.as_bytes(), text.as_bytes()]);
}

/// Appends the smallest, preferred and largest request, in bytes.
pub fn reply_info_block_size(out: &mut Vec<u8>, option: u32, minimum: u32, preferred: u32, maximum: u32) {
    let data = InfoBlockSize {
        kind: U16::new(info::BLOCK_SIZE),
        minimum: U32::new(minimum),
        preferred: U32::new(preferred),
        maximum: U32::new(maximum),
    };
    reply(out, option, option_reply::INFO, &[data.as_bytes()]);
}

/// Appends one metadata context.
pub fn reply_context(out: &mut Vec<u8>, option: u32, id: u32, name: &str) {
    let id = U32::new(id);
    reply(
        out,
        option,
        option_reply::META_CONTEXT,
        &[id.as_bytes(), name.as_bytes()],
    );
}

/// Appends the reply to `EXPORT_NAME`.
pub fn reply_export_name(out: &mut Vec<u8>, size_bytes: u64, flags: u16, zeroes: bool) {
    out.extend_from_slice(&size_bytes.to_be_bytes());
    out.extend_from_slice(&flags.to_be_bytes());
    if zeroes {
        out.resize(out.len() + EXPORT_NAME_ZEROES, 0);
    }
}
