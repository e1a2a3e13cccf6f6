//! The restore drill: a random sample of the newest dump of a tape is restored into a scratch directory and compared.
//!
//! It proves what a backup is for: that files come back. What comes back is compared with the tree that was dumped, as
//! far as that has not changed since; a file whose size and time are those of the dump has to be the same in every byte.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    run::{document, restored},
    task::Restore,
    verbs::{Course, Verbs},
};

/// Names of one restore, so that its command does not grow too long.
const NAMES_MAX: usize = 200;

/// The newest dump of a tape.
struct Newest {
    /// The tape file that it is in.
    file: u32,
    /// Root of the tree that was dumped.
    root: PathBuf,
}

/// What a comparison found.
#[derive(Default)]
struct Found {
    same: usize,
    changed: usize,
    wrong: Vec<String>,
}

/// Restores and compares; the sentence says how much.
///
/// # Errors
/// What could not be restored, or did not come back as it was.
pub fn drill(tape: &Path, sample: u32, verbs: &Verbs, course: &Course) -> Result<String, String> {
    let newest = newest(tape, verbs, course)?;
    let names = leaves(&listed(tape, &newest, verbs, course)?);
    if names.is_empty() {
        return Err(format!("{}: its newest dump holds no files", tape.display()));
    }
    let chosen = chosen(names, sample);
    // It goes with what was restored into it, also where the drill fails.
    let scratch = Scratch::make(&verbs.state)?;
    let mut found = Found::default();
    for some in chosen.chunks(NAMES_MAX) {
        let restore = Restore {
            tapes: vec![tape.to_path_buf()],
            file: newest.file,
            into: scratch.0.clone(),
            paths: some.to_vec(),
        };
        restored(&restore, verbs, course)?;
        for name in some {
            compare(&scratch.0.join(name), &newest.root.join(name), name, &mut found)?;
        }
    }
    let count = found.same + found.changed + found.wrong.len();
    let place = tape.display();
    if let Some(wrong) = found.wrong.first() {
        return Err(format!(
            "{place}: {} of {count} restored files are not as they were dumped, such as {wrong}",
            found.wrong.len()
        ));
    }
    Ok(format!(
        "{place}: {count} files were restored; {} are the same as they are now, {} changed since the dump",
        found.same, found.changed
    ))
}

/// A directory that is removed with its contents.
struct Scratch(PathBuf);

impl Scratch {
    fn make(state: &Path) -> Result<Self, String> {
        let path = state.join(format!("drill.{:016x}", fastrand::u64(..)));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            log::warn!("{}: {error}", self.0.display());
        }
    }
}

fn newest(tape: &Path, verbs: &Verbs, course: &Course) -> Result<Newest, String> {
    let words: Vec<OsString> = vec!["tape".into(), "ls".into(), "--json".into(), tape.into()];
    let told = document(&verbs.run(&words, course)?)?;
    let files = told["files"].as_array().into_iter().flatten();
    let mut dumps = files.filter_map(|file| {
        let root = Path::new(file["path"].as_str()?).to_path_buf();
        let file = u32::try_from(file["file"].as_u64()?).ok()?;
        Some(Newest { file, root })
    });
    dumps
        .next_back()
        .ok_or_else(|| format!("{}: there is no dump on it", tape.display()))
}

fn listed(tape: &Path, newest: &Newest, verbs: &Verbs, course: &Course) -> Result<Vec<PathBuf>, String> {
    let words: Vec<OsString> = vec![
        "restore".into(),
        "-t".into(),
        "--json".into(),
        "--state".into(),
        verbs.state.clone().into(),
        format!("-s{}", newest.file).into(),
        "-f".into(),
        tape.into(),
    ];
    let told = document(&verbs.run(&words, course)?)?;
    let objects = told["objects"].as_array().into_iter().flatten();
    let name = |object: &Value| {
        let path = Path::new(object["path"].as_str()?);
        Some(path.strip_prefix(".").unwrap_or(path).to_path_buf())
    };
    Ok(objects.filter_map(name).collect())
}

/// The paths that lead to no other one: files, and directories without any. Names that are not text are left out.
fn leaves(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut sorted: Vec<&PathBuf> = paths.iter().filter(|path| !path.as_os_str().is_empty()).collect();
    sorted.sort_unstable();
    let is_leaf = |at: usize| sorted.get(at + 1).is_none_or(|next| !next.starts_with(sorted[at]));
    let whole = |path: &Path| !path.to_string_lossy().contains('\u{fffd}');
    let found = (0..sorted.len()).filter(|at| is_leaf(*at) && whole(sorted[*at]));
    found.map(|at| sorted[at].clone()).collect()
}

/// So many of some names, by chance; all for 0.
fn chosen(mut names: Vec<PathBuf>, sample: u32) -> Vec<PathBuf> {
    fastrand::shuffle(&mut names);
    if sample > 0 {
        names.truncate(sample as usize);
    }
    names
}

/// Compares what came back with what is in the tree now.
fn compare(restored: &Path, now: &Path, name: &Path, found: &mut Found) -> Result<(), String> {
    let Ok(back) = fs::symlink_metadata(restored) else {
        found.wrong.push(format!("{}, which did not come back", name.display()));
        return Ok(());
    };
    if back.is_dir() {
        // One without files; its own times change with its neighbours.
        return Ok(());
    }
    let unchanged = fs::symlink_metadata(now).is_ok_and(|now| {
        let times = back.modified().ok().zip(now.modified().ok());
        now.file_type() == back.file_type() && now.len() == back.len() && times.is_some_and(|(one, other)| one == other)
    });
    if !unchanged {
        found.changed += 1;
        return Ok(());
    }
    let same = match back.file_type() {
        kind if kind.is_file() => same_bytes(restored, now),
        kind if kind.is_symlink() => fs::read_link(restored).and_then(|one| Ok(one == fs::read_link(now)?)),
        _ => Ok(true),
    };
    match same.map_err(|error| format!("{}: {error}", now.display()))? {
        true => found.same += 1,
        false => found.wrong.push(name.display().to_string()),
    }
    Ok(())
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let length = one.read(&mut left)?;
        if length == 0 {
            return Ok(other.read(&mut right[..1])? == 0);
        }
        match other.read_exact(&mut right[..length]) {
            Ok(()) if left[..length] == right[..length] => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_sample_is_of_files_and_has_none_twice() {
        let all = paths(&[
            "",
            "etc",
            "etc/hosts",
            "etc-old",
            "var",
            "var/log",
            "var/log/a",
            "a\u{fffd}",
        ]);
        assert_eq!(leaves(&all), paths(&["etc/hosts", "etc-old", "var/log/a"]));
        let names: Vec<PathBuf> = (0..50).map(|number| PathBuf::from(number.to_string())).collect();
        for (sample, count) in [(0, 50), (7, 7), (50, 50), (99, 50)] {
            let mut some = chosen(names.clone(), sample);
            some.sort_unstable();
            some.dedup();
            assert_eq!(some.len(), count);
        }
    }

    #[test]
    fn files_that_differ_are_found_and_files_that_changed_are_no_fault() {
        let place = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| place.path().join(name));
        fs::write(&one, "abcd").unwrap();
        let check = |text: Option<&str>, keep_time: bool| {
            let _ = fs::remove_file(&other);
            if let Some(text) = text {
                fs::write(&other, text).unwrap();
                let time = fs::metadata(&one).unwrap().modified().unwrap();
                let time = if keep_time {
                    time
                } else {
                    std::time::SystemTime::UNIX_EPOCH
                };
                File::options()
                    .write(true)
                    .open(&other)
                    .unwrap()
                    .set_modified(time)
                    .unwrap();
            }
            let mut found = Found::default();
            compare(&one, &other, Path::new("x"), &mut found).unwrap();
            (found.same, found.changed, found.wrong.len())
        };
        assert_eq!(check(Some("abcd"), true), (1, 0, 0));
        assert_eq!(check(Some("abce"), true), (0, 0, 1));
        assert_eq!(check(Some("abce"), false), (0, 1, 0));
        assert_eq!(check(Some("abc"), true), (0, 1, 0));
        assert_eq!(check(None, true), (0, 1, 0));
    }
}
