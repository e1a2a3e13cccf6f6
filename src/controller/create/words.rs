//! The words for levels and layouts that people type, and the numbers that md has for them.
//!
//! Levels are those of the controller guide's table, and RAID 4; layouts have mdadm's names.

use serde::{Deserialize, Serialize};

use crate::raid::{Level, geometry::ArrayKind};

/// What is to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Kind {
    /// An entry of the guide's table.
    Guide(ArrayKind),
    /// Stripes with the parity on the last member, which md has and the guide has not.
    Raid4,
}

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.name().to_owned()
    }
}

impl Kind {
    /// Reads `5`, `raid5`, `RAID 5`, `jbod` or `linear`.
    ///
    /// # Errors
    /// The text is no level.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain: String = text.to_ascii_lowercase().split([' ', '_', '-']).collect();
        let word = plain.strip_prefix("raid").unwrap_or(&plain);
        match word {
            "jbod" | "linear" => Ok(Self::Guide(ArrayKind::Jbod)),
            "0" => Ok(Self::Guide(ArrayKind::Raid0)),
            "1" => Ok(Self::Guide(ArrayKind::Raid1)),
            "4" => Ok(Self::Raid4),
            "5" => Ok(Self::Guide(ArrayKind::Raid5)),
            "6" => Ok(Self::Guide(ArrayKind::Raid6)),
            "10" => Ok(Self::Guide(ArrayKind::Raid10)),
            "50" => Ok(Self::Guide(ArrayKind::Raid50)),
            _ => Err("a level is jbod, 0, 1, 4, 5, 6, 10 or 50; see 'headstack help levels'".to_owned()),
        }
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guide(kind) => kind.name(),
            Self::Raid4 => "RAID 4",
        }
    }

    /// md's level.
    pub fn level(self) -> Level {
        match self {
            Self::Guide(kind) => kind.level(),
            Self::Raid4 => Level::Raid4,
        }
    }

    /// What its members have to be; none where so many can become one.
    pub fn refusal(self, members: usize) -> Option<String> {
        let (allowed, needs) = match self {
            Self::Guide(kind) => (kind.allows(members), kind.needs()),
            Self::Raid4 => (members >= 3, "needs at least 3 members"),
        };
        (!allowed).then(|| format!("{} {needs}, {members} are given", self.name()))
    }

    /// Members' worth of space that so many members have.
    pub fn data_members(self, members: usize) -> u64 {
        let (numerator, denominator) = match self {
            Self::Guide(kind) => kind.usable(members),
            Self::Raid4 => (members - 1, members),
        };
        let worth = (members * numerator / denominator).max(1);
        u64::try_from(worth).unwrap_or(1)
    }

    /// md's number of a layout, and of the usual one where none is given.
    ///
    /// # Errors
    /// The level has no such layout.
    pub fn layout(self, word: Option<&str>) -> Result<u32, String> {
        let Some(word) = word else {
            return Ok(match self {
                Self::Guide(kind) => kind.layout(),
                Self::Raid4 => 0,
            });
        };
        let known = match self.level() {
            Level::Raid0 => raid0(word),
            Level::Raid10 => raid10(word),
            Level::Raid5 => rotating(word),
            Level::Raid6 => rotating(word).or_else(|| raid6(word)),
            Level::Linear | Level::Raid1 | Level::Raid4 => None,
        };
        known.ok_or_else(|| format!("{} has no layout {word}", self.name()))
    }
}

fn raid0(word: &str) -> Option<u32> {
    match word {
        "original" => Some(1),
        "alternate" | "dangerous" => Some(2),
        _ => None,
    }
}

fn rotating(word: &str) -> Option<u32> {
    match word {
        "left-asymmetric" | "la" => Some(0),
        "right-asymmetric" | "ra" => Some(1),
        "left-symmetric" | "ls" | "default" => Some(2),
        "right-symmetric" | "rs" => Some(3),
        "parity-first" => Some(4),
        "parity-last" => Some(5),
        _ => None,
    }
}

fn raid6(word: &str) -> Option<u32> {
    match word {
        "ddf-zero-restart" => Some(8),
        "ddf-N-restart" => Some(9),
        "ddf-N-continue" => Some(10),
        "left-asymmetric-6" => Some(16),
        "right-asymmetric-6" => Some(17),
        "left-symmetric-6" => Some(18),
        "right-symmetric-6" => Some(19),
        "parity-first-6" => Some(20),
        _ => None,
    }
}

/// `n2`, `f2`, `o3`: near, far and offset copies.
fn raid10(word: &str) -> Option<u32> {
    let copies: u32 = word
        .get(1..)?
        .parse()
        .ok()
        .filter(|copies| (2..=255).contains(copies))?;
    match word.as_bytes()[0] {
        b'n' => Some(copies | 1 << 8),
        b'f' => Some(1 | copies << 8),
        b'o' => Some(1 | copies << 8 | 1 << 16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{ArrayKind, Kind};

    #[test]
    fn levels_are_read_in_all_their_spellings() {
        for word in ["5", "raid5", "RAID5", "RAID 5", "raid-5"] {
            assert_eq!(Kind::parse(word), Ok(Kind::Guide(ArrayKind::Raid5)), "{word}");
        }
        assert_eq!(Kind::parse("JBOD"), Ok(Kind::Guide(ArrayKind::Jbod)));
        assert!(Kind::parse("7").is_err());
    }

    /// Numbers of layouts as md's own documents have them.
    #[test]
    fn layouts_have_mds_numbers() {
        let layout = |level: &str, word: &str| Kind::parse(level).unwrap().layout(Some(word));
        assert_eq!(layout("10", "n2"), Ok(0x102));
        assert_eq!(layout("10", "f2"), Ok(0x201));
        assert_eq!(layout("10", "o2"), Ok(0x1_0201));
        assert_eq!(layout("5", "left-symmetric"), Ok(2));
        assert_eq!(layout("6", "ddf-N-continue"), Ok(10));
        assert_eq!(layout("0", "alternate"), Ok(2));
        assert!(layout("1", "n2").is_err());
        assert!(layout("10", "n1").is_err());
        assert!(layout("10", "").is_err());
        assert!(layout("10", "ä2").is_err());
    }
}
