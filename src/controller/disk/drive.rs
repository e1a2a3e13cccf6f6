//! The health of a real drive, as smartmontools' `smartctl` tells it in JSON.
//!
//! It is asked only where somebody looks, never by the data path: a drive that hangs holds up nobody but the asker, and him
//! for [`PATIENCE`] at most. A drive that sleeps is not woken.

use std::{
    io::{self, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, bounded};
use serde_json::Value;

/// The program of smartmontools.
const PROGRAM: &str = "smartctl";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer.
const ANSWER_MAX_BYTES: u64 = 4 << 20;
/// Bits of its exit code that tell of the drive: it fails, or has failed, or logged errors; see smartctl(8).
const DOUBTS: [(u64, &str); 5] = [
    (1 << 3, "the drive says that it is failing"),
    (
        1 << 4,
        "an attribute is at or below its threshold: the drive will fail soon",
    ),
    (1 << 5, "an attribute was at or below its threshold at some time"),
    (1 << 6, "the drive has logged errors"),
    (1 << 7, "a self-test of the drive found errors"),
];

/// What a drive says of itself; what it does not say is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drive {
    /// Name of its device: `nvme0n1`.
    pub name: String,
    /// Whether it thinks that it is well.
    pub passed: Option<bool>,
    /// Its temperature, in degrees Celsius.
    pub temperature_c: Option<u64>,
    /// Time in service, in hours.
    pub power_on_hours: Option<u64>,
    /// Share of its endurance that is used, in percent; more than 100 is possible.
    pub percentage_used: Option<u64>,
    /// Media and data integrity errors.
    pub media_errors: Option<u64>,
    /// Bytes that were written to it.
    pub written_bytes: Option<u64>,
    /// What is doubtful about it.
    pub doubts: Vec<String>,
    /// Why it could not be asked for all of it.
    pub trouble: Option<String>,
}

impl Drive {
    /// Asks the drive of a device name, as `/sys/block` has it; none where there is no `smartctl`.
    pub fn ask(name: &str) -> Option<Self> {
        let device = Path::new("/dev").join(name.replace('!', "/"));
        let mut command = Command::new(PROGRAM);
        command
            .args(["--json", "--nocheck=standby", "--health", "--attributes"])
            .arg(device);
        match answer(command) {
            Ok(answer) => Some(Self::told(name, &answer)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(Self {
                name: name.to_owned(),
                trouble: Some(format!("{PROGRAM}: {error}")),
                ..Self::default()
            }),
        }
    }

    /// What an answer of `smartctl --json` says; nothing in it is trusted to be there.
    fn told(name: &str, answer: &[u8]) -> Self {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let nvme = &answer["nvme_smart_health_information_log"];
        let status = answer["smartctl"]["exit_status"].as_u64().unwrap_or(0);
        let messages = answer["smartctl"]["messages"].as_array().into_iter().flatten();
        let messages = messages.filter(|message| message["severity"] == "error");
        let messages: Vec<&str> = messages.filter_map(|message| message["string"].as_str()).collect();
        let doubts = DOUBTS.iter().filter(|(bit, _)| status & bit != 0);
        let units = nvme["data_units_written"].as_u64();
        Self {
            name: name.to_owned(),
            passed: answer["smart_status"]["passed"].as_bool(),
            temperature_c: answer["temperature"]["current"].as_u64(),
            power_on_hours: answer["power_on_time"]["hours"].as_u64(),
            percentage_used: nvme["percentage_used"].as_u64(),
            media_errors: nvme["media_errors"].as_u64(),
            written_bytes: units.and_then(|units| units.checked_mul(super::smart::DATA_UNIT_BYTES)),
            doubts: doubts.map(|(_, text)| (*text).to_owned()).collect(),
            trouble: (!messages.is_empty()).then(|| messages.join("; ")),
        }
    }
}

/// What a program prints, within limits of time and length.
fn answer(mut command: Command) -> io::Result<Vec<u8>> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    let Some(pipe) = child.stdout.take() else {
        return Err(io::Error::other("it has no output"));
    };
    let (done, waits) = bounded(1);
    thread::Builder::new().name("drive".to_owned()).spawn(move || {
        let mut answer = Vec::new();
        let read = pipe.take(ANSWER_MAX_BYTES).read_to_end(&mut answer);
        // Nobody waits any more where it took too long.
        let _ = done.send(read.map(|_| answer));
    })?;
    let answer = match waits.recv_timeout(PATIENCE) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("its output cannot be read")),
    };
    end(child);
    answer
}

/// Ends a program. One that hangs in the kernel is left to end by itself.
fn end(mut child: Child) {
    // It has ended already where it answered.
    let _ = child.kill();
    let reaper = thread::Builder::new().name("drive".to_owned());
    // Without a thread it stays a zombie until this process ends.
    let _ = reaper.spawn(move || child.wait());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R46: an answer for an NVMe drive, in the form of smartmontools 7.3.
    #[test]
    fn an_answer_is_read() {
        let answer = br#"{"json_format_version": [1, 0],
            "smartctl": {"version": [7, 3], "argv": ["smartctl"], "exit_status": 8},
            "device": {"name": "/dev/nvme0n1", "type": "nvme", "protocol": "NVMe"},
            "smart_status": {"passed": false, "nvme": {"value": 4}},
            "nvme_smart_health_information_log": {"critical_warning": 4, "temperature": 41, "available_spare": 9,
                "available_spare_threshold": 10, "percentage_used": 103, "data_units_read": 1000,
                "data_units_written": 2000, "media_errors": 3, "num_err_log_entries": 5},
            "temperature": {"current": 41}, "power_on_time": {"hours": 12345}}"#;
        let expected = Drive {
            name: "nvme0n1".to_owned(),
            passed: Some(false),
            temperature_c: Some(41),
            power_on_hours: Some(12345),
            percentage_used: Some(103),
            media_errors: Some(3),
            written_bytes: Some(2000 * 512_000),
            doubts: vec!["the drive says that it is failing".to_owned()],
            trouble: None,
        };
        assert_eq!(Drive::told("nvme0n1", answer), expected);
    }

    #[test]
    fn an_answer_of_nonsense_says_nothing() {
        for answer in [
            &b""[..],
            b"[]",
            b"{\"smartctl\": 7}",
            b"{\"smartctl\": {\"messages\": [{\"severity\": \"error\"}]}}",
        ] {
            let nothing = Drive {
                name: "sda".to_owned(),
                ..Drive::default()
            };
            assert_eq!(Drive::told("sda", answer), nothing);
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_told_apart() {
        let missing = answer(Command::new("headstack-has-no-such-program"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
        let said = answer(Command::new("pwd")).unwrap();
        assert!(said.starts_with(b"/"));
    }
}
