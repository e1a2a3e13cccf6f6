//! The health of a disk in the form in which a drive tells it: the SMART / Health Information page of NVMe.
//!
//! Source: NVM Express Base Specification, log page 02h. 512 bytes, little endian; the wide counters have 16 bytes.
//!
//! | bytes | field | here |
//! |---|---|---|
//! | 0 | critical warning, bit 2: reliability degraded | set once a medium error was seen |
//! | 1-2 | composite temperature, K | 0: an image has none |
//! | 3, 4 | available spare and its threshold, % | 100 and 10 |
//! | 5 | percentage used | 0: an image does not wear |
//! | 32-47, 48-63 | data units read, written: 1000 times 512 bytes, rounded up | from counters |
//! | 64-79, 80-95 | host read, write commands | from counters |
//! | 112-127 | power cycles | starts of the controller with this disk |
//! | 128-143 | power on hours | time in service |
//! | 144-159 | unsafe shutdowns | 0: not told from others |
//! | 160-175 | media and data integrity errors | reads that failed |
//! | 176-191 | error information log entries | reads, writes and flushes that failed |

use serde_json::{Map, Value};

use super::counters::Counts;

/// Length of the page.
pub const PAGE_BYTES: usize = 512;
/// Bytes of a data unit.
pub const DATA_UNIT_BYTES: u64 = 512_000;

/// Names of the attributes, as nvme-cli has them.
pub const ATTRIBUTES: [&str; 8] = [
    "data_units_read",
    "data_units_written",
    "host_read_commands",
    "host_write_commands",
    "power_cycles",
    "power_on_hours",
    "media_errors",
    "num_err_log_entries",
];

/// The health of a disk over all of its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Smart {
    /// Data units read.
    pub units_read: u64,
    /// Data units written.
    pub units_written: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Starts.
    pub power_cycles: u64,
    /// Time in service, in hours.
    pub power_on_hours: u64,
    /// Reads that failed.
    pub media_errors: u64,
    /// All that failed.
    pub error_entries: u64,
}

impl Smart {
    /// Bytes written in all: the drive's TBW.
    pub fn written_bytes(&self) -> u64 {
        self.units_written.saturating_mul(DATA_UNIT_BYTES)
    }

    /// Value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<u64> {
        let values = [
            self.units_read,
            self.units_written,
            self.reads,
            self.writes,
            self.power_cycles,
            self.power_on_hours,
            self.media_errors,
            self.error_entries,
        ];
        let at = ATTRIBUTES.iter().position(|known| *known == name)?;
        Some(values[at])
    }

    /// All attributes by their names.
    pub fn facts(&self) -> Map<String, Value> {
        let fact = |name: &&str| ((*name).to_owned(), self.attribute(name).into());
        ATTRIBUTES.iter().map(fact).collect()
    }

    /// The same after more was asked of the disk, and after it was in service for more seconds.
    #[must_use]
    pub fn after(&self, counts: &Counts, seconds: u64) -> Self {
        let units = |bytes: u64| bytes.div_ceil(DATA_UNIT_BYTES);
        Self {
            units_read: self.units_read.saturating_add(units(counts.read_bytes)),
            units_written: self.units_written.saturating_add(units(counts.written_bytes)),
            reads: self.reads.saturating_add(counts.reads),
            writes: self.writes.saturating_add(counts.writes),
            power_on_hours: self.power_on_hours.saturating_add(seconds / 3600),
            media_errors: self.media_errors.saturating_add(counts.read_errors),
            error_entries: self
                .error_entries
                .saturating_add(counts.read_errors)
                .saturating_add(counts.write_errors),
            ..*self
        }
    }

    /// The page.
    pub fn encode(&self) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        page[0] = if self.media_errors > 0 { 1 << 2 } else { 0 };
        page[3] = 100;
        page[4] = 10;
        for (start, value) in [
            (32, self.units_read),
            (48, self.units_written),
            (64, self.reads),
            (80, self.writes),
            (112, self.power_cycles),
            (128, self.power_on_hours),
            (160, self.media_errors),
            (176, self.error_entries),
        ] {
            page[start..start + 8].copy_from_slice(&value.to_le_bytes());
        }
        page
    }

    /// The health in a page; none where it is no page. Counters beyond 64 bits are the largest.
    pub fn decode(page: &[u8]) -> Option<Self> {
        let page: &[u8; PAGE_BYTES] = page.try_into().ok()?;
        let wide = |start: usize| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&page[start..start + 16]);
            u64::try_from(u128::from_le_bytes(bytes)).unwrap_or(u64::MAX)
        };
        Some(Self {
            units_read: wide(32),
            units_written: wide(48),
            reads: wide(64),
            writes: wide(80),
            power_cycles: wide(112),
            power_on_hours: wide(128),
            media_errors: wide(160),
            error_entries: wide(176),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R46: the fields are where the specification has them.
    #[test]
    fn the_page_is_that_of_the_specification() {
        let smart = Smart {
            units_read: 0x0102,
            units_written: 3,
            reads: 4,
            writes: 5,
            power_cycles: 6,
            power_on_hours: 7,
            media_errors: 9,
            error_entries: 10,
        };
        let mut expected = [0_u8; 512];
        for (at, byte) in [
            (0, 4),
            (3, 100),
            (4, 10),
            (32, 2),
            (33, 1),
            (48, 3),
            (64, 4),
            (80, 5),
            (112, 6),
            (128, 7),
            (160, 9),
            (176, 10),
        ] {
            expected[at] = byte;
        }
        assert_eq!(smart.encode(), expected);
        assert_eq!(Smart::decode(&expected), Some(smart));
        assert_eq!(Smart::decode(&expected[1..]), None);
        expected[60] = 1;
        assert_eq!(Smart::decode(&expected).unwrap().units_written, u64::MAX);
    }

    /// R47: bytes written are data units of 512,000 bytes, rounded up.
    #[test]
    fn bytes_written_are_told_in_data_units() {
        let counts = Counts {
            written_bytes: 1 << 30,
            writes: 3,
            ..Counts::default()
        };
        let smart = Smart::default().after(&counts, 7300);
        assert_eq!((smart.units_written, smart.writes, smart.power_on_hours), (2098, 3, 2));
        assert!(smart.written_bytes() >= 1 << 30);
    }
}
