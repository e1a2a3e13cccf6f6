//! What a target takes of what belongs to an object: lists up to its limit, permissions of its style, parameters of series.
//!
//! What it does not take is told, and is no loss: something that the target knows stands for it.

use std::path::Path;

use super::Files;
use crate::dump::{attributes::Attribute, error::Trouble, record::Node, restore::is_directory};

/// Where Samba keeps the permissions that an object has for Windows.
const NT_LIST: &[u8] = b"security.NTACL";
/// What parameters of series begin with.
const PARAMETER: &[u8] = b"user.headstack.";
/// Permissions of what had those of Windows only.
const FILE_MODE: u16 = 0o644;
const DIRECTORY_MODE: u16 = 0o755;

impl Files<'_> {
    /// Facts and attributes as the target takes them.
    pub(super) fn fitted(&mut self, path: &Path, node: &Node, attributes: &[Attribute]) -> (Node, Vec<Attribute>) {
        let terms = self.destination.terms();
        let adapted = attributes
            .iter()
            .filter_map(|attribute| self.destination.adapted(attribute));
        let (mut node, mut kept) = (*node, adapted.collect::<Vec<_>>());
        if let Some(limit) = terms.list_limit {
            for list in kept.extract_if(.., |attribute| attribute.entries() > limit) {
                let entries = list.entries();
                self.tell(
                    path,
                    format!(
                        "its access control list has {entries} entries, which is too many: its permissions stand for it"
                    ),
                );
            }
        }
        if terms.unix_style && kept.iter().any(|attribute| attribute.name == NT_LIST) {
            let mode = if is_directory(&node) { DIRECTORY_MODE } else { FILE_MODE };
            node.mode = node.mode & 0o170_000 | mode;
            kept.retain(|attribute| attribute.name != NT_LIST && !attribute.is_list());
            self.tell(
                path,
                format!("its permissions are those of Windows: mode {mode:o} stands for them"),
            );
        }
        let name = path.file_name().unwrap_or_default();
        if terms.classic && is_directory(&node) && !name.is_ascii() {
            let before = kept.len();
            kept.retain(|attribute| !attribute.name.starts_with(PARAMETER));
            if kept.len() < before {
                self.tell(
                    path,
                    "is an ordinary directory now: the target takes series with names in ASCII".into(),
                );
            }
        }
        (node, kept)
    }

    pub(in crate::dump::restore) fn tell(&mut self, path: &Path, what: String) {
        self.restored.troubles.push(Trouble {
            path: path.to_path_buf(),
            what,
            loss: false,
        });
    }
}
