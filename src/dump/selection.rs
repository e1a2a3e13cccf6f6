//! What a dump leaves out beside what did not change: names, access control lists, changes of the inode alone.
//!
//! Names are told as backup applications tell filers, in one text: up to 32 of them with commas between, each with a star
//! as its first or last character, or both, that stands for any text; `\,` is a comma of a name.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// How many names there may be.
const NAMES_MAX: usize = 32;

/// What is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection {
    /// Names of files and directories, in any directory.
    #[serde(default)]
    names: Vec<Pattern>,
    /// True where access control lists are not dumped.
    #[serde(default)]
    pub no_lists: bool,
    /// True where a change of the inode alone, as of permissions, does not count.
    #[serde(default)]
    pub ignore_inode_changes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pattern {
    text: String,
    /// A star before it, and behind it.
    stars: (bool, bool),
}

impl Pattern {
    fn matches(&self, name: &[u8]) -> bool {
        let text = self.text.as_bytes();
        match self.stars {
            (false, false) => name == text,
            (true, false) => name.ends_with(text),
            (false, true) => name.starts_with(text),
            (true, true) => text.is_empty() || name.windows(text.len()).any(|part| part == text),
        }
    }
}

impl Selection {
    /// The selection that leaves out the names of a text too.
    ///
    /// # Errors
    /// [`Error::BadParameter`] where there are too many, or a star stands in the midst of one.
    pub fn without(mut self, text: &str) -> Result<Self> {
        let refuse = |reason| Error::BadParameter {
            parameter: "EXCLUDE",
            value: text.to_owned(),
            reason,
        };
        for name in split(text) {
            let behind = name.strip_prefix('*').unwrap_or(&name);
            let inner = behind.strip_suffix('*').unwrap_or(behind);
            if inner.contains('*') {
                return Err(refuse("a star is the first or last character of a name"));
            }
            self.names.push(Pattern {
                stars: (behind.len() < name.len(), inner.len() < behind.len()),
                text: inner.to_owned(),
            });
        }
        if self.names.len() > NAMES_MAX {
            return Err(refuse("there are at most 32 names"));
        }
        Ok(self)
    }

    /// The selection that leaves out what else begins so, which nobody told.
    #[must_use]
    pub fn without_own(mut self, beginning: String) -> Self {
        self.names.push(Pattern {
            text: beginning,
            stars: (false, true),
        });
        self
    }

    /// True where an object of this name is left out.
    #[must_use]
    pub fn leaves_out(&self, name: &[u8]) -> bool {
        self.names.iter().any(|pattern| pattern.matches(name))
    }
}

/// The names between commas, with those that are part of a name.
fn split(text: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\\', Some(',')) => {
                rest.next();
                names.last_mut().unwrap_or(&mut String::new()).push(',');
            }
            (',', _) => names.push(String::new()),
            (c, _) => names.last_mut().unwrap_or(&mut String::new()).push(c),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_left_out_as_their_stars_say() {
        let selection = Selection::default().without("core,*.tmp,cache*,*log*,a\\,b").unwrap();
        for (name, left_out) in [
            ("core", true),
            ("core.1", false),
            ("x.tmp", true),
            (".tmp", true),
            ("tmp", false),
            ("cache", true),
            ("cached", true),
            ("my cache", false),
            ("catalogue", true),
            ("log", true),
            ("a,b", true),
            ("a", false),
            ("b", false),
        ] {
            assert_eq!(selection.leaves_out(name.as_bytes()), left_out, "{name}");
        }
        assert!(Selection::default().without("*").unwrap().leaves_out(b"anything"));
        assert!(!Selection::default().without("").unwrap().leaves_out(b"x"));
        let many = |count: usize| Selection::default().without(&vec!["x"; count].join(","));
        assert!(many(32).is_ok());
        for refused in [
            many(33),
            Selection::default().without("a*b"),
            Selection::default().without("**a"),
        ] {
            assert!(matches!(refused, Err(Error::BadParameter { .. })), "{refused:?}");
        }
    }
}
