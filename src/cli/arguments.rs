//! Arguments that several verbs take: the database, a series in it, sizes; and how a database is opened for them.
//!
//! A reader opens for reading only and takes no lock; a writer that finds the lock taken is told who has it and how the
//! mount makes the same change.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;

use super::exit::{Code, Failure};
use crate::{
    mount::kernel,
    series::{Database, Error, Kind, Limits, Mode, OpenOptions, SeriesKey},
    storage::size,
};

/// The database that a verb works on.
#[derive(Debug, Clone, Args)]
pub struct DatabaseArgument {
    /// Database directory, or a store that holds one
    #[arg(value_name = "DB", value_hint = clap::ValueHint::DirPath)]
    db: PathBuf,
}

impl DatabaseArgument {
    /// The argument that names `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { db: path }
    }

    /// The path as it was given.
    pub fn given(&self) -> &Path {
        &self.db
    }

    /// The same argument, good in any working directory.
    ///
    /// # Errors
    /// There is no working directory.
    pub fn absolute(&self) -> Result<Self> {
        let path = std::path::absolute(&self.db).with_context(|| self.db.display().to_string())?;
        Ok(Self::new(path))
    }

    /// Directory of the database: `DB`, or `DB/series` where `DB` is a store.
    pub fn path(&self) -> PathBuf {
        database_path(&self.db)
    }

    /// Opens the database for reading, which works while it is mounted.
    ///
    /// # Errors
    /// [`Error::DoesNotExist`], or the directory cannot be read.
    pub fn read(&self) -> Result<Opened> {
        open(&self.path(), Mode::ReadOnly, "")
    }

    /// Opens the database for writing on behalf of the verb `command`.
    ///
    /// # Errors
    /// As [`DatabaseArgument::read`]; [`Code::Busy`] where the database is open for writing elsewhere, with the way to
    /// do the same through its mount.
    pub fn write(&self, command: &str, instead: &Instead) -> Result<Opened> {
        let path = self.path();
        open(&path, Mode::ReadWrite, command).map_err(|error| locked(error, instead))
    }

    /// Opens the database for writing; makes it where there is none.
    ///
    /// # Errors
    /// As [`DatabaseArgument::write`], or the directory cannot be made.
    pub fn write_or_create(&self, command: &str, instead: &Instead) -> Result<Opened> {
        let path = self.path();
        if path.exists() {
            return self.write(command, instead);
        }
        Ok(Opened(Database::create(&path, options(Mode::ReadWrite, command))?))
    }
}

/// A database that is closed at the end of the verb, also where the verb fails.
#[derive(Debug)]
pub struct Opened(Database);

impl Deref for Opened {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // A verb that succeeds closes before this and hears of errors; one that fails has its own error to tell.
        if let Err(error) = self.0.close() {
            log::error!("{error}");
        }
    }
}

/// Opens the database in directory `path` on behalf of the verb `command`.
///
/// # Errors
/// [`Error::DoesNotExist`], [`Error::Locked`], or the directory cannot be read.
pub fn open(path: &Path, mode: Mode, command: &str) -> Result<Opened> {
    refuse_mount(path)?;
    Ok(Opened(Database::open(path, options(mode, command))?))
}

/// Refuses a mount in place of its database: its directories look like damaged series.
fn refuse_mount(path: &Path) -> Result<()> {
    match kernel::mounted_at(&kernel::absolute(path)) {
        Some(mount) if mount.kind == kernel::FILE_SYSTEM_TYPE => {
            let message = format!("{} is a mount; verbs work on the database itself", path.display());
            let database = mount.database().unwrap_or(mount.source.into());
            Err(Failure::new(Code::Usage, message, format!("{} in its place", database.display())).into())
        }
        _ => Ok(()),
    }
}

/// The series that a verb works on.
#[derive(Debug, Clone, Args)]
pub struct SeriesArgument {
    #[command(flatten)]
    pub database: DatabaseArgument,
    /// Series; `varlen/NAME` for a variable-length one
    #[arg(value_name = "NAME")]
    name: String,
    /// Take the variable-length series where both kinds have that name
    #[arg(long)]
    varlen: bool,
}

impl SeriesArgument {
    /// Opens the database for writing and finds the series. `action` on `file`, in the series' directory of a mount,
    /// makes the same change.
    ///
    /// # Errors
    /// As [`DatabaseArgument::write`] and [`found`].
    pub fn write(&self, command: &str, action: &str, file: &str) -> Result<(Opened, SeriesKey)> {
        let key = named(&self.name, self.varlen);
        let database = self
            .database
            .write(command, &Instead::new(action, format!("{}/{file}", directory(&key))))?;
        let key = found(&database, &key)?;
        Ok((database, key))
    }

    /// Opens the database for reading and finds the series.
    ///
    /// # Errors
    /// As [`DatabaseArgument::read`] and [`found`].
    pub fn read(&self) -> Result<(Opened, SeriesKey)> {
        let database = self.database.read()?;
        let key = found(&database, &named(&self.name, self.varlen))?;
        Ok((database, key))
    }
}

/// How a change is made through a mount: an action on a path in it, such as "writing to" `NAME/raw`.
#[derive(Debug)]
pub struct Instead {
    action: String,
    path: String,
}

impl Instead {
    /// An action on a path relative to the mount point.
    pub fn new(action: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            path: path.into(),
        }
    }
}

/// The series that an argument names.
pub fn named(name: &str, varlen: bool) -> SeriesKey {
    match name.strip_prefix("varlen/") {
        Some(name) => SeriesKey::varlen(name),
        None if varlen => SeriesKey::varlen(name),
        None => SeriesKey::fixed(name),
    }
}

/// Which series is meant. A name alone means the fixed series, or the variable-length one where there is no other.
///
/// # Errors
/// [`Error::DoesNotExist`], or the database cannot be listed.
pub fn found(database: &Database, asked: &SeriesKey) -> Result<SeriesKey> {
    let keys = database.keys()?;
    let other = SeriesKey::varlen(asked.name.clone());
    let candidates: &[&SeriesKey] = match asked.kind {
        Kind::Fixed => &[asked, &other],
        Kind::Varlen => &[asked],
    };
    match candidates.iter().find(|key| keys.contains(key)) {
        Some(key) => Ok((*key).clone()),
        None => Err(Error::DoesNotExist {
            what: asked.what(),
            name: asked.name.clone(),
            path: database.path().to_owned(),
        }
        .into()),
    }
}

/// Directory of a series in a mount, relative to its root; also how a series is named where both kinds are listed.
pub fn directory(key: &SeriesKey) -> String {
    match key.kind {
        Kind::Fixed => key.name.clone(),
        Kind::Varlen => format!("varlen/{}", key.name),
    }
}

/// Directory of the database that `path` means. A store's `series` has a `varlen` directory of its own, which no
/// series called `series` can have.
pub fn database_path(path: &Path) -> PathBuf {
    let inside = path.join("series");
    if inside.join("varlen").is_dir() {
        inside
    } else {
        path.to_owned()
    }
}

/// How a verb opens a database.
pub fn options(mode: Mode, command: &str) -> OpenOptions {
    options_for(mode, format!("headstack {command}, pid {}", std::process::id()))
}

/// How a database is opened for `holder`, which is what others are told that find it locked.
pub fn options_for(mode: Mode, holder: String) -> OpenOptions {
    OpenOptions {
        mode,
        limits: Limits::default(),
        holder,
    }
}

/// Says how the change can be made through the mount that holds the lock.
fn locked(error: anyhow::Error, instead: &Instead) -> anyhow::Error {
    let (path, holder) = match error.downcast() {
        Ok(Error::Locked { path, holder }) => (path, holder),
        Ok(error) => return error.into(),
        Err(error) => return error,
    };
    let mounted = holder
        .split_once("mounted at ")
        .map(|(_, mount_point)| mount_point.trim_end());
    let remedy = match mounted {
        Some(mount_point) => format!(
            "{} {}/{}",
            instead.action,
            mount_point,
            instead.path.trim_end_matches('/')
        ),
        None => "again once that is done".to_owned(),
    };
    let holder = if holder.is_empty() { "another process" } else { &holder };
    let message = format!("{} is open for writing elsewhere ({holder})", path.display());
    Failure::new(Code::Busy, message, remedy).into()
}

/// Reads a size: a number of bytes, or one with a binary unit K, M, G or T.
///
/// # Errors
/// The text is no size, or one of more than 64 bits.
pub fn size(text: &str) -> Result<u64, String> {
    size::parse(text).map_err(|error| error.to_string())
}

/// Reads a size that a 32 bit field of the format holds.
///
/// # Errors
/// As [`size()`], or the size is 4 GiB or more.
pub fn size_u32(text: &str) -> Result<u32, String> {
    u32::try_from(size(text)?).map_err(|_| "the size is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Instead, database_path, directory, locked, named, size, size_u32};
    use crate::{
        cli::exit::Report,
        series::{Error, SeriesKey},
    };

    #[test]
    fn sizes_of_the_format_have_32_bits() {
        assert_eq!((size("4K"), size_u32("3G")), (Ok(4096), Ok(3 << 30)));
        assert_eq!(
            size("4KB").unwrap_err(),
            "a size is a number of bytes, or one followed by K, M, G or T"
        );
        assert_eq!(size_u32("4G"), Err("the size is too large".into()));
    }

    /// T37: both namespaces can be named without a flag.
    #[test]
    fn names_say_their_namespace() {
        assert_eq!(named("x", false), SeriesKey::fixed("x"));
        assert_eq!(named("x", true), SeriesKey::varlen("x"));
        assert_eq!(named("varlen/x", false), SeriesKey::varlen("x"));
        assert_eq!(directory(&SeriesKey::varlen("x")), "varlen/x");
    }

    #[test]
    fn a_store_is_told_from_a_database_with_a_series_called_series() {
        let root = tempfile::tempdir().unwrap();
        let db = root.path().join("db");
        std::fs::create_dir_all(db.join("series")).unwrap();
        std::fs::create_dir_all(db.join("varlen")).unwrap();
        assert_eq!(database_path(&db), db);
        let store = root.path().join("store");
        std::fs::create_dir_all(store.join("series/varlen")).unwrap();
        assert_eq!(database_path(&store), store.join("series"));
    }

    #[test]
    fn a_locked_database_names_the_file_of_its_mount() {
        let error = |holder: &str| {
            let (path, holder) = ("/db".into(), holder.into());
            anyhow::Error::new(Error::Locked { path, holder })
        };
        let instead = Instead::new("writing to", "temp/raw");
        let told = Report::of(&locked(error("pid 7, mounted at /mnt/my db"), &instead));
        assert_eq!(told.code as u8, 75);
        let message = told.message.unwrap();
        assert!(message.ends_with("try writing to /mnt/my db/temp/raw"), "{message}");
        let told = Report::of(&locked(error("headstack series append, pid 7"), &instead));
        assert!(told.message.unwrap().contains("pid 7"));
    }
}
