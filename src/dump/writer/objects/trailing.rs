//! Pass V: attributes that are too long to stand with their objects, behind the end of the dump.
//!
//! They are read again from the tree, so that nothing of them is kept meanwhile but which objects have any.

use super::Writer;
use crate::dump::{
    attributes::{self, Attribute},
    context::mark::Trailing,
    error::Result,
    record::{EXTENSION_TRAILING, Kind, TRAILING_FOLLOW},
    tree,
    writer::Notice,
};
use rustix::{fs::OFlags, io::Errno};

impl Writer<'_, '_> {
    /// Ends the dump, with what stands behind its end.
    pub(in crate::dump::writer) fn write_trailing(&mut self) -> Result<()> {
        if self.trailing.is_empty() {
            (self.watch.notice)(&Notice::Pass(5, "ending the tape; ACLs went with their files"));
            return self.stream.end(0);
        }
        (self.watch.notice)(&Notice::Pass(
            5,
            "writing ACLs that are too long to go with their files",
        ));
        // All files are done: whoever goes on begins here.
        self.mark(None)?;
        self.stream.end(TRAILING_FOLLOW)?;
        let mut count = 0;
        for object in std::mem::take(&mut self.trailing) {
            self.check_stop(5)?;
            match self.long_attributes(&object) {
                Ok(long) => {
                    for block in long {
                        let mut header = self.header(Kind::Inode, None);
                        header.number = object.number;
                        header.extension = EXTENSION_TRAILING;
                        self.attribute_segment(&mut header, &block)?;
                        count += 1;
                    }
                }
                Err(error) => {
                    self.again.insert(object.number);
                    self.lose(&object.path, format!("its longest attributes cannot be read: {error}"))?;
                }
            }
        }
        self.stream.end(count)
    }

    /// Those attributes of an object that did not fit beside it, each as a block.
    fn long_attributes(&self, object: &Trailing) -> std::io::Result<Vec<Vec<u8>>> {
        let file = self.tree.open_at(&object.path, OFlags::PATH)?;
        let identity = tree::status_at(&file, c"")?.identity;
        if (identity.inode, identity.kind) != object.inode {
            return Err(Errno::STALE.into());
        }
        let (_, long, _) = self.parted(tree::attributes(&file)?);
        let encoded = |attribute: &Attribute| attributes::encode_long(attribute).map_err(std::io::Error::other);
        long.iter().map(encoded).collect()
    }
}
