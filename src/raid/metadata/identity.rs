//! Names of arrays and members: md's UUIDs, GPT's GUIDs, array names, and md's times.
//!
//! Values only; where they stand on disk is the business of the format files. Nothing here makes up an identity or asks
//! a clock: both are handed in.

use std::fmt;

/// Identity of an array or a member: 16 bytes, printed in their order as four groups of md.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Reads 32 hexadecimal digits, with colons or dashes anywhere between them.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !b":-".contains(byte)).collect();
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// True where no byte is set, which no array and no member has.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index % 4 == 0 && index > 0 { ":" } else { "" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Identity as GPT stores it: the first three groups little endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// Reads the usual form, `A19D880F-05FC-4D3B-A006-743F0F84911E`.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::parse(text).map(|uuid| Self(swap(uuid.0)))
    }

    /// True for the GUID of an unused entry.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 16]
    }
}

/// Turns the bytes of the printed order into those of the disk, and back.
const fn swap(b: [u8; 16]) -> [u8; 16] {
    [
        b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15],
    ]
}

impl Guid {
    /// GUID of the number that the printed form stands for, for constants.
    pub const fn from_printed(number: u128) -> Self {
        Self(swap(number.to_be_bytes()))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in swap(self.0).iter().enumerate() {
            let dash = if [4, 6, 8, 10].contains(&index) { "-" } else { "" };
            write!(f, "{dash}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Name of an array: at most 32 bytes, `host:name` or a bare name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Name(pub [u8; 32]);

impl Name {
    /// Name of at most 32 bytes without a zero byte; none where it does not fit.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        (!text.contains('\0')).then_some(Self(bytes))
    }

    /// Bytes before the first zero; from a disk they need not be UTF-8.
    pub fn bytes(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// Part after `host:`, in characters that can be shown.
    pub fn short(&self) -> String {
        let text = self.to_string();
        text.split_once(':')
            .map_or_else(|| text.clone(), |(_, short)| short.to_owned())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in String::from_utf8_lossy(self.bytes()).chars() {
            fmt::Write::write_char(f, if c.is_control() { '\u{fffd}' } else { c })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Instant as md stores it: 40 bits of seconds since 1970, then 24 bits of microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    const SECOND_BITS: u32 = 40;

    /// Instant of `seconds` since 1970 and `microseconds`; both keep only the bits that md has for them.
    pub fn new(seconds: u64, microseconds: u32) -> Self {
        let seconds = seconds & ((1 << Self::SECOND_BITS) - 1);
        Self(seconds | (u64::from(microseconds) << Self::SECOND_BITS))
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.0 & ((1 << Self::SECOND_BITS) - 1)
    }

    /// Microseconds; a foreign writer may leave any 24 bits.
    pub fn microseconds(self) -> u64 {
        self.0 >> Self::SECOND_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_print_as_md_and_gpt_do() {
        let uuid = Uuid::parse("ca82f23c:a1c3dffe:b0afb9ae:f77091c2").unwrap();
        assert_eq!(uuid.0[..4], [0xca, 0x82, 0xf2, 0x3c]);
        assert_eq!(uuid.to_string(), "ca82f23c:a1c3dffe:b0afb9ae:f77091c2");
        let guid = Guid::parse("A19D880F-05FC-4D3B-A006-743F0F84911E").unwrap();
        assert_eq!(guid.0[..8], [0x0f, 0x88, 0x9d, 0xa1, 0xfc, 0x05, 0x3b, 0x4d]);
        assert_eq!(guid.to_string(), "A19D880F-05FC-4D3B-A006-743F0F84911E");
        assert_eq!(guid, Guid::from_printed(0xA19D_880F_05FC_4D3B_A006_743F_0F84_911E));
        assert_eq!(Uuid::parse("ca82"), None);
        assert_eq!(Uuid::parse("zz82f23c:a1c3dffe:b0afb9ae:f77091c2"), None);
    }

    #[test]
    fn names_are_shown_safely() {
        assert_eq!(Name::new("host:a name").unwrap().short(), "a name");
        assert_eq!(Name::new("bare").unwrap().short(), "bare");
        assert_eq!(Name::new(&"x".repeat(33)), None);
        assert_eq!(Name::new("a\0b"), None);
        assert_eq!(Name([0x1b; 32]).to_string(), "\u{fffd}".repeat(32));
        assert_eq!(Name([0xff; 32]).bytes().len(), 32);
    }

    #[test]
    fn times_keep_seconds_and_microseconds_apart() {
        let time = Time::new(1_795_231_283, 999_999);
        assert_eq!((time.seconds(), time.microseconds()), (1_795_231_283, 999_999));
        assert_eq!(Time::new(u64::MAX, 0).microseconds(), 0);
    }
}
