//! Extended attributes as tapes of Linux have them: a block as ext2 stores it, as bytes; no I/O here.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | u32 magic 0xEA020000; 0xEA020001 in what stood inside an inode, whose entries begin at 4 and count from there |
//! | 4, 8 | u32 1, u32 1 block; zeros to 32 |
//! | 32 | entries: u8 length of the name, u8 index of its prefix, u16 offset of the value, u32 0, u32 size, u32 hash, name, padding to 4 |
//! | .. | four zero bytes, then the values, each at a multiple of 4, to the end |
//!
//! Prefixes: 1 `user.`, 2 and 3 the access and default ACL, 4 `trusted.`, 6 `security.`. ACLs are told as ext2 has them:
//! u32 1, then u16 tag and u16 permissions, and u32 id where the tag is 2 or 8. A program of Linux takes one block of at most
//! 4096 bytes an object; what does not fit stands [behind the end of the dump](super::reader::Item::Trailing), a block for
//! each attribute, which may be longer there. Sources: `xattr.c` of dump 0.4b47, `fs/ext4/xattr.h`, `acl.h` of Linux.

/// Longest block that the programs of Linux take, in bytes.
pub const BLOCK_MAX_BYTES: usize = 4096;

/// Most entries of an access control list that are kept.
pub const LIST_MAX_ENTRIES: usize = 1024;
/// Longest block of a single attribute: the host has values of up to 64 KiB.
const LONG_MAX_BYTES: usize = 65 << 10;

const MAGIC_BLOCK: u32 = 0xEA02_0000;
const MAGIC_INODE: u32 = 0xEA02_0001;
const HEAD_BYTES: usize = 32;
const ENTRY_BYTES: usize = 16;
/// Prefixes by their index.
const PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, ACL_ACCESS),
    (3, ACL_DEFAULT),
    (4, b"trusted."),
    (6, b"security."),
];
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
/// Version of ACLs in attributes of Linux, and on tapes.
const ACL_VERSIONS: (u32, u32) = (2, 1);

/// An attribute, as the host has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attribute {
    /// Whole name, such as `user.k`.
    pub name: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

impl Attribute {
    /// True where it is an access control list.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.name == ACL_ACCESS || self.name == ACL_DEFAULT
    }

    /// How many entries an access control list has; 0 for any other attribute.
    #[must_use]
    pub fn entries(&self) -> usize {
        if self.is_list() {
            self.value.len().saturating_sub(4) / 8
        } else {
            0
        }
    }
}

/// Why attributes cannot be told, or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Tapes have no place for this name.
    #[error("attribute {} has no place on a tape", String::from_utf8_lossy(name))]
    Name {
        /// The name.
        name: Vec<u8>,
    },
    /// They do not fit into the block that other programs take.
    #[error("attributes take {length_bytes} bytes; {BLOCK_MAX_BYTES} is what other programs read")]
    TooLong {
        /// Bytes they take.
        length_bytes: usize,
    },
    /// The value is no ACL.
    #[error("attribute {} is no access control list", String::from_utf8_lossy(name))]
    Acl {
        /// The name.
        name: Vec<u8>,
    },
    /// The block makes no sense.
    #[error("a block of attributes makes no sense at byte {at}")]
    Damaged {
        /// Where.
        at: usize,
    },
}

/// The attributes as a block of whole tape blocks.
///
/// # Errors
/// [`Flaw::Name`], [`Flaw::Acl`] and [`Flaw::TooLong`].
pub fn encode(attributes: &[Attribute]) -> Result<Vec<u8>, Flaw> {
    encode_up_to(attributes, BLOCK_MAX_BYTES)
}

/// A single attribute as a block of whole tape blocks, whatever its length.
///
/// # Errors
/// As [`encode`], where it is longer than the host can have it.
pub fn encode_long(attribute: &Attribute) -> Result<Vec<u8>, Flaw> {
    encode_up_to(std::slice::from_ref(attribute), LONG_MAX_BYTES)
}

/// As many attributes as fit into the block that other programs take, the shortest first, and the rest; an empty block
/// where none fits.
///
/// # Errors
/// [`Flaw::Name`] and [`Flaw::Acl`].
pub fn encode_fitting(mut attributes: Vec<Attribute>) -> Result<(Vec<u8>, Vec<Attribute>), Flaw> {
    let mut rest = Vec::new();
    loop {
        match encode(&attributes) {
            Err(Flaw::TooLong { .. }) => {
                attributes.sort_by_key(|attribute| attribute.value.len());
                rest.extend(attributes.pop());
            }
            block if !attributes.is_empty() => return Ok((block?, rest)),
            _ => return Ok((Vec::new(), rest)),
        }
    }
}

fn encode_up_to(attributes: &[Attribute], limit_bytes: usize) -> Result<Vec<u8>, Flaw> {
    let mut told = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        let (index, name) = index_of(&attribute.name)?;
        let value = if matches!(index, 2 | 3) {
            acl_to_tape(&attribute.value).ok_or_else(|| Flaw::Acl {
                name: attribute.name.clone(),
            })?
        } else {
            attribute.value.clone()
        };
        told.push((index, name, value));
    }
    // The order that ext2 keeps.
    told.sort_by(|a, b| (a.0, a.1.len(), a.1).cmp(&(b.0, b.1.len(), b.1)));
    let need = |(_, name, value): &(u8, &[u8], Vec<u8>)| {
        (ENTRY_BYTES + name.len()).next_multiple_of(4) + value.len().next_multiple_of(4)
    };
    let length_bytes = HEAD_BYTES + 4 + told.iter().map(need).sum::<usize>();
    if length_bytes > limit_bytes {
        return Err(Flaw::TooLong { length_bytes });
    }
    let whole = length_bytes.next_multiple_of(super::TAPE_BLOCK_BYTES);
    let mut block = Vec::with_capacity(whole);
    for word in [MAGIC_BLOCK, 1, 1] {
        block.extend_from_slice(&word.to_le_bytes());
    }
    block.resize(HEAD_BYTES, 0);
    let mut values = vec![0; whole];
    let mut end = whole;
    for (index, name, value) in &told {
        end -= value.len().next_multiple_of(4);
        values[end..end + value.len()].copy_from_slice(value);
        block.extend_from_slice(&[u8::try_from(name.len()).unwrap_or(0), *index]);
        // A block of several values is short, and that of one begins with its name.
        let offset = if value.is_empty() {
            0
        } else {
            u16::try_from(end).unwrap_or(0)
        };
        block.extend_from_slice(&offset.to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&u32::try_from(value.len()).unwrap_or(0).to_le_bytes());
        block.extend_from_slice(&hash(name, value).to_le_bytes());
        block.extend_from_slice(name);
        block.resize(block.len().next_multiple_of(4), 0);
    }
    block.resize(whole, 0);
    block[end..].copy_from_slice(&values[end..]);
    Ok(block)
}

/// The hash of an entry as ext2 makes it: over the name, then over the value's words.
fn hash(name: &[u8], value: &[u8]) -> u32 {
    let of_name = name
        .iter()
        .fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
    value.chunks(4).fold(of_name, |hash, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}

fn index_of(name: &[u8]) -> Result<(u8, &[u8]), Flaw> {
    let refused = || Flaw::Name { name: name.to_vec() };
    for (index, prefix) in PREFIXES {
        let Some(rest) = name.strip_prefix(prefix) else {
            continue;
        };
        // An ACL's name is its prefix and nothing else; all other names have something behind it.
        if matches!(index, 2 | 3) == rest.is_empty() && rest.len() < 256 {
            return Ok((index, rest));
        }
    }
    Err(refused())
}

/// Reads a block of attributes, as it stood in a block or inside an inode.
///
/// # Errors
/// [`Flaw::Damaged`] and [`Flaw::Acl`]; [`Flaw::Name`] where the prefix is not known.
pub fn decode(bytes: &[u8]) -> Result<Vec<Attribute>, Flaw> {
    let magic = word_at(bytes, 0).ok_or(Flaw::Damaged { at: 0 })?;
    let (start, base) = match magic {
        MAGIC_BLOCK => (HEAD_BYTES, 0),
        MAGIC_INODE => (4, 4),
        _ => return Err(Flaw::Damaged { at: 0 }),
    };
    let mut attributes = Vec::new();
    let mut at = start;
    while word_at(bytes, at).is_some_and(|word| word != 0) {
        let damaged = || Flaw::Damaged { at };
        let entry: [u8; ENTRY_BYTES] = bytes
            .get(at..at + ENTRY_BYTES)
            .and_then(|entry| entry.try_into().ok())
            .ok_or_else(damaged)?;
        let (name_length, index) = (usize::from(entry[0]), entry[1]);
        let offset = usize::from(u16::from_le_bytes([entry[2], entry[3]]));
        let size = word_at(&entry, 8).unwrap_or(0) as usize;
        let name_at = at + ENTRY_BYTES;
        let name = bytes.get(name_at..name_at + name_length).ok_or_else(damaged)?;
        let from = base + offset;
        let value = match size {
            0 => &[],
            size => bytes.get(from..from.saturating_add(size)).ok_or_else(damaged)?,
        };
        attributes.push(attribute_of(index, name, value, at)?);
        at = name_at + name_length.next_multiple_of(4);
    }
    Ok(attributes)
}

fn attribute_of(index: u8, name: &[u8], value: &[u8], at: usize) -> Result<Attribute, Flaw> {
    let prefix = PREFIXES.iter().find(|(known, _)| *known == index);
    let Some((_, prefix)) = prefix else {
        return Err(Flaw::Name { name: name.to_vec() });
    };
    let is_acl = matches!(index, 2 | 3);
    if name.contains(&0) || is_acl != name.is_empty() {
        return Err(Flaw::Damaged { at });
    }
    let name = [prefix, name].concat();
    let value = if is_acl {
        acl_of_tape(value).ok_or_else(|| Flaw::Acl { name: name.clone() })?
    } else {
        value.to_vec()
    };
    Ok(Attribute { name, value })
}

/// True for tags that name somebody.
fn has_id(tag: u16) -> bool {
    matches!(tag, 2 | 8)
}

/// An ACL of the host as tapes have it; none where it is no ACL.
fn acl_to_tape(value: &[u8]) -> Option<Vec<u8>> {
    if word_at(value, 0) != Some(ACL_VERSIONS.0) || value.len() % 8 != 4 {
        return None;
    }
    let mut out = ACL_VERSIONS.1.to_le_bytes().to_vec();
    for entry in value.get(4..)?.chunks_exact(8) {
        let named = has_id(u16::from_le_bytes([entry[0], entry[1]]));
        out.extend_from_slice(if named { entry } else { &entry[..4] });
    }
    Some(out)
}

/// An ACL of a tape as the host has it.
fn acl_of_tape(value: &[u8]) -> Option<Vec<u8>> {
    if word_at(value, 0) != Some(ACL_VERSIONS.1) {
        return None;
    }
    let mut out = ACL_VERSIONS.0.to_le_bytes().to_vec();
    let mut rest = value.get(4..)?;
    while !rest.is_empty() {
        let tag = u16::from_le_bytes([*rest.first()?, *rest.get(1)?]);
        let length = if has_id(tag) { 8 } else { 4 };
        let entry = rest.get(..length)?;
        out.extend_from_slice(entry);
        if length == 4 {
            out.extend_from_slice(&u32::MAX.to_le_bytes());
        }
        rest = rest.get(length..)?;
    }
    Some(out)
}

fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests;
