//! The facts of a store in Prometheus' text format: for `headstack status --metrics` and whoever asks the socket.
//!
//! Made of the same facts as the status, so that both say the same.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::disk::smart::ATTRIBUTES;
use crate::raid::health::ArrayState;

/// The text of a store's status.
pub fn text(status: &Map<String, Value>) -> String {
    let mut text = Text(String::new());
    let list = |key: &str| status.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let (arrays, disks) = (list("arrays"), list("disks"));
    let whole = |key: &str| status.get(key).and_then(Value::as_u64).unwrap_or(0);
    text.family("up_seconds", "gauge", "Seconds since the controller began.");
    text.sample("up_seconds", &[], whole("seconds"));
    text.family("spares", "gauge", "Disks in the spare pool.");
    text.sample("spares", &[], list("spares").len() as u64);
    text.family("arrays_not_started", "gauge", "Arrays that cannot be started.");
    text.sample("arrays_not_started", &[], list("not_started").len() as u64);
    text.family("array_state", "gauge", "1 for the state that an array is in.");
    for array in &arrays {
        for state in ArrayState::ALL {
            let is = array["state"].as_str() == Some(state.name());
            text.sample(
                "array_state",
                &[("array", name(array)), ("state", state.name())],
                u64::from(is),
            );
        }
    }
    text.family("array_size_bytes", "gauge", "Size of an array.");
    for array in &arrays {
        text.sample(
            "array_size_bytes",
            &[("array", name(array))],
            number(&array["size_bytes"]),
        );
    }
    text.family("array_missing_members", "gauge", "Members that an array misses.");
    for array in &arrays {
        let members = array["members"].as_array().into_iter().flatten();
        let missing = members.filter(|member| member["standing"] == "missing").count();
        text.sample("array_missing_members", &[("array", name(array))], missing as u64);
    }
    for (metric, key, help) in [
        (
            "array_work_done_bytes",
            "done_bytes",
            "How far the work on an array is.",
        ),
        ("array_work_bytes", "whole_bytes", "All of that work."),
        ("array_work_bytes_per_second", "bytes_per_second", "How fast it is."),
    ] {
        text.family(metric, "gauge", help);
        for array in arrays.iter().filter(|array| array["work"]["whole_bytes"].is_u64()) {
            let work = &array["work"];
            let kind = work["kind"].as_str().unwrap_or_default();
            text.sample(metric, &[("array", name(array)), ("work", kind)], number(&work[key]));
        }
    }
    text.family("disk_pulled", "gauge", "1 for a disk that is not plugged in.");
    for disk in &disks {
        text.sample(
            "disk_pulled",
            &[("disk", name(disk))],
            u64::from(disk["pulled"] == true),
        );
    }
    for attribute in ATTRIBUTES {
        let metric = format!("disk_{attribute}_total");
        text.family(&metric, "counter", "Of the disk's health, over all of its life.");
        for disk in &disks {
            text.sample(&metric, &[("disk", name(disk))], number(&disk["smart"][attribute]));
        }
    }
    text.0
}

fn name(thing: &Value) -> &str {
    thing["name"].as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// A text that grows.
struct Text(String);

impl Text {
    fn family(&mut self, metric: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(
            self.0,
            "# HELP headstack_{metric} {help}\n# TYPE headstack_{metric} {kind}\n"
        );
    }

    fn sample(&mut self, metric: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{}\"", escaped(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.0, "headstack_{metric}{labels} {value}");
    }
}

/// The value of a label; names of images and arrays can hold anything.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_their_labels_whatever_is_in_them() {
        let status = serde_json::json!({
            "seconds": 7,
            "spares": ["x"],
            "arrays": [{
                "name": "r\"5\\\n", "state": "Rebuilding", "size_bytes": 4096,
                "members": [{"standing": "missing"}, {"standing": "in sync"}],
                "work": {"kind": "rebuild", "done_bytes": 1, "whole_bytes": 2, "bytes_per_second": null},
            }],
            "disks": [{"name": "d", "pulled": true, "smart": {"media_errors": 3}}],
        });
        let Value::Object(status) = status else { unreachable!() };
        let text = text(&status);
        for line in [
            "headstack_up_seconds 7",
            "headstack_spares 1",
            "headstack_array_state{array=\"r\\\"5\\\\\\n\",state=\"Rebuilding\"} 1",
            "headstack_array_state{array=\"r\\\"5\\\\\\n\",state=\"Normal\"} 0",
            "headstack_array_missing_members{array=\"r\\\"5\\\\\\n\"} 1",
            "headstack_array_work_bytes{array=\"r\\\"5\\\\\\n\",work=\"rebuild\"} 2",
            "headstack_disk_pulled{disk=\"d\"} 1",
            "headstack_disk_media_errors_total{disk=\"d\"} 3",
            "# TYPE headstack_disk_media_errors_total counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
    }
}
