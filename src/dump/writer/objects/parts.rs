//! Parts of objects: what a directory, a mount point and extended attributes look like as segments.
//!
//! Every segment goes through here to get its checksum, in memory or cell by cell.

use super::Writer;
use crate::dump::{
    TAPE_BLOCK_BYTES,
    attributes::{self, Attribute, LIST_MAX_ENTRIES},
    context::mark::Trailing,
    directory,
    error::Result,
    record::{CELLS_MAX, EXTENSION_ATTRIBUTES, FLAG_EXTENDED, Header, Kind, Node, Time},
    tree::{Identity, Status},
    walker::{Object, junction_target},
    writer::{
        data::{Blocks, SEGMENT_BYTES},
        private_of,
    },
};
use std::path::Path;

impl Writer<'_, '_> {
    /// Writes a mount point as a symlink to itself, as old as the dump.
    pub(super) fn write_junction(&mut self, at: usize, path: &Path) -> Result<()> {
        let mut header = self.header(Kind::Inode, None);
        header.number = self.plan.walk.objects[at].number;
        let date = Time {
            seconds: header.date_s,
            nanoseconds: 0,
        };
        let target = junction_target(self.tree, path).into_os_string().into_encoded_bytes();
        let node = Node {
            mode: 0o120_777,
            links: 1,
            size_bytes: target.len() as u64,
            accessed: date,
            modified: date,
            changed: date,
            ..Node::default()
        };
        header.node = node;
        let status = Status {
            node,
            ..Status::default()
        };
        header.private = Some(private_of(Some(&status), self.identity));
        self.write_bytes(&mut header, &target)
    }

    /// The names in a directory as the tape has them.
    pub(super) fn directory_bytes(&self, at: usize) -> Vec<u8> {
        let walk = &self.plan.walk;
        let object = &walk.objects[at];
        let parent = &walk.folders[object.folder];
        let mut writer = directory::Writer::new(object.number, walk.objects[parent.object].number);
        let entries = object.entered.map(|folder| &walk.folders[folder].entries);
        for (name, child) in entries.into_iter().flatten() {
            let child: &Object = &walk.objects[*child];
            let kind = u8::try_from(child.status.node.mode >> 12).unwrap_or(0);
            writer.push(child.number, kind, name);
        }
        writer.finish()
    }

    /// Writes an object whose data is in memory.
    pub(super) fn write_bytes(&mut self, header: &mut Header, bytes: &[u8]) -> Result<()> {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(TAPE_BLOCK_BYTES), 0);
        let mut chunks = padded.chunks(SEGMENT_BYTES).peekable();
        if chunks.peek().is_none() {
            return self.segment(header, &[]);
        }
        for (at, chunk) in chunks.enumerate() {
            if let Some(private) = &mut header.private {
                private.offset_bytes = (at * SEGMENT_BYTES) as u64;
            }
            let cells = chunk.len() / TAPE_BLOCK_BYTES;
            header.count = u32::try_from(cells).unwrap_or(0);
            header.cells = [0; CELLS_MAX];
            header.cells[..cells].fill(1);
            self.segment(header, chunk)?;
            header.kind = Kind::Address;
        }
        Ok(())
    }

    /// Writes the attributes of an object behind it.
    pub(super) fn write_attributes(
        &mut self,
        object: &Header,
        path: &Path,
        identity: Identity,
        attributes: std::io::Result<Vec<Attribute>>,
    ) -> Result<()> {
        let attributes = match attributes {
            Ok(attributes) => attributes,
            Err(error) => return self.lose(path, format!("its extended attributes cannot be read: {error}")),
        };
        let (block, rest, refused) = self.parted(attributes);
        for what in refused {
            self.lose(path, what)?;
        }
        if !rest.is_empty() {
            self.trailing.push(Trailing {
                number: object.number,
                inode: (identity.inode, identity.kind),
                path: path.to_path_buf(),
            });
        }
        if block.is_empty() {
            return Ok(());
        }
        let mut header = object.clone();
        header.extension = EXTENSION_ATTRIBUTES;
        self.attribute_segment(&mut header, &block)
    }

    /// Attributes as the block that stands with their object, empty where it has none; those that do not fit there; and what
    /// is told of those that no tape takes.
    pub(super) fn parted(&self, attributes: Vec<Attribute>) -> (Vec<u8>, Vec<Attribute>, Vec<String>) {
        let mut refused = Vec::new();
        let mut told = Vec::new();
        let wanted = |attribute: &Attribute| !(self.no_lists && attribute.is_list());
        for attribute in attributes.into_iter().filter(wanted) {
            let name = String::from_utf8_lossy(&attribute.name).into_owned();
            if attribute.entries() > LIST_MAX_ENTRIES {
                let entries = attribute.entries();
                refused.push(format!(
                    "{name} has {entries} entries; {LIST_MAX_ENTRIES} are kept at most"
                ));
            } else if attributes::encode_long(&attribute).is_err() {
                refused.push(format!("attribute {name} has no place on a tape"));
            } else {
                told.push(attribute);
            }
        }
        match attributes::encode_fitting(told) {
            Ok((block, rest)) => (block, rest, refused),
            Err(flaw) => (Vec::new(), Vec::new(), [refused, vec![flaw.to_string()]].concat()),
        }
    }

    /// Writes a block of attributes of the object that a header tells of.
    pub(super) fn attribute_segment(&mut self, header: &mut Header, block: &[u8]) -> Result<()> {
        header.kind = Kind::Inode;
        header.flags |= FLAG_EXTENDED;
        if let Some(private) = &mut header.private {
            private.offset_bytes = 0;
        }
        header.node.size_bytes = block.len() as u64;
        let cells = block.len() / TAPE_BLOCK_BYTES;
        header.count = u32::try_from(cells).unwrap_or(0);
        header.cells = [0; CELLS_MAX];
        header.cells[..cells].fill(1);
        self.segment(header, block)
    }

    /// A header with the facts that all of this dump have.
    pub(super) fn header(&self, kind: Kind, status: Option<&Status>) -> Header {
        let mut header = self.stream.label().clone();
        header.kind = kind;
        header.count = 0;
        header.number = 0;
        header.node = status.map_or_else(Default::default, |status| status.node);
        header.private = Some(private_of(status, self.identity));
        header
    }

    /// Writes a segment of a file in memory, whose cells are chosen.
    pub(super) fn cells_segment(&mut self, header: &mut Header, bytes: &[u8]) -> Result<()> {
        let blocks = Blocks::new(bytes, header);
        if let Some(private) = &mut header.private {
            private.checksum = blocks.checksum();
        }
        self.stream.segment(header, blocks)
    }

    /// Writes a segment with the checksum of its blocks.
    pub(super) fn segment(&mut self, header: &mut Header, bytes: &[u8]) -> Result<()> {
        if let Some(private) = &mut header.private {
            private.checksum = crc32c::crc32c(bytes);
        }
        self.stream.segment(header, bytes.chunks(TAPE_BLOCK_BYTES))
    }
}
