//! Who may use the console: names, roles and hashes of passwords in one file of the store, for its owner only.
//!
//! The file is JSON with a version. It is read anew each time, so that to delete it forgets all users and ends all
//! sessions; without it nobody can log in, and the first password is set by an invitation, which only the store's owner
//! can ask for. Passwords are hashed with Argon2id; the hash says its own parameters.

use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
    sync::OnceLock,
};

use argon2::{
    Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _,
    password_hash::{Salt, SaltString},
};
use serde::{Deserialize, Serialize};

use crate::controller::{
    Store,
    error::{Error, Kind, Result},
};

/// File of the users, in the store's state.
const FILE: &str = "users.json";
/// Held while the file is changed.
const LOCK: &str = "users.lock";
/// Longest file that is read.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Version of the file.
const VERSION: u32 = 1;
/// Shortest password.
pub const PASSWORD_MIN_CHARS: usize = 8;
/// Longest password.
const PASSWORD_MAX_BYTES: usize = 1024;
/// Longest name of a user.
const NAME_MAX_BYTES: usize = 32;
/// Users at most.
const USERS_MAX: usize = 256;

/// What a user may do, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at everything.
    View,
    /// Beyond that, keep arrays whole: verify, rebuild, spares, disks, the schedule.
    Operate,
    /// Beyond that, make and delete, change settings and users, inject faults.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::View, Self::Operate, Self::Admin];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.name() == word);
        known.ok_or_else(|| format!("{word} is no role; they are view, operate and admin"))
    }
}

/// One who may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// Hash of the password, as a PHC string.
    pub password: String,
}

/// The users of a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Users {
    list: Vec<User>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Versioned {
    version: u32,
    users: Vec<User>,
}

/// Where the users of a store are kept.
#[derive(Debug, Clone)]
pub struct Register {
    state: PathBuf,
}

impl Register {
    /// That of a store.
    pub fn of(store: &Store) -> Self {
        Self {
            state: store.state().path().to_path_buf(),
        }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.state.join(FILE)
    }

    /// The users at the moment; none where there is no file.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where the file is damaged; an error of the host.
    pub fn load(&self) -> Result<Users> {
        let path = self.path();
        let bytes = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Users::default()),
            Ok(facts) if facts.len() > FILE_MAX_BYTES => return Err(damaged(&path, "it is too long")),
            _ => fs::read(&path).map_err(Error::host(&path))?,
        };
        let read: Versioned = serde_json::from_slice(&bytes).map_err(|error| damaged(&path, &error.to_string()))?;
        if read.version != VERSION {
            return Err(damaged(&path, &format!("it is of version {}", read.version)));
        }
        Ok(Users { list: read.users })
    }

    /// Changes the users, of which one at a time does.
    ///
    /// # Errors
    /// Those of `change`, and of the host.
    pub fn change<T>(&self, change: impl FnOnce(&mut Users) -> Result<T>) -> Result<T> {
        let lock = self.state.join(LOCK);
        let private = || {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).mode(0o600);
            options
        };
        let held = private().truncate(false).open(&lock).map_err(Error::host(&lock))?;
        held.lock().map_err(Error::host(&lock))?;
        let mut users = self.load()?;
        let changed = change(&mut users)?;
        let versioned = Versioned {
            version: VERSION,
            users: users.list,
        };
        let path = self.path();
        let staged = self.state.join("users.json.new");
        let write = || {
            let mut text = serde_json::to_vec_pretty(&versioned)?;
            text.push(b'\n');
            let mut file = private().truncate(true).open(&staged)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&staged, &path)?;
            fs::File::open(&self.state)?.sync_all()
        };
        write().map_err(Error::host(&path))?;
        Ok(changed)
    }
}

fn damaged(path: &Path, reason: &str) -> Error {
    let message = format!("{}: the users cannot be read: {reason}", path.display());
    Error::refused(
        Kind::Corrupt,
        message,
        "to delete the file and set a new password with 'headstack console open'",
    )
}

impl Users {
    /// All of them.
    pub fn all(&self) -> &[User] {
        &self.list
    }

    /// The one of a name.
    pub fn named(&self, name: &str) -> Option<&User> {
        self.list.iter().find(|user| user.name == name)
    }

    /// The first who may do everything.
    pub fn first_admin(&self) -> Option<&User> {
        self.list.iter().find(|user| user.role == Role::Admin)
    }

    /// Gives a user a password, and a role where one is named; a user that is not there is made, the first as admin and the
    /// others as view where no role is named.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a name or a password that cannot be; [`Kind::Refused`] where no admin would be left.
    pub fn set(&mut self, name: &str, password: &str, role: Option<Role>) -> Result<()> {
        check_name(name)?;
        check_password(password)?;
        let hash = hash(password)?;
        if let Some(user) = self.list.iter_mut().find(|user| user.name == name) {
            user.password = hash;
            return role.map_or(Ok(()), |role| self.set_role(name, role));
        }
        if self.list.len() >= USERS_MAX {
            let message = format!("there are {USERS_MAX} users already");
            return Err(Error::refused(Kind::Refused, message, "to remove one first"));
        }
        let first = if self.list.is_empty() { Role::Admin } else { Role::View };
        self.list.push(User {
            name: name.to_owned(),
            role: role.unwrap_or(first),
            password: hash,
        });
        self.check_admin()
    }

    /// Gives a user another role.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Refused`] where no admin would be left.
    pub fn set_role(&mut self, name: &str, role: Role) -> Result<()> {
        let user = self.list.iter_mut().find(|user| user.name == name);
        user.ok_or_else(|| unknown(name))?.role = role;
        self.check_admin()
    }

    /// Forgets a user.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Refused`] where no admin would be left.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let before = self.list.len();
        self.list.retain(|user| user.name != name);
        if self.list.len() == before {
            return Err(unknown(name));
        }
        self.check_admin()
    }

    fn check_admin(&self) -> Result<()> {
        if self.first_admin().is_some() {
            return Ok(());
        }
        let remedy = "to make another user an admin first";
        Err(Error::refused(Kind::Refused, "no admin would be left", remedy))
    }

    /// The user of a name and a password. It takes as long for a name that there is not.
    pub fn verified(&self, name: &str, password: &str) -> Option<&User> {
        if password.len() > PASSWORD_MAX_BYTES {
            return None;
        }
        static NOBODY: OnceLock<String> = OnceLock::new();
        let user = self.named(name);
        let known = match user {
            Some(user) => &user.password,
            None => NOBODY.get_or_init(|| hash("nobody has this password").unwrap_or_default()),
        };
        let fits = PasswordHash::new(known)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
        user.filter(|_| fits)
    }
}

fn unknown(name: &str) -> Error {
    let remedy = "one of 'headstack passwd --list'";
    Error::refused(Kind::NotFound, format!("there is no user {name}"), remedy)
}

fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if (1..=NAME_MAX_BYTES).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    let remedy = format!("1 to {NAME_MAX_BYTES} letters, digits, or any of - _ . @");
    Err(Error::refused(
        Kind::Usage,
        format!("{name:?} is no name of a user"),
        remedy,
    ))
}

fn check_password(password: &str) -> Result<()> {
    let message = if password.chars().count() < PASSWORD_MIN_CHARS {
        format!("the password is shorter than {PASSWORD_MIN_CHARS} characters")
    } else if password.len() > PASSWORD_MAX_BYTES {
        format!("the password is longer than {PASSWORD_MAX_BYTES} bytes")
    } else {
        return Ok(());
    };
    Err(Error::refused(Kind::Usage, message, "another password"))
}

fn hash(password: &str) -> Result<String> {
    let failed = |error: String| Error::refused(Kind::Failure, format!("no hash of the password: {error}"), "again");
    let mut salt = [0; Salt::RECOMMENDED_LENGTH];
    openssl::rand::rand_bytes(&mut salt).map_err(|error| failed(error.to_string()))?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| failed(error.to_string()))?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(|error| failed(error.to_string()))?.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn register(place: &Path) -> Register {
        Register::of(&Store::create(&place.join("s")).unwrap())
    }

    /// R39, R40: a password is set and changed, its file is the owner's only, and to delete it forgets it.
    #[test]
    fn a_password_is_kept_as_a_hash_until_the_file_is_deleted() {
        let place = tempfile::tempdir().unwrap();
        let register = register(place.path());
        assert!(register.load().unwrap().all().is_empty());
        register
            .change(|users| users.set("anna", "correct horse", None))
            .unwrap();
        let users = register.load().unwrap();
        assert_eq!(users.verified("anna", "correct horse").unwrap().role, Role::Admin);
        assert!(users.verified("anna", "wrong horse").is_none());
        assert!(users.verified("bert", "correct horse").is_none());
        let text = fs::read_to_string(register.path()).unwrap();
        assert!(text.contains("$argon2id$v=19$") && !text.contains("horse"), "{text}");
        let mode = fs::metadata(register.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        register
            .change(|users| users.set("anna", "battery staple", None))
            .unwrap();
        let users = register.load().unwrap();
        assert!(users.verified("anna", "correct horse").is_none());
        assert!(users.verified("anna", "battery staple").is_some());
        fs::remove_file(register.path()).unwrap();
        assert!(register.load().unwrap().all().is_empty());
    }

    #[test]
    fn one_admin_is_always_left_and_nothing_is_half_changed() {
        let place = tempfile::tempdir().unwrap();
        let register = register(place.path());
        register
            .change(|users| users.set("anna", "correct horse", None))
            .unwrap();
        register
            .change(|users| users.set("bert", "correct horse", None))
            .unwrap();
        assert_eq!(register.load().unwrap().named("bert").unwrap().role, Role::View);
        let before = register.load().unwrap();
        for refused in [
            register.change(|users| users.remove("anna")),
            register.change(|users| users.set_role("anna", Role::View)),
            register.change(|users| users.set("anna", "another password", Some(Role::View))),
            register.change(|users| users.set("carl", "short", None)),
            register.change(|users| users.set("c\u{0}rl", "correct horse", None)),
            register.change(|users| users.remove("carl")),
        ] {
            refused.unwrap_err();
        }
        assert_eq!(register.load().unwrap(), before);
        register.change(|users| users.set_role("bert", Role::Admin)).unwrap();
        register.change(|users| users.remove("anna")).unwrap();
    }

    #[test]
    fn a_damaged_file_lets_nobody_in_and_is_not_written_over() {
        let place = tempfile::tempdir().unwrap();
        let register = register(place.path());
        for text in [
            "",
            "{",
            "{\"version\":2,\"users\":[]}",
            "{\"version\":1,\"users\":[{\"name\":\"a\"}]}",
        ] {
            fs::write(register.path(), text).unwrap();
            let refused = register
                .change(|users| users.set("anna", "correct horse", None))
                .unwrap_err();
            assert_eq!(refused.judge().0, Kind::Corrupt, "{refused}");
            assert_eq!(fs::read_to_string(register.path()).unwrap(), text);
        }
    }
}
