//! What an operator can choose, with the defaults of the controller's guide, and what a store remembers of it.
//!
//! It is [kept](super::kept) in the store's state. Where that is damaged the defaults hold, the controller says so, and the
//! next change puts the damaged file aside.

use std::{collections::BTreeSet, fmt, num::NonZeroU16, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    error::{Error, Kind, Result},
    kept::Kept,
    profile::Profile,
    store::Store,
};
use crate::nbd::MEMBER_TIMEOUT;

const KEPT: Kept = Kept {
    name: "settings",
    what: "the settings",
};
/// Port of the pages where nothing else is chosen: the guide's.
const PORT: NonZeroU16 = NonZeroU16::new(7402).unwrap();

/// How much of the time a rebuild may take while the array is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Hardly any.
    Lowest,
    /// Little.
    Low,
    /// Some.
    #[default]
    Medium,
    /// Most of it.
    High,
    /// All but what keeps the array alive.
    Highest,
}

impl Priority {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Lowest, Self::Low, Self::Medium, Self::High, Self::Highest];

    /// Share of the time, in percent, that work on redundancy takes while somebody uses the array.
    pub const fn share(self) -> u8 {
        match self {
            Self::Lowest => 5,
            Self::Low => 15,
            Self::Medium => 30,
            Self::High => 60,
            Self::Highest => 90,
        }
    }
}

/// What an operator can choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A member that is put back, or a spare, is rebuilt without being asked for.
    pub auto_rebuild: bool,
    /// A rebuild goes on past sectors that nobody can give, and notes that they are lost.
    pub continue_on_error: bool,
    /// Share of a rebuild.
    pub rebuild_priority: Priority,
    /// How long a member may take for a request before it counts as failed, in seconds, for arrays that are started from
    /// now on; 0 for as long as it likes.
    pub member_timeout_s: u64,
    /// What limits the arrays that are made.
    pub profile: Profile,
    /// Port of the pages.
    pub port: NonZeroU16,
    /// The pages are served to this host only.
    pub restrict_to_localhost: bool,
    /// Directory on which the store's series are mounted while the controller runs.
    pub mount: Option<PathBuf>,
    /// Program that is run for each event, with the arguments that mdadm gives: event, array, member.
    pub hook: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auto_rebuild: true,
            continue_on_error: true,
            rebuild_priority: Priority::default(),
            member_timeout_s: MEMBER_TIMEOUT.as_secs(),
            profile: Profile::default(),
            port: PORT,
            restrict_to_localhost: true,
            mount: None,
            hook: None,
        }
    }
}

impl Settings {
    /// The same with another value under a key; a word or a JSON value.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a key that there is not, and a value that it cannot have.
    pub fn with(&self, key: &str, value: &str) -> Result<Self> {
        let wrong = |reason: String| {
            let remedy = "'headstack setting ls' for the keys and their values";
            Error::refused(Kind::Usage, format!("{key} cannot be {value:?}: {reason}"), remedy)
        };
        let Ok(Value::Object(mut map)) = serde_json::to_value(self) else {
            return Err(wrong("it cannot be written down".to_owned()));
        };
        let Some(place) = map.get_mut(key) else {
            let message = format!("there is no setting {key}");
            return Err(Error::refused(
                Kind::Usage,
                message,
                "'headstack setting ls' for all of them",
            ));
        };
        let word = || Value::String(value.to_owned());
        *place = serde_json::from_str(value).unwrap_or_else(|_| word());
        let read = |map: &serde_json::Map<String, Value>| serde_json::from_value(Value::Object(map.clone()));
        read(&map).or_else(|_: serde_json::Error| {
            map.insert(key.to_owned(), word());
            read(&map).map_err(|error| wrong(error.to_string()))
        })
    }
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.to_string() == word);
        known.ok_or_else(|| format!("{word} is no priority; they are lowest, low, medium, high and highest"))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lowest => "lowest",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Highest => "highest",
        })
    }
}

/// All that a store remembers of its operator's wishes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Remembered {
    /// The settings.
    pub settings: Settings,
    /// Names of the images in the spare pool, in the order in which they are taken.
    pub spares: Vec<String>,
    /// UUIDs of the arrays in which a write counts as done when it is durable.
    pub write_through: BTreeSet<String>,
    /// UUIDs of the arrays whose work was stopped and waits until it is asked for.
    pub paused: BTreeSet<String>,
}

impl Remembered {
    /// What a store remembers: the defaults where it is new.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where the file is damaged or of another version; an error of the host.
    pub fn load(store: &Store) -> Result<Self> {
        KEPT.load(store)
    }

    /// Remembers it durably; a file that cannot be used is put aside first.
    ///
    /// # Errors
    /// An error of the host.
    pub fn save(&self, store: &Store) -> Result<()> {
        KEPT.save(store, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R33, R34, R35, R36, R37, R38: the settings of the guide, with its defaults; the password is among the users.
    #[test]
    fn defaults_are_those_of_the_guide() {
        let settings = Settings::default();
        assert!(settings.auto_rebuild && settings.continue_on_error && settings.restrict_to_localhost);
        assert_eq!((settings.port.get(), settings.profile), (7402, Profile::Generic));
        assert_eq!(settings.rebuild_priority.to_string(), "medium");
        let names: Vec<String> = Priority::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["lowest", "low", "medium", "high", "highest"]);
        assert!(Priority::ALL.is_sorted_by_key(|priority| priority.share()));
    }

    #[test]
    fn a_setting_takes_words_and_numbers_and_nothing_else() {
        let settings = Settings::default();
        let changed = settings.with("rebuild_priority", "highest").unwrap();
        assert_eq!(changed.rebuild_priority, Priority::Highest);
        assert_eq!(settings.with("port", "443").unwrap().port.get(), 443);
        assert_eq!(settings.with("profile", "ssd7103").unwrap().profile, Profile::Ssd7103);
        assert!(!settings.with("auto_rebuild", "false").unwrap().auto_rebuild);
        assert_eq!(settings.with("member_timeout_s", "80").unwrap().member_timeout_s, 80);
        assert_eq!(
            settings.with("hook", "/bin/true").unwrap().hook,
            Some("/bin/true".into())
        );
        for (key, value) in [
            ("member_timeout_s", "-1"),
            ("member_timeout_s", "x"),
            ("auto_rebuild", "1"),
            ("port", "0"),
            ("port", "65536"),
            ("restrict_to_localhost", "no"),
            ("profile", "ssd7104"),
            ("rebuild_priority", "top"),
            ("x", "1"),
        ] {
            let refused = settings.with(key, value).unwrap_err();
            assert_eq!(refused.judge().0, Kind::Usage, "{refused}");
        }
    }
}
