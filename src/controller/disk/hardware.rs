//! The drive that an image is on, as the kernel tells it: what a physical disk's page shows.
//!
//! An image has no revision and no link of its own; what is shown is the drive under its file system, found through
//! `/sys/dev/block`. Where there is none, such as on tmpfs or a network, the fields stay empty.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Drives that are named at most.
const DRIVES_MAX: usize = 64;

/// What is known of a drive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardware {
    /// Names of the drives, as `/sys/block` has them; several under a device that is made of others.
    pub drives: Vec<String>,
    /// Name of its model.
    pub model: Option<String>,
    /// Revision of its firmware.
    pub revision: Option<String>,
    /// PCIe lanes in use.
    pub width: Option<u32>,
    /// Speed of each, as the kernel has it: `8.0 GT/s PCIe`.
    pub speed: Option<String>,
}

impl Hardware {
    /// The drive under the file at `path`.
    pub fn of(path: &Path) -> Self {
        let Ok(metadata) = fs::metadata(path) else {
            return Self::default();
        };
        let device = metadata.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        Self::at(Path::new(&format!("/sys/dev/block/{major}:{minor}")))
    }

    /// The drive of a block device's directory in sysfs.
    fn at(block: &Path) -> Self {
        let Ok(device) = fs::canonicalize(block) else {
            return Self::default();
        };
        // A partition is a directory in its disk's, and that in those of the controller and the slot.
        let above: Vec<PathBuf> = device
            .ancestors()
            .take_while(|path| path.parent().is_some())
            .map(Path::to_path_buf)
            .collect();
        let first = |names: &[&str]| {
            let files = above
                .iter()
                .flat_map(|folder| names.iter().map(move |name| folder.join(name)));
            files.filter_map(|file| text(&file)).next()
        };
        let mut drives = Vec::new();
        name_drives(&device, &mut drives);
        Self {
            drives,
            model: first(&["device/model"]),
            revision: first(&["device/firmware_rev", "device/rev"]),
            width: first(&["current_link_width"]).and_then(|width| width.parse().ok()),
            speed: first(&["current_link_speed"]),
        }
    }
}

/// Adds the names of the drives that a block device is on: its own, its disk's where it is a partition, or those of the
/// devices that it is made of.
fn name_drives(device: &Path, drives: &mut Vec<String>) {
    if device.join("partition").exists() {
        return device.parent().into_iter().for_each(|disk| name_drives(disk, drives));
    }
    let below = fs::read_dir(device.join("slaves")).into_iter().flatten().flatten();
    let below: Vec<PathBuf> = below.filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect();
    let name = device.file_name().map(|name| name.to_string_lossy().into_owned());
    match name.filter(|_| below.is_empty()) {
        Some(name) if !drives.contains(&name) && drives.len() < DRIVES_MAX => drives.push(name),
        Some(_) => {}
        None => below
            .iter()
            .filter(|below| *below != device)
            .for_each(|below| name_drives(below, drives)),
    }
}

/// The words of a small file of the kernel; none where it is not there or says nothing.
fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R31: model, revision, PCIe width and speed are those of the drive, for a partition of it too.
    #[test]
    fn a_drive_is_found_from_its_partition() {
        let place = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let disk = "pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1";
        write("pci0000:00/0000:01:00.0/current_link_width", "4\n");
        write("pci0000:00/0000:01:00.0/current_link_speed", "8.0 GT/s PCIe\n");
        write(&format!("{disk}/device/model"), "Samsung SSD 970 PRO 1TB   \n");
        write(&format!("{disk}/device/firmware_rev"), "1B2QEXP7\n");
        write(&format!("{disk}/nvme0n1p2/partition"), "2\n");
        std::os::unix::fs::symlink(
            place.path().join(format!("{disk}/nvme0n1p2")),
            place.path().join("259:2"),
        )
        .unwrap();
        let made_of_it = place.path().join("virtual/block/dm-0/slaves");
        fs::create_dir_all(&made_of_it).unwrap();
        let disk_itself = place.path().join(disk);
        std::os::unix::fs::symlink(disk_itself.join("nvme0n1p2"), made_of_it.join("nvme0n1p2")).unwrap();
        let expected = Hardware {
            drives: vec!["nvme0n1".to_owned()],
            model: Some("Samsung SSD 970 PRO 1TB".to_owned()),
            revision: Some("1B2QEXP7".to_owned()),
            width: Some(4),
            speed: Some("8.0 GT/s PCIe".to_owned()),
        };
        assert_eq!(Hardware::at(&place.path().join("259:2")), expected);
        assert_eq!(Hardware::at(&place.path().join("259:3")), Hardware::default());
        let mapped = Hardware::at(made_of_it.parent().unwrap());
        assert_eq!(mapped.drives, ["nvme0n1"]);
    }
}
