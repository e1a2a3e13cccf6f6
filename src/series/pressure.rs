//! When memory is short, chunks that no one needs are closed: reads the kernel's word on it and decides when. No clock,
//! no thread, no I/O: whoever runs the engine reads the file, tells the time and does the closing.
//!
//! Source: the kernel's Documentation/accounting/psi.rst. `/proc/pressure/memory`, and `memory.pressure` of a cgroup v2:
//!
//! ```text
//! some avg10=0.00 avg60=0.00 avg300=0.00 total=0
//! full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//! ```
//!
//! Averages are the percentage of the last 10, 60 and 300 seconds in which some task, or all of them at once, waited for
//! memory; `total` is microseconds. Lines and fields in other places, or of other names, are passed over.

/// File that says how the whole machine fares.
pub const PRESSURE_FILE: &str = "/proc/pressure/memory";

/// How short memory is, as the reference library counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Severity {
    /// 0: there is enough.
    #[default]
    Calm,
    /// 1: chunks that no one needs are to be closed.
    Pressing,
}

/// What a pressure file says of the last ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    /// Time in which some task waited for memory, in hundredths of a percent: 0 to 10000.
    pub some_hundredths: u32,
}

/// Decides when chunks are to be closed.
#[derive(Debug, Clone)]
pub struct PressureManager {
    interval_ms: u64,
    last_ms: Option<u64>,
}

impl Pressure {
    /// Reads a pressure file; none where it does not say.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::split_ascii_whitespace);
        let mut fields = lines.find_map(|mut fields| (fields.next() == Some("some")).then_some(fields))?;
        let percent = fields.find_map(|field| field.strip_prefix("avg10="))?;
        let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "00"));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if fraction.len() != 2 || !digits(whole) || !digits(fraction) {
            return None;
        }
        let some_hundredths = whole
            .parse::<u32>()
            .ok()?
            .checked_mul(100)?
            .checked_add(fraction.parse().ok()?)?;
        (some_hundredths <= 10_000).then_some(Self { some_hundredths })
    }

    /// How bad that is where `pressing_percent` of the time is too much.
    pub fn severity(self, pressing_percent: u32) -> Severity {
        if u64::from(self.some_hundredths) >= u64::from(pressing_percent) * 100 {
            Severity::Pressing
        } else {
            Severity::Calm
        }
    }
}

impl PressureManager {
    /// Milliseconds between two closings, the reference library's 30 s.
    pub const INTERVAL_MS: u64 = 30_000;
    /// Percentage of the time from which on memory is short.
    pub const PRESSING_PERCENT: u32 = 10;

    /// A manager that asks for a closing every `interval_ms` at most.
    pub fn new(interval_ms: u64) -> Self {
        Self {
            interval_ms,
            last_ms: None,
        }
    }

    /// Takes note of how memory is at a time, on a clock that starts anywhere; true where chunks that no one needs are
    /// to be closed now: at once when memory gets short, then once an interval while it is. A clock that goes backwards
    /// begins a new interval.
    pub fn observe(&mut self, now_ms: u64, severity: Severity) -> bool {
        let due = match self.last_ms.map(|last_ms| now_ms.checked_sub(last_ms)) {
            None => true,
            Some(Some(passed_ms)) => passed_ms >= self.interval_ms,
            Some(None) => {
                self.last_ms = Some(now_ms);
                false
            }
        };
        let close = due && severity >= Severity::Pressing;
        if close {
            self.last_ms = Some(now_ms);
        }
        close
    }
}

impl Default for PressureManager {
    fn default() -> Self {
        Self::new(Self::INTERVAL_MS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, proptest};

    use super::{Pressure, PressureManager, Severity};

    fn hundredths(text: &str) -> Option<u32> {
        Pressure::parse(text).map(|pressure| pressure.some_hundredths)
    }

    #[test]
    fn texts_of_the_kernel_are_read() {
        let machine =
            "some avg10=0.00 avg60=0.12 avg300=3.45 total=123456\nfull avg10=9.99 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(hundredths(machine), Some(0));
        let cgroup = "some avg10=12.34 avg60=1.00 avg300=0.00 total=18446744073709551615\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(hundredths(cgroup), Some(1234));
        assert_eq!(
            hundredths("full avg10=1.00 avg60=0.00\nsome avg60=3.00 avg10=100.00"),
            Some(10_000)
        );
    }

    #[test]
    fn other_texts_say_nothing() {
        for text in [
            "",
            "some",
            "some avg10=",
            "some avg10=.",
            "some avg10=1.5",
            "some avg10=-1.00",
            "some avg10=+1.00",
            "some avg10=100.01",
            "some avg10=99999999999.00",
            "some avg10=4294967295.00",
            "full avg10=1.00",
            "something avg10=1.00",
            "some avg60=1.00",
        ] {
            assert_eq!(hundredths(text), None, "{text:?}");
        }
    }

    #[test]
    fn severity_begins_at_the_given_percentage() {
        let severity = |some_hundredths, percent| Pressure { some_hundredths }.severity(percent);
        assert_eq!(severity(999, 10), Severity::Calm);
        assert_eq!(severity(1000, 10), Severity::Pressing);
        assert_eq!(severity(0, 0), Severity::Pressing);
        assert_eq!(severity(10_000, u32::MAX), Severity::Calm);
        assert!(Severity::Calm < Severity::Pressing);
    }

    #[test]
    fn chunks_are_closed_at_once_and_every_thirty_seconds_while_memory_is_short() {
        let mut manager = PressureManager::default();
        // A check every 5 s for two minutes; memory is short from 20 s on, but for one check at 65 s.
        let closings: Vec<u64> = (0..=120)
            .step_by(5)
            .filter(|&second| {
                let short = second >= 20 && second != 65;
                let severity = if short { Severity::Pressing } else { Severity::Calm };
                manager.observe(second * 1000, severity)
            })
            .collect();
        assert_eq!(closings, [20, 50, 80, 110]);
    }

    #[test]
    fn checks_between_two_intervals_close_nothing_and_a_late_one_closes_once() {
        let mut manager = PressureManager::new(1000);
        let mut observe = |now_ms| manager.observe(now_ms, Severity::Pressing);
        assert!(observe(7));
        assert!(!observe(1006));
        assert!(observe(1007));
        assert!(observe(50_000));
        assert!(!observe(50_999));
    }

    #[test]
    fn clock_that_goes_backwards_begins_a_new_interval() {
        let mut manager = PressureManager::new(1000);
        assert!(manager.observe(1_000_000, Severity::Pressing));
        assert!(!manager.observe(500, Severity::Pressing));
        assert!(!manager.observe(1499, Severity::Pressing));
        assert!(manager.observe(1500, Severity::Pressing));
    }

    #[test]
    fn interval_of_nothing_closes_at_every_check() {
        let mut manager = PressureManager::new(0);
        assert!(manager.observe(5, Severity::Pressing) && manager.observe(5, Severity::Pressing));
        assert!(!manager.observe(5, Severity::Calm));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}|(some|full) avg10=[0-9.]{0,12} .{0,5}") {
            prop_assert!(hundredths(&text).is_none_or(|hundredths| hundredths <= 10_000));
        }

        #[test]
        fn closings_are_an_interval_apart(steps in prop::collection::vec((0..5000_u64, any::<bool>()), 0..100)) {
            let mut manager = PressureManager::new(2500);
            let (mut now_ms, mut last_ms) = (0, None);
            for (step_ms, short) in steps {
                now_ms += step_ms;
                let severity = if short { Severity::Pressing } else { Severity::Calm };
                let expected = short && last_ms.is_none_or(|last_ms| now_ms - last_ms >= 2500);
                prop_assert!(manager.observe(now_ms, severity) == expected);
                if expected {
                    last_ms = Some(now_ms);
                }
            }
        }
    }
}
