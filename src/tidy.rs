//! The house rules of this tree as tests: who may import whom, how long a file may grow, where `unsafe` may stand.
//!
//! Rust files are read as text with comments and literals blanked out, which is enough for every rule here and needs no
//! parser. A rule that has exceptions keeps them in a table next to it, each with its reason; to break a rule is to
//! edit that table in a commit that says why.

mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use source::{children, item_end, line, sources, top, walk, without_tests, words};

/// Who may import whom; `cli` may import everything but `nbd::plugin`.
const IMPORTS: &[(&str, &[&str])] = &[
    ("storage", &[]),
    ("series", &["storage"]),
    ("raid", &["storage"]),
    ("tape", &["storage"]),
    ("dump", &["tape", "storage"]),
    ("mount", &["series"]),
    ("tapefs", &["dump", "mount"]),
    ("nbd", &["raid"]),
    ("controller", &["series", "raid", "dump", "tape", "nbd", "storage"]),
    ("console", &["controller"]),
];

/// Layers that know nothing of the faces over them.
const ENGINES: &[&str] = &["series", "raid", "tape", "dump"];

/// What an engine never names: its faces, the terminal, the clock.
const FOREIGN_TO_ENGINES: &[&str] = &[
    "fuser",
    "nbdkit",
    "clap",
    "stdout",
    "stderr",
    "SystemTime::now",
    "Instant::now",
];

/// Files that may name `fuser`, by the start of their path.
const FUSER_FILES: &[&str] = &[
    "src/mount/adapter",
    "src/mount/session",
    "src/tapefs/adapter",
    "src/tapefs/session",
];

/// Files that may hold `unsafe`, and why.
const UNSAFE_FILES: &[(&str, &str)] = &[
    (
        "src/nbd/plugin/table.rs",
        "nbdkit's table of a plugin, its functions and its handles, which are C's",
    ),
    (
        "src/nbd/queue.rs",
        "the call that asks a socket what is left in it, which has no safe form",
    ),
    (
        "src/raid/array/lent.rs",
        "a slice lent to other threads for the time of a request, which waits until they have let go",
    ),
    (
        "src/raid/parity/avx2.rs",
        "intrinsics of AVX2 and GFNI, which have no safe form",
    ),
    (
        "src/raid/parity/avx512.rs",
        "intrinsics of AVX-512 and GFNI, which have no safe form",
    ),
    (
        "src/raid/parity/kernel.rs",
        "calls functions compiled for instructions that the processor was asked for",
    ),
    (
        "src/raid/parity/vector.rs",
        "loads and stores vectors in the midst of byte buffers",
    ),
    (
        "src/storage/guard.rs",
        "shared mappings of files, and the signal handler that survives their truncation",
    ),
    (
        "src/storage/guard/tests.rs",
        "slices of such mappings, to see what a truncation does to them",
    ),
    (
        "src/series/chunk/reader.rs",
        "a slice of a mapping, for reading without a copy; the chunk's count bounds it",
    ),
];

/// Names that say nothing about what a module holds.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "misc", "helpers", "helper", "shared", "manager",
];

/// Capability rows that tests must quote: those of the time series (T44 without its upload target), of the arrays, and of
/// the dumps.
const CAPABILITIES: &[(char, std::ops::RangeInclusive<u32>)] = &[
    ('T', 1..=44),
    ('R', 1..=63),
    ('D', 1..=26),
    ('D', 28..=65),
    ('D', 70..=72),
];

/// A file holds fewer lines than this, its tests aside.
const FILE_LINES: usize = 500;
/// A function holds fewer lines than this.
const FUNCTION_LINES: usize = 70;

/// Fails with one line a finding.
fn none(findings: Vec<String>, rule: &str) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

#[test]
fn layers_import_only_what_the_table_allows() {
    let allowed: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| !source.test) {
        let Some(layer) = source.layer() else { continue };
        let code = source.shipped();
        if layer == "cli" && code.contains("nbd::plugin") {
            findings.push(format!("{} names nbd::plugin", source.path));
        }
        let Some(allowed) = allowed.get(layer) else { continue };
        for name in children(&code, "crate") {
            if name != layer && !allowed.contains(&name.as_str()) {
                findings.push(format!("{} imports {name}", source.path));
            }
        }
        let depth = source.path.matches('/').count() - usize::from(source.path.ends_with("/mod.rs"));
        if code.contains(&"super::".repeat(depth)) {
            findings.push(format!("{} climbs out of its layer; write crate::", source.path));
        }
    }
    none(findings, "imports outside the table of DESIGN.md");
}

#[test]
fn engines_know_no_face_no_terminal_and_no_clock() {
    let mut findings = Vec::new();
    for source in sources() {
        let layer = source.layer().unwrap_or_default();
        let code = source.shipped();
        for word in FOREIGN_TO_ENGINES.iter().filter(|_| ENGINES.contains(&layer)) {
            findings.extend(words(&code, word).map(|at| format!("{}:{} {word}", source.path, line(&code, at))));
        }
        let thin = FUSER_FILES.iter().any(|start| source.path.starts_with(start));
        if !thin && !code.is_empty() {
            findings.extend(words(&code, "fuser").map(|at| format!("{}:{} fuser", source.path, line(&code, at))));
        }
    }
    none(findings, "named where it does not belong");
}

#[test]
fn files_and_functions_stay_short() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| !source.test) {
        let code = source.shipped();
        let lines = source.text.lines().count() - without_tests(&source.code).1;
        if lines >= FILE_LINES {
            findings.push(format!("{} has {lines} lines", source.path));
        }
        let functions = words(&code, "fn").filter(|at| code[at + 2..].starts_with(' '));
        for at in functions {
            let lines = code[at..item_end(&code, at)].lines().count();
            if lines >= FUNCTION_LINES {
                findings.push(format!(
                    "{}:{} is a function of {lines} lines",
                    source.path,
                    line(&code, at)
                ));
            }
        }
    }
    none(findings, "too long");
}

#[test]
fn every_file_says_what_it_is() {
    let mut findings = Vec::new();
    for source in sources() {
        let header = source.text.lines().take_while(|line| line.starts_with("//!")).count();
        if header < 3 && !source.path.ends_with("tests.rs") && !source.path.contains("/tests/") {
            findings.push(format!("{} has a header of {header} lines", source.path));
        }
    }
    none(findings, "module headers of fewer than 3 lines");
}

/// Only tests may take all of the module that they test, and a library's prelude, as the lint of clippy has it.
#[test]
fn nothing_is_imported_by_glob() {
    let mut findings = Vec::new();
    for source in sources() {
        let shipped = source.shipped();
        for (at, _) in source.code.match_indices("::*") {
            let tested = shipped.as_bytes().get(at) != Some(&b':');
            let taken = ["super", "prelude"]
                .iter()
                .any(|module| source.code[..at].ends_with(module));
            if !(tested && taken) {
                findings.push(format!("{}:{}", source.path, line(&source.code, at)));
            }
        }
    }
    none(findings, "glob imports");
}

#[test]
fn unsafe_stands_only_where_the_table_says() {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources() {
        let lines: Vec<usize> = words(&source.code, "unsafe").map(|at| line(&source.code, at)).collect();
        if UNSAFE_FILES.iter().any(|(path, _)| *path == source.path) {
            if !lines.is_empty() {
                seen.insert(source.path.clone());
            }
        } else {
            findings.extend(lines.iter().map(|line| format!("{}:{line}", source.path)));
        }
    }
    for (path, reason) in UNSAFE_FILES {
        assert!(!reason.is_empty());
        if !seen.contains(*path) {
            findings.push(format!("{path} is in the table but holds none"));
        }
    }
    none(findings, "unsafe code");
}

#[test]
fn errors_are_named_and_only_the_output_prints() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/")) {
        let code = source.shipped();
        let mut forbid = |word: &str| {
            findings.extend(words(&code, word).map(|at| format!("{}:{} {word}", source.path, line(&code, at))));
        };
        ["Other(String)", "Other(Box", "Other(anyhow", "todo!", "unimplemented!"]
            .iter()
            .for_each(|word| forbid(word));
        if source.path != "src/cli/output.rs" {
            ["print!", "println!", "eprint!", "eprintln!", "dbg!"]
                .iter()
                .for_each(|word| forbid(word));
        }
    }
    none(findings, "unnamed errors, unfinished code or stray printing");
}

/// `tools/check` counts what the one function for it says; a line printed by hand would pass for a test that ran.
#[test]
fn tests_skip_through_the_one_function() {
    let word = ["SKIPPED", ":"].concat();
    let skips = |source: &source::Source| source.text.contains(&format!("\"{word}"));
    let found = sources()
        .into_iter()
        .filter(|source| skips(source) && source.path != "mount-tests/peer.rs");
    none(
        found.map(|source| source.path).collect(),
        "skips that tools/check does not see",
    );
}

#[test]
fn modules_are_named_for_what_they_hold() {
    let mut findings = Vec::new();
    for source in sources() {
        let path = source.path.trim_end_matches(".rs").to_owned();
        if path.split('/').any(|part| EMPTY_NAMES.contains(&part)) {
            findings.push(source.path);
        }
    }
    none(findings, "names that say nothing");
}

#[test]
fn every_image_is_explained_and_tested() {
    let tests: String = sources().iter().map(|source| source.text.as_str()).collect();
    let images = top().join("images");
    let mut findings = Vec::new();
    let mut cases = 0;
    for folder in ["series", "raid", "tape", "damaged/series", "damaged/tape"] {
        let readme = fs::read_to_string(images.join(folder).join("README.md")).unwrap_or_default();
        for entry in fs::read_dir(images.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name == "README.md" {
                continue;
            }
            cases += 1;
            if !readme.contains(&format!("`{name}`")) {
                findings.push(format!("images/{folder}/README.md does not list `{name}`"));
            }
            if !tests.contains(&format!("\"{name}\"")) {
                findings.push(format!("no test names \"{name}\" of images/{folder}"));
            }
        }
    }
    assert!(cases > 10, "the images were not found");
    none(findings, "images");
}

/// Ids of capabilities in the doc comments of the test functions of `text`.
fn quoted(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut docs, mut test) = (String::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            docs.push_str(doc);
        } else if line.starts_with('#') {
            test |= line == "#[test]";
        } else {
            if test {
                found.extend(
                    docs.split(|c: char| !c.is_alphanumeric())
                        .filter(|word| is_capability(word))
                        .map(str::to_owned),
                );
            }
            (docs, test) = (String::new(), false);
        }
    }
    found
}

fn is_capability(word: &str) -> bool {
    word.len() == 3 && word.starts_with(['T', 'R', 'D']) && word[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[test]
fn every_capability_is_quoted_by_a_test() {
    let quoted: BTreeSet<String> = sources().iter().flat_map(|source| quoted(&source.text)).collect();
    let wanted = CAPABILITIES
        .iter()
        .flat_map(|(letter, numbers)| numbers.clone().map(move |number| format!("{letter}{number:02}")));
    none(
        wanted.filter(|id| !quoted.contains(id)).collect(),
        "capabilities that no test quotes",
    );
}

/// True where `text` names a file under `place`, one of a machine's own top folders.
fn names_place(text: &str, place: &str) -> bool {
    text.match_indices(place).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|c| c.is_whitespace() || "\"'`=(:".contains(c))
    })
}

#[test]
fn nothing_names_the_machine_it_was_made_on() {
    let places = ["work", "home", "root", "tmp/wt"].map(|folder| format!("/{folder}/"));
    let mut paths = Vec::new();
    for folder in ["src", "mount-tests", "tools", ".ci", "images"] {
        walk(&top().join(folder), &|path| path.is_file(), &mut paths);
    }
    paths.extend(["README.md", "Cargo.toml"].map(|name| top().join(name)));
    let mut findings = Vec::new();
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let named = places.iter().filter(|place| names_place(&text, place));
        findings.extend(named.map(|place| format!("{}: {place}", path.display())));
    }
    none(findings, "paths of one machine");
}

#[test]
fn only_the_docs_of_tests_quote_capabilities() {
    let found = quoted("/// T01, R02.\n#[test]\nfn a() {}\n/// T03\nfn b() {}");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["R02", "T01"]);
}
