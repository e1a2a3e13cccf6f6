//! A scenario: faults that come by themselves when so many requests were made, so that a rehearsal can be repeated.
//!
//! A text of lines; `#` begins a comment. Time is counted in requests to all disks since the scenario began, so the same
//! requests meet the same faults, however fast the machine is. Random choices come from the seed.
//!
//! ```text
//! seed 7
//! after 1000 disk1.img bad-sector@random+4K
//! after 5000 disk2.img pull
//! after 9000 disk2.img insert
//! after 9500 random slow:20
//! ```

use super::faults::Fault;
use crate::storage::size;

/// Steps of a scenario at most.
const STEPS_MAX: usize = 100_000;

/// What is done to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It gets a fault.
    Inject(Fault),
    /// It gets bad sectors of so many bytes, somewhere.
    InjectSomewhere {
        /// How many.
        length_bytes: u64,
    },
    /// It is unplugged.
    Pull,
    /// It is plugged in.
    Insert,
    /// It loses its faults.
    Heal,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Requests after which it is due.
    pub after: u64,
    /// Name of the disk; none for a random one.
    pub disk: Option<String>,
    /// What is done.
    pub deed: Deed,
}

/// Steps in the order in which they are due, and the seed of what is random.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scenario {
    /// Seed.
    pub seed: u64,
    /// Steps.
    pub steps: Vec<Step>,
}

/// A line that is no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// [`BadLine`] for the first line that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        let mut scenario = Self::default();
        for (line, written) in (1..).zip(text.lines()) {
            let bad = |reason: &str| BadLine {
                line,
                reason: reason.to_owned(),
            };
            let code = written.split('#').next().unwrap_or_default();
            let words: Vec<&str> = code.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                ["seed", seed] => scenario.seed = seed.parse().map_err(|_| bad("a seed is a number"))?,
                ["after", count, disk, deed] if scenario.steps.len() < STEPS_MAX => {
                    let after = count.parse().map_err(|_| bad("after takes a number of requests"))?;
                    let disk = Some(*disk).filter(|disk| *disk != "random").map(str::to_owned);
                    let deed = deed_of(deed).ok_or_else(|| bad("no such fault; nor pull, insert or heal"))?;
                    scenario.steps.push(Step { after, disk, deed });
                }
                _ => return Err(bad("not 'seed N' and not 'after REQUESTS DISK FAULT'")),
            }
        }
        scenario.steps.sort_by_key(|step| step.after);
        Ok(scenario)
    }
}

fn deed_of(word: &str) -> Option<Deed> {
    match word {
        "pull" => Some(Deed::Pull),
        "insert" => Some(Deed::Insert),
        "heal" => Some(Deed::Heal),
        _ => match word.strip_prefix("bad-sector@random") {
            Some("") => Some(Deed::InjectSomewhere { length_bytes: 4096 }),
            Some(length) => {
                let length_bytes = size::parse(length.strip_prefix('+')?).ok()?;
                Some(Deed::InjectSomewhere { length_bytes })
            }
            None => word.parse().ok().map(Deed::Inject),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_read_in_the_order_of_their_steps() {
        let text = "# a bad day\nseed 7\nafter 20 b.img pull # gone\n\nafter 10 random bad-sector@random+4K\nafter 30 b.img hang\n";
        let scenario = Scenario::parse(text).unwrap();
        assert_eq!(scenario.seed, 7);
        let deeds: Vec<_> = scenario
            .steps
            .iter()
            .map(|step| (step.after, step.disk.as_deref(), step.deed))
            .collect();
        assert_eq!(
            deeds,
            [
                (10, None, Deed::InjectSomewhere { length_bytes: 4096 }),
                (20, Some("b.img"), Deed::Pull),
                (30, Some("b.img"), Deed::Inject(Fault::Hang)),
            ]
        );
        for (text, line) in [
            ("seed x", 1),
            ("\nafter 1 a.img", 2),
            ("after x a.img pull", 1),
            ("after 1 a.img burn", 1),
        ] {
            assert_eq!(Scenario::parse(text).unwrap_err().line, line, "{text:?}");
        }
    }
}
