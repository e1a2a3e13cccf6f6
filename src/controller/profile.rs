//! What a controller can do: everything, or what a certain card can, so that its guide can be followed to the letter.
//!
//! A profile only limits what is made from now on; arrays that are there are served whatever they are.

use serde::{Deserialize, Serialize};

use super::{
    create::{Creation, words::Kind as Wanted},
    error::{Error, Kind, Result},
};
use crate::raid::geometry::ArrayKind;

/// What limits a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Nothing but what arrays can be.
    #[default]
    Generic,
    /// A card with four M.2 ports of PCIe 3.0 x4: levels 0, 1 and 10, chunks of 128 KiB to 512 KiB, four arrays.
    Ssd7103,
}

/// Levels of the card.
const LEVELS: [ArrayKind; 3] = [ArrayKind::Raid0, ArrayKind::Raid1, ArrayKind::Raid10];
/// Arrays of the card.
const ARRAYS: usize = 4;

impl Profile {
    /// Number of ports; none where there is no end.
    pub const fn ports(self) -> Option<usize> {
        match self {
            Self::Generic => None,
            Self::Ssd7103 => Some(4),
        }
    }

    /// PCIe lanes of a port and the speed of each; none where that is the drive's.
    pub const fn link(self) -> Option<(u32, &'static str)> {
        match self {
            Self::Generic => None,
            Self::Ssd7103 => Some((4, "8.0 GT/s PCIe")),
        }
    }

    /// Looks whether an array can be made where there are `arrays` already. `port_of` gives the port of a disk by the name
    /// of its image, where it has one.
    ///
    /// # Errors
    /// [`Kind::Usage`] names the limit.
    pub fn check(self, wish: &Creation, arrays: usize, port_of: &dyn Fn(&str) -> Option<usize>) -> Result<()> {
        let Some(ports) = self.ports() else { return Ok(()) };
        let refuse = |message: String, remedy: &str| Err(Error::refused(Kind::Usage, message, remedy));
        if !matches!(wish.level, Wanted::Guide(kind) if LEVELS.contains(&kind)) {
            let message = format!("the profile ssd7103 has no {}", wish.level.name());
            return refuse(message, "level 0, 1 or 10, or the setting 'profile generic'");
        }
        if !(128 << 10..=512 << 10).contains(&wish.chunk_bytes) {
            let message = format!("the profile ssd7103 has no chunk of {} bytes", wish.chunk_bytes);
            return refuse(message, "128K, 256K or 512K, or the setting 'profile generic'");
        }
        if arrays >= ARRAYS {
            let message = format!("the profile ssd7103 has {ARRAYS} arrays at most");
            return refuse(
                message,
                "'headstack array delete' first, or the setting 'profile generic'",
            );
        }
        let names = wish.images.iter().chain(&wish.spares);
        let mut names = names.filter_map(|path| path.file_name()?.to_str());
        match names.find(|name| port_of(name).is_some_and(|port| port > ports)) {
            Some(name) => {
                let message =
                    format!("{name}: the profile ssd7103 has {ports} ports, and this disk is at none of them");
                refuse(message, "one of the first disks, or the setting 'profile generic'")
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(level: &str, chunk_kib: u64) -> Creation {
        let wish = serde_json::json!({"level": level, "chunk_bytes": chunk_kib << 10, "images": ["a.img", "e.img"]});
        serde_json::from_value(wish).unwrap()
    }

    /// R01, R08, R20, R23: the limits of the card, each side of each.
    #[test]
    fn the_card_has_its_guides_limits() {
        let port = |name: &str| Some(if name == "a.img" { 1 } else { 4 });
        let allowed = |level, chunk, arrays| Profile::Ssd7103.check(&wish(level, chunk), arrays, &port).is_ok();
        for level in ["0", "1", "10"] {
            assert!(allowed(level, 512, 0), "{level}");
        }
        for level in ["4", "5", "6", "50", "jbod"] {
            assert!(!allowed(level, 512, 0), "{level}");
        }
        assert!(allowed("0", 128, 3));
        for (chunk, arrays) in [(64, 0), (1024, 0), (512, 4)] {
            assert!(!allowed("0", chunk, arrays), "{chunk} {arrays}");
        }
        let refused = Profile::Ssd7103.check(&wish("0", 64), 0, &port).unwrap_err();
        assert_eq!(refused.judge().0, Kind::Usage);
        assert!(Profile::Ssd7103.check(&wish("0", 512), 0, &|_| Some(5)).is_err());
        assert!(Profile::Generic.check(&wish("6", 4), 99, &|_| Some(5)).is_ok());
        assert_eq!(
            (Profile::Ssd7103.ports(), Profile::Ssd7103.link()),
            (Some(4), Some((4, "8.0 GT/s PCIe")))
        );
    }
}
