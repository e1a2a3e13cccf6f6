//! Small files of a store's state: JSON with a version, written whole, and for their owner only.
//!
//! Where such a file is damaged nothing of it is believed: whoever reads it hears so by name, and the next change puts the
//! damaged file aside. What they hold is their owners' business.

use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    error::{Error, Kind, Result},
    store::Store,
};

/// Longest file that is read.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// Version of the files.
const VERSION: u64 = 1;

/// One such file.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Its name in the store's state, without `.json`.
    pub name: &'static str,
    /// What it holds, in words.
    pub what: &'static str,
}

impl Kept {
    fn file(self) -> String {
        format!("{}.json", self.name)
    }

    /// What a store remembers; the default where there is no such file.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where the file is damaged or of another version; an error of the host.
    pub fn load<T: DeserializeOwned + Default>(self, store: &Store) -> Result<T> {
        let file = self.file();
        let path = store.state().path().join(&file);
        let bytes = match store.state().read(Path::new(&file), FILE_MAX_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            read => read.map_err(Error::host(&path))?,
        };
        let damaged = |reason: String| {
            let message = format!("{}: {} cannot be used: {reason}", path.display(), self.what);
            let remedy = "to set it again; the file is then put aside";
            Error::refused(Kind::Corrupt, message, remedy)
        };
        let mut read: Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let version = read.as_object_mut().and_then(|read| read.remove("version"));
        if version.as_ref().and_then(Value::as_u64) != Some(VERSION) {
            return Err(damaged(format!("it is not of version {VERSION}")));
        }
        serde_json::from_value(read).map_err(|error| damaged(error.to_string()))
    }

    /// Remembers it durably; a file that cannot be used is put aside first.
    ///
    /// # Errors
    /// An error of the host.
    pub fn save<T: Serialize + DeserializeOwned + Default>(self, store: &Store, value: &T) -> Result<()> {
        let file = self.file();
        let path = store.state().path().join(&file);
        let host = |source: io::Error| Error::host(&path)(source);
        if matches!(self.load::<T>(store), Err(error) if error.judge().0 == Kind::Corrupt) {
            self.put_aside(store).map_err(host)?;
        }
        let mut versioned = serde_json::to_value(value).map_err(|error| host(error.into()))?;
        versioned["version"] = VERSION.into();
        let mut text = serde_json::to_vec_pretty(&versioned).map_err(|error| host(error.into()))?;
        text.push(b'\n');
        // The new contents are never open to more than the old ones were.
        let mut options = fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(host)?;
            }
            opened => {
                let empty = format!("{{\"version\": {VERSION}}}\n");
                io::Write::write_all(&mut opened.map_err(host)?, empty.as_bytes()).map_err(host)?;
            }
        }
        store.state().replace(Path::new(&file), &text).map_err(host)
    }

    fn put_aside(self, store: &Store) -> io::Result<()> {
        let aside = format!("{}.damaged.json", self.name);
        match store.state().remove(Path::new(&aside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => store.state().rename(Path::new(&self.file()), Path::new(&aside)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Wish {
        words: Vec<String>,
    }

    const KEPT: Kept = Kept {
        name: "wish",
        what: "the wish",
    };

    #[test]
    fn a_damaged_file_is_named_and_put_aside_and_none_is_open_to_others() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::create(&place.path().join("s")).unwrap();
        assert_eq!(KEPT.load::<Wish>(&store).unwrap(), Wish::default());
        let wish = Wish {
            words: vec!["one".to_owned()],
        };
        KEPT.save(&store, &wish).unwrap();
        let path = place.path().join("s/state/wish.json");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        KEPT.save(&store, &wish).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for damage in [
            "",
            "{",
            "[]",
            "{\"version\":2}",
            "{\"version\":1,\"words\":7}",
            "{\"words\":[]}",
        ] {
            fs::write(&path, damage).unwrap();
            let refused = KEPT.load::<Wish>(&store).unwrap_err();
            assert_eq!(refused.judge().0, Kind::Corrupt, "{damage:?}");
            assert!(refused.to_string().contains("state/wish.json"), "{refused}");
            KEPT.save(&store, &wish).unwrap();
            assert_eq!(KEPT.load::<Wish>(&store).unwrap(), wish);
            let aside = place.path().join("s/state/wish.damaged.json");
            assert_eq!(fs::read_to_string(aside).unwrap(), damage);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
