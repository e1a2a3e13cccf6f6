//! Linux md as a peer: `mdadm` on this machine, and the kernel's md under User Mode Linux.
//!
//! `tools/peers/md/run.py` boots the kernel; each boot takes about two seconds, so a test puts many arrays into one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::peer::{skip, top};

/// Where Debian's packages put what is needed, and which package it is.
const NEEDED: [(&str, &str); 4] = [
    ("/usr/bin/linux.uml", "user-mode-linux"),
    ("/usr/bin/busybox", "busybox-static"),
    ("/usr/sbin/mdadm", "mdadm"),
    ("/usr/bin/python3", "python3"),
];

/// `mdadm` on this machine, which reads plain image files.
pub struct Mdadm(PathBuf);

impl Mdadm {
    /// The peer, or a line that says that it is missing.
    pub fn find() -> Option<Self> {
        let (path, package) = NEEDED[2];
        if Path::new(path).exists() {
            return Some(Self(PathBuf::from(path)));
        }
        skip(&format!("peer mdadm (Debian package {package})"));
        None
    }

    /// What it says to `arguments`; the status is not looked at, for it is 1 where a member has no superblock.
    pub fn say(&self, arguments: &[&str], image: &Path) -> String {
        let output = Command::new(&self.0).args(arguments).arg(image).output().unwrap();
        said(&output)
    }

    /// `mdadm --examine`.
    pub fn examine(&self, image: &Path) -> Examined {
        Examined::parse(&self.say(&["--examine"], image))
    }
}

/// The kernel's md.
pub struct Kernel(());

impl Kernel {
    /// The peer, or a line that says what is missing.
    pub fn find() -> Option<Self> {
        let missing = NEEDED.iter().find(|(path, _)| !Path::new(path).exists());
        if let Some((_, package)) = missing {
            skip(&format!(
                "peer md of Linux under User Mode Linux (Debian package {package})"
            ));
            return None;
        }
        Some(Self(()))
    }

    /// Runs a shell script in the guest, in the directory `work`, with `images` as `/dev/ubda` and so on; it must
    /// succeed. Returns what it printed.
    pub fn run(&self, work: &Path, script: &str, images: &[PathBuf]) -> String {
        let path = work.join("script");
        fs::write(&path, script).unwrap();
        let mut command = Command::new(top().join("tools/peers/md/run.py"));
        let output = command
            .arg("--work")
            .arg(work)
            .arg(&path)
            .args(images)
            .output()
            .unwrap();
        let text = said(&output);
        assert!(output.status.success(), "{}:\n{text}", output.status);
        text
    }
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    texts.concat()
}

/// What `mdadm --examine` says of one member: `Label : value` lines.
#[derive(Debug)]
pub struct Examined(Vec<(String, String)>);

impl Examined {
    /// Takes the lines of one member.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(" : "));
        Self(
            pairs
                .map(|(label, value)| (label.trim().to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    /// Takes the lines of many members, each under its own heading.
    pub fn parse_all(text: &str) -> Vec<Self> {
        let mut found: Vec<String> = Vec::new();
        for line in text.lines() {
            if line.starts_with('/') {
                found.push(String::new());
            }
            if let Some(member) = found.last_mut() {
                member.push_str(line);
                member.push('\n');
            }
        }
        found.iter().map(|member| Self::parse(member)).collect()
    }

    /// Value of a label.
    pub fn get(&self, label: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(name, _)| name == label);
        pair.map(|(_, value)| value.as_str())
    }

    /// First word of the value of a label that has to be there.
    pub fn word(&self, label: &str) -> &str {
        let value = self.get(label).unwrap_or_else(|| panic!("no {label} in {self:?}"));
        value.split_whitespace().next().unwrap_or_default()
    }

    /// The same as a number.
    pub fn number(&self, label: &str) -> u64 {
        self.word(label).parse().unwrap()
    }
}
