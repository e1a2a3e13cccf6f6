//! What the kernel's small text files say.
//!
//! Pure functions over the contents of files in `/proc` and `/sys`, so each is tested on text that this machine does
//! not have. Unknown or missing fields give nothing instead of an error: a report has gaps, it does not fail.

use std::path::{Path, PathBuf};

use serde_json::{Number, Value};

/// Bit of `CAP_SYS_ADMIN` in a capability set.
const CAP_SYS_ADMIN: u32 = 21;

/// A file that holds one number.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Major and minor number of a kernel release.
pub(super) fn version(release: &str) -> Option<(u64, u64)> {
    let mut parts = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// True where `/proc/self/status` shows the capability to mount.
pub(super) fn is_administrator(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    set.is_some_and(|set| set >> CAP_SYS_ADMIN & 1 == 1)
}

/// A field of `/proc/meminfo`, in bytes.
pub(super) fn meminfo_bytes(text: &str, field: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Share of the last ten seconds in which some task waited for memory, in percent.
pub(super) fn pressure_avg10(text: &str) -> Option<Value> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let share: f64 = some
        .split(' ')
        .find_map(|field| field.strip_prefix("avg10="))?
        .parse()
        .ok()?;
    Number::from_f64(share).map(Value::Number)
}

/// Type of the file system that holds `path`, by `/proc/self/mountinfo`.
pub(super) fn file_system(mountinfo: &str, path: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mount_point = PathBuf::from(unescaped(before.split(' ').nth(4)?));
        Some((mount_point, after.split(' ').next()?))
    });
    // Of several mounts on one directory the last one is seen.
    let holds = mounts.filter(|(mount_point, _)| path.starts_with(mount_point));
    holds
        .max_by_key(|(mount_point, _)| mount_point.as_os_str().len())
        .map(|(_, kind)| kind.to_owned())
}

/// Undoes the octal escapes of space, tab, newline and backslash.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (escape, character)| {
            text.replace(escape, character)
        })
}

/// What is doubtful about images on such a file system.
pub(super) fn doubt_about_images(file_system: &str) -> Option<&'static str> {
    match file_system {
        "btrfs" | "zfs" | "bcachefs" => {
            Some("copy on write breaks images up with each write; on btrfs 'chattr +C' the empty directory")
        }
        other => doubt_about(other),
    }
}

/// What is doubtful about a database on such a file system.
pub(super) fn doubt_about(file_system: &str) -> Option<&'static str> {
    match file_system {
        "tmpfs" | "ramfs" | "devtmpfs" => Some("memory only, everything is lost when the machine stops"),
        "btrfs" | "zfs" | "bcachefs" => Some(
            "copy on write moves a chunk's pages at each sync and breaks it up; on btrfs 'chattr +C' the empty directory",
        ),
        "overlay" => Some("a container's layer, which goes with the container; use a volume"),
        "vfat" | "exfat" | "msdos" => Some("no room for all names, and nothing that survives a crash"),
        kind if kind.starts_with("nfs") || kind.starts_with("fuse") => Some(REMOTE),
        "cifs" | "smb3" | "9p" | "ceph" | "virtiofs" => Some(REMOTE),
        _ => None,
    }
}

const REMOTE: &str = "locks and shared memory may not reach other machines; open the database from one only";

#[cfg(test)]
mod tests {
    use super::{doubt_about, file_system, is_administrator, meminfo_bytes, pressure_avg10, version};
    use std::path::Path;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.18.5-1-amd64"), Some((6, 18)));
        assert_eq!(version("6.9-rc1"), Some((6, 9)));
        assert_eq!(version("what"), None);
    }

    #[test]
    fn only_the_capability_to_mount_counts() {
        assert!(is_administrator("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(!is_administrator("CapEff:\t00000000a80425fb\n"));
        assert!(!is_administrator(""));
    }

    /// D64: the size of the machine's memory.
    #[test]
    fn memory_is_told_in_bytes() {
        let text = "MemTotal:       24612340 kB\nMemFree:        1 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(meminfo_bytes(text, "MemTotal"), Some(24_612_340 * 1024));
        assert_eq!(meminfo_bytes(text, "MemAvailable"), Some(23_000_000 * 1024));
        assert_eq!(meminfo_bytes(text, "Mem"), None);
    }

    #[test]
    fn pressure_is_the_share_of_ten_seconds() {
        let text = "some avg10=1.25 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure_avg10(text), Some(1.25.into()));
    }

    #[test]
    fn the_innermost_and_last_mount_holds_a_path() {
        let text = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    2 1 0:30 / /data rw shared:5 - btrfs /dev/sdb rw\n\
                    3 1 0:31 / /data rw - tmpfs none rw\n\
                    4 1 0:32 / /with\\040space rw - nfs4 host:/x rw\n";
        let kind = |path: &str| file_system(text, Path::new(path));
        assert_eq!(kind("/data/db").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/database").as_deref(), Some("ext4"));
        assert_eq!(kind("/with space/db").as_deref(), Some("nfs4"));
        assert!(doubt_about("tmpfs").is_some() && doubt_about("nfs4").is_some() && doubt_about("ext4").is_none());
    }
}
