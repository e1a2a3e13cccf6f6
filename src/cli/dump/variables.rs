//! What backup applications tell a dump as NAME=VALUE: with `--env` on the line, or a few names in the environment.
//!
//! Names and values are those of filers; yes is Y or T, no is N or F. An option of the line goes before what is told so.

use anyhow::Result;

use crate::{
    cli::exit::{Code, Failure},
    dump::{context::beginning_of, selection::Selection},
};

/// Names that are known.
const NAMES: &[&str] = &[
    "DMP_NAME",
    "EXCLUDE",
    "HIST",
    "IGNORE_CTIME",
    "LEVEL",
    "MOVER_RECORD_SIZE",
    "NO_ACLS",
    "TYPE",
    "UPDATE",
];
/// Those that say what is left out of a copy.
const NAMES_OF_COPY: &[&str] = &["EXCLUDE", "NO_ACLS"];
/// Those that count in the environment too, where others may mean anything.
const IN_ENVIRONMENT: &[&str] = &["HIST", "LEVEL", "MOVER_RECORD_SIZE"];
/// Longest record that movers of NDMP take, in bytes.
const RECORD_MAX_BYTES: u32 = 256 << 10;

/// What was told.
#[derive(Debug, Default)]
pub struct Variables {
    told: Vec<(String, String)>,
}

/// Splits an option of the line; the name must be known.
///
/// # Errors
/// What is wrong with it.
pub fn variable(text: &str) -> Result<(String, String), String> {
    split(text, NAMES)
}

/// The same of a dump that is no more than the half of a copy.
///
/// # Errors
/// As [`variable`].
pub fn variable_of_copy(text: &str) -> Result<(String, String), String> {
    split(text, NAMES_OF_COPY)
}

fn split(text: &str, names: &[&str]) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is needed")?;
    if names.contains(&name) {
        Ok((name.to_owned(), value.to_owned()))
    } else {
        Err(format!("{name} is not known; {} are", names.join(", ")))
    }
}

/// Yes or no, as backup applications say it.
///
/// # Errors
/// It is neither.
pub fn is_yes(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_uppercase().as_str() {
        "Y" | "T" => Ok(true),
        "N" | "F" => Ok(false),
        _ => Err(refused(name, value, "Y or N")),
    }
}

fn refused(name: &str, value: &str, remedy: &str) -> anyhow::Error {
    Failure::new(Code::Usage, format!("{name}={value}"), remedy).into()
}

impl Variables {
    /// What the line and the environment tell; the line goes first.
    ///
    /// # Errors
    /// A dump of another type is asked for.
    pub fn of(line: &[(String, String)]) -> Result<Self> {
        let mut told = line.to_vec();
        let said = |name: &&str| Some(((*name).to_owned(), std::env::var(name).ok()?));
        told.extend(
            IN_ENVIRONMENT
                .iter()
                .filter_map(said)
                .filter(|(_, value)| !value.is_empty()),
        );
        let variables = Self { told };
        match variables.get("TYPE") {
            Some(kind) if !kind.eq_ignore_ascii_case("dump") => Err(refused("TYPE", kind, "TYPE=dump")),
            _ => Ok(variables),
        }
    }

    /// The value of a name, where one was told.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.told.iter().find(|(told, _)| told == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What is left out, with what the dump of this identity keeps of itself: that changes while it runs, also where the
    /// tree holds it.
    ///
    /// # Errors
    /// Names or words that make no sense.
    pub fn selection(&self, identity: &[u8; 16]) -> Result<Selection> {
        let names = self.get("EXCLUDE").unwrap_or_default();
        let mut selection = Selection::default().without(names)?.without_own(beginning_of(identity));
        selection.no_lists = self.flag("NO_ACLS")?.unwrap_or(false);
        selection.ignore_inode_changes = self.flag("IGNORE_CTIME")?.unwrap_or(false);
        Ok(selection)
    }

    /// Yes or no, where one was told.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        self.get(name).map(|value| is_yes(name, value)).transpose()
    }

    /// The level, where one was told.
    ///
    /// # Errors
    /// It is no number.
    pub fn level(&self) -> Result<Option<u8>> {
        self.get("LEVEL")
            .map(|value| value.parse().map_err(|_| refused("LEVEL", value, "0 to 31")))
            .transpose()
    }

    /// The blocking factor that the length of records makes, where one was told.
    ///
    /// # Errors
    /// It is no whole number of tape blocks, or more than movers take.
    pub fn factor(&self) -> Result<Option<u32>> {
        let Some(value) = self.get("MOVER_RECORD_SIZE") else {
            return Ok(None);
        };
        match value.parse() {
            Ok(bytes @ 1..=RECORD_MAX_BYTES) if bytes % 1024 == 0 => Ok(Some(bytes / 1024)),
            _ => Err(refused(
                "MOVER_RECORD_SIZE",
                value,
                "4096 to 262144 bytes, a multiple of 1024",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Variables> {
        let line: Vec<_> = text.split_whitespace().map(|word| variable(word).unwrap()).collect();
        Variables::of(&line)
    }

    /// D37: the length of records is told in bytes, at most 256 KiB.
    #[test]
    fn the_length_of_records_makes_the_blocking_factor() {
        for (bytes, factor) in [("4096", 4), ("10240", 10), ("262144", 256)] {
            let variables = told(&format!("MOVER_RECORD_SIZE={bytes}")).unwrap();
            assert_eq!(variables.factor().unwrap(), Some(factor));
        }
        for refused in ["262145", "0", "5000", "263168", "-1", "x"] {
            let variables = told(&format!("MOVER_RECORD_SIZE={refused}")).unwrap();
            let error = variables.factor().unwrap_err();
            assert_eq!(crate::cli::exit::Report::of(&error).code, Code::Usage, "{refused}");
        }
    }

    #[test]
    fn words_that_make_no_sense_are_refused() {
        assert!(variable("HIST").is_err());
        assert!(variable("HISTORY=Y").unwrap_err().contains("EXCLUDE"));
        assert!(told("TYPE=smtape").is_err());
        let variables = told("TYPE=dump NO_ACLS=t UPDATE=n HIST=maybe LEVEL=40").unwrap();
        assert_eq!(variables.flag("NO_ACLS").unwrap(), Some(true));
        assert_eq!(variables.flag("UPDATE").unwrap(), Some(false));
        assert_eq!(variables.flag("IGNORE_CTIME").unwrap(), None);
        assert!(variables.flag("HIST").is_err());
        assert_eq!(variables.level().unwrap(), Some(40));
    }
}
