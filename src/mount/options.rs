//! What `-o` says: the mount's own options and those that mount(8) passes on from the command line or fstab.
//!
//! Parsing only; [`super::kernel`] hands the kernel's share of them to mount(2), the file system reads the rest.

use std::{fmt, str::FromStr};

/// How `raw` and `text` of a growing series are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LiveRead {
    /// Past the page cache: every read sees the newest entries.
    #[default]
    Direct,
    /// Through the page cache, which each append invalidates: faster for tools with small buffers.
    Cached,
}

/// Options of one mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Nothing can be written; the database is opened for reading.
    pub read_only: bool,
    /// Users other than the one who mounts may look in.
    pub allow_other: bool,
    /// Files can be opened for writing without `O_APPEND`; writes must still be at the exact end.
    pub lax_append: bool,
    /// How growing files are read.
    pub live_read: LiveRead,
    /// rmdir of a series with entries deletes it.
    pub allow_delete: bool,
    /// `.snapshot` is not listed in the root either.
    pub hide_snapshots: bool,
    /// Owner of every file; the mounting user where none is given.
    pub uid: Option<u32>,
    /// Group of every file; the mounting user's where none is given.
    pub gid: Option<u32>,
    /// Permission bits of files; those that cannot be written lose their `w` bits.
    pub file_mode: u16,
    /// Permission bits of directories.
    pub dir_mode: u16,
    /// Bits taken from both modes.
    pub umask: u16,
    /// Device nodes work (the mount never makes any).
    pub dev: bool,
    /// Set-user-id bits work (the mount never stores any).
    pub suid: bool,
    /// Files can be executed.
    pub exec: bool,
    /// Source that /proc/mounts shows; the database's path where none is given.
    pub source: Option<String>,
    /// Others in this process write to the database too; it stays open when the mount ends. No option says so.
    pub shared: bool,
    /// Threads that serve requests; at least 4, and one a core, where none is given.
    pub threads: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_only: false,
            allow_other: false,
            lax_append: false,
            live_read: LiveRead::Direct,
            allow_delete: false,
            hide_snapshots: false,
            uid: None,
            gid: None,
            file_mode: 0o644,
            dir_mode: 0o755,
            umask: 0,
            dev: false,
            suid: false,
            exec: true,
            source: None,
            shared: false,
            threads: None,
        }
    }
}

/// An option that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No such option.
    #[error("mount option {option:?} is unknown; known are {known}", known = Known)]
    Unknown {
        /// The option as given.
        option: String,
    },
    /// The option's value is missing or cannot be read.
    #[error("mount option {option:?}: {expected}")]
    Value {
        /// The option as given.
        option: String,
        /// What it takes.
        expected: &'static str,
    },
}

/// The mount's own options, for messages and the manual.
const OWN: &[(&str, &str)] = &[
    ("allow_other", "let other users look in"),
    (
        "lax-append",
        "let programs that do not open with O_APPEND write at the exact end",
    ),
    (
        "live-read=direct|cached",
        "read growing files past or through the page cache",
    ),
    ("allow-delete", "let rmdir delete a series that has entries"),
    ("hide-snapshots", "leave .snapshot out of the root's listing too"),
    ("uid=N", "owner of all files"),
    ("gid=N", "group of all files"),
    ("file-mode=OCTAL", "permissions of files"),
    ("dir-mode=OCTAL", "permissions of directories"),
    ("umask=OCTAL", "permissions that nobody has"),
    ("fsname=NAME", "source that /proc/mounts shows"),
    ("threads=N", "threads that serve requests"),
];

/// Options of mount(8) and fstab that change nothing here.
const PASSED_ON: &[&str] = &[
    "defaults",
    "_netdev",
    "nofail",
    "auto",
    "noauto",
    "user",
    "users",
    "nouser",
    "owner",
    "group",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "lazytime",
    "nolazytime",
    "sync",
    "async",
    "dirsync",
    "default_permissions",
];

struct Known;

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = OWN.iter().map(|(name, _)| *name).collect();
        write!(f, "ro, rw, [no]dev, [no]suid, [no]exec, {}", names.join(", "))
    }
}

impl Options {
    /// The mount's own options, each with what it does.
    pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
        OWN.iter().copied()
    }

    /// Takes over one argument of `-o`: options with commas between them; later ones win.
    ///
    /// # Errors
    /// The first option that is unknown or has a value that cannot be read; the options before it are taken.
    pub fn apply(&mut self, list: &str) -> Result<(), OptionError> {
        list.split(',')
            .filter(|option| !option.is_empty())
            .try_for_each(|option| self.apply_one(option))
    }

    fn apply_one(&mut self, option: &str) -> Result<(), OptionError> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        match (name, value) {
            ("ro", None) => self.read_only = true,
            ("rw", None) => self.read_only = false,
            ("dev" | "nodev", None) => self.dev = name == "dev",
            ("suid" | "nosuid", None) => self.suid = name == "suid",
            ("exec" | "noexec", None) => self.exec = name == "exec",
            ("allow_other", None) => self.allow_other = true,
            ("lax-append", None) => self.lax_append = true,
            ("allow-delete", None) => self.allow_delete = true,
            ("hide-snapshots", None) => self.hide_snapshots = true,
            ("live-read", Some("direct")) => self.live_read = LiveRead::Direct,
            ("live-read", Some("cached")) => self.live_read = LiveRead::Cached,
            ("live-read", _) => return Err(bad(option, "it takes direct or cached")),
            ("uid", _) => self.uid = Some(number(option, value, "it takes a number of a user")?),
            ("gid", _) => self.gid = Some(number(option, value, "it takes a number of a group")?),
            ("file-mode", _) => self.file_mode = octal(option, value)?,
            ("dir-mode", _) => self.dir_mode = octal(option, value)?,
            ("umask", _) => self.umask = octal(option, value)?,
            ("fsname", Some(source)) => self.source = Some(source.to_owned()),
            ("threads", _) => self.threads = Some(threads(option, value)?),
            ("user" | "comment", Some(_)) => {}
            ("subtype", Some("headstack")) => {}
            (passed_on, None) if PASSED_ON.contains(&passed_on) => {}
            (private, _) if private.starts_with("x-") || private.starts_with("X-") => {}
            _ => {
                return Err(OptionError::Unknown {
                    option: option.to_owned(),
                });
            }
        }
        Ok(())
    }
}

impl FromStr for Options {
    type Err = OptionError;

    fn from_str(list: &str) -> Result<Self, OptionError> {
        let mut options = Self::default();
        options.apply(list)?;
        Ok(options)
    }
}

fn bad(option: &str, expected: &'static str) -> OptionError {
    OptionError::Value {
        option: option.to_owned(),
        expected,
    }
}

fn number<T: FromStr>(option: &str, value: Option<&str>, expected: &'static str) -> Result<T, OptionError> {
    value.and_then(|v| v.parse().ok()).ok_or_else(|| bad(option, expected))
}

fn threads(option: &str, value: Option<&str>) -> Result<usize, OptionError> {
    let expected = "it takes a number from 1 to 256";
    number(option, value, expected).and_then(|n| match n {
        1..=256 => Ok(n),
        _ => Err(bad(option, expected)),
    })
}

fn octal(option: &str, value: Option<&str>) -> Result<u16, OptionError> {
    value
        .and_then(|v| u16::from_str_radix(v, 8).ok())
        .filter(|mode| mode & !0o777 == 0)
        .ok_or_else(|| bad(option, "it takes permissions in octal, at most 777"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_options_are_taken() {
        let options: Options =
            "ro,allow_other,lax-append,live-read=cached,allow-delete,uid=3,gid=4,umask=027,fsname=/d"
                .parse()
                .unwrap();
        assert!(options.read_only && options.allow_other && options.lax_append && options.allow_delete);
        assert_eq!((options.uid, options.gid, options.umask), (Some(3), Some(4), 0o27));
        assert_eq!(options.live_read, LiveRead::Cached);
        assert_eq!(options.source.as_deref(), Some("/d"));
    }

    #[test]
    fn options_of_mount_and_fstab_are_let_pass() {
        let passed =
            "rw,dev,suid,nosuid,nodev,noexec,_netdev,nofail,user=anna,default_permissions,x-systemd.automount,";
        let options: Options = passed.parse().unwrap();
        let expected = Options {
            exec: false,
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn later_options_win_over_earlier_ones() {
        let mut options = Options::default();
        options.apply("ro,dev").unwrap();
        options.apply("rw,nodev").unwrap();
        assert!(!options.read_only && !options.dev);
    }

    #[test]
    fn an_unknown_option_is_named() {
        for bad in ["rw,frob", "frob", "frob=1,ro", "ro=1", "allow_other=yes", "lax_append"] {
            let error = bad.parse::<Options>().unwrap_err().to_string();
            let name = bad
                .split(',')
                .find(|o| o.contains("frob") || o.contains('=') || *o == "lax_append")
                .unwrap();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for bad in [
            "uid=-1",
            "uid",
            "umask=8",
            "file-mode=1777",
            "threads=0",
            "threads=999",
            "live-read",
            "live-read=x",
        ] {
            assert!(
                matches!(bad.parse::<Options>(), Err(OptionError::Value { .. })),
                "{bad}"
            );
        }
    }
}
