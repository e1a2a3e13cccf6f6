//! Member images on the command line: how paths become images, and images the arrays that they are members of.
//!
//! An array is found by what its images say, never by their names. Where a verb takes the name of an array, its members
//! are looked for in the images and directories that it was given.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context, Result};

use super::exit::{Code, Failure};
use crate::{
    controller::Store,
    nbd::watch_starts,
    raid::{
        assemble::Image,
        discover::{ArraySet, Contents, Discovery, ImageReport, discover},
        metadata::identity::Time,
    },
    storage::{Access, HostDirectory, natural},
};

/// The image of a path.
///
/// # Errors
/// It does not exist, or its directory cannot be opened.
pub fn image(path: &Path) -> Result<Image> {
    watch_starts();
    Image::at(path).with_context(|| path.display().to_string())
}

/// The image of a path that need not exist yet.
///
/// # Errors
/// Its directory does not exist.
pub fn new_image(path: &Path) -> Result<Image> {
    if path.exists() {
        return image(path);
    }
    let Some(name) = path.file_name() else {
        return Err(Failure::new(
            Code::Usage,
            format!("{} names no file", path.display()),
            "the path of a file",
        )
        .into());
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let directory = fs::canonicalize(parent).with_context(|| parent.display().to_string())?;
    let directory = Arc::new(HostDirectory::open(&directory).with_context(|| directory.display().to_string())?);
    Ok(Image {
        directory,
        name: name.into(),
    })
}

/// Images of paths; a directory stands for the regular files in it, a store for those of its disks.
///
/// # Errors
/// As [`image`], or a directory cannot be read.
pub fn images(paths: &[PathBuf]) -> Result<Vec<Image>> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(image(path)?);
            continue;
        }
        let store = Store::open(path).ok().map(|store| store.disks());
        let path = store.as_ref().unwrap_or(path);
        let place = || path.display().to_string();
        let mut names = Vec::new();
        for entry in fs::read_dir(path).with_context(place)? {
            let entry = entry.with_context(place)?;
            let path = entry.path();
            if entry.file_type().with_context(place)?.is_file() && !is_journal(&path) {
                names.push(path);
            }
        }
        names.sort_by(|one, other| natural(one.as_os_str().as_encoded_bytes(), other.as_os_str().as_encoded_bytes()));
        for name in names {
            found.push(image(&name)?);
        }
    }
    Ok(found)
}

/// True for the part of a stripe journal that stands beside an image.
fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "journal") && path.with_extension("").exists()
}

/// The arrays of images, each of which has to be a member of one; in a directory others may stand beside them.
///
/// # Errors
/// As [`images`]; an image that is no member, with what it is and what can be done.
pub fn members(paths: &[PathBuf]) -> Result<Discovery> {
    let found = discover(&images(paths)?);
    let named: Vec<PathBuf> = paths.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
    let is_stranger =
        |report: &&ImageReport| report.contents != Contents::Member && named.contains(&report.image.path());
    match found.images.iter().find(is_stranger) {
        None => Ok(found),
        Some(stranger) => Err(no_member(stranger)),
    }
}

/// Says of an image that is no member what it is.
fn no_member(report: &ImageReport) -> anyhow::Error {
    let path = report.image.path();
    let remedy = match &report.contents {
        Contents::Unreadable(_) => match report.image.open(Access::Read) {
            Err(error) => return error.into(),
            Ok(_) => "again".to_owned(),
        },
        Contents::Damaged(_) => format!("'headstack array examine {}', or leave it out", path.display()),
        Contents::Blank => format!(
            "'headstack array create --level 5 {} ..', which makes one",
            path.display()
        ),
        _ => "the images of an array; 'headstack array ls' tells them apart".to_owned(),
    };
    let message = format!("{}: it is no member of an array: {}", path.display(), report.contents);
    Failure::new(Code::Corrupt, message, remedy).into()
}

/// The array of a name or a UUID among those that were found; the only one where none is named.
///
/// # Errors
/// [`Code::NotFound`]; [`Code::Usage`] where several would do.
pub fn chosen<'a>(found: &'a Discovery, name: Option<&str>) -> Result<&'a ArraySet> {
    let same = |set: &&ArraySet| name.is_none_or(|name| set.name == name || set.uuid.to_string() == name);
    let all: Vec<&ArraySet> = found.arrays.iter().filter(same).collect();
    match (all.as_slice(), name) {
        ([set], _) => Ok(set),
        ([], Some(name)) => Err(Failure::new(
            Code::NotFound,
            format!("there is no array {name} in the images that were looked at"),
            "'headstack array ls' on the directory of its images",
        )
        .into()),
        ([], None) => Err(Failure::new(
            Code::NotFound,
            "no image is a member of an array",
            "'headstack array create --level 5 IMG ..', which makes one",
        )
        .into()),
        (several, _) => {
            let names: Vec<String> = several
                .iter()
                .map(|set| format!("{} ({})", set.name, set.uuid))
                .collect();
            let message = format!("the images are of several arrays: {}", names.join(", "));
            Err(Failure::new(Code::Usage, message, "the name or UUID of one of them").into())
        }
    }
}

/// A time of a superblock as one of the host.
pub fn host_time(time: Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(time.seconds())
}
