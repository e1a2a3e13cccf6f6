//! The sockets that clients come to: unix sockets, TCP, and those that another program listened on for us.
//!
//! A unix socket's file is removed at the end, and one that a dead server left is replaced; one on which somebody
//! answers is not. Two servers that start at once are kept apart by a lock on the directory.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use listenfd::ListenFd;
use rustix::fs::FlockOperation;

/// Port of the protocol.
pub const PORT: u16 = 10809;

/// Longest path that a socket's address has room for, in bytes.
const PATH_MAX_BYTES: usize = 107;

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// A server answers there.
    #[error("{path}: another server answers on this socket; stop it or choose another --socket", path = path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{path}: exists and is no socket; choose another --socket", path = path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The host refuses.
    #[error("cannot listen on {place}: {source}")]
    Refused {
        /// Path or address.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// What was handed over is no socket that listens.
    #[error("descriptor {number} of LISTEN_FDS is neither a unix nor a TCP socket: {source}")]
    NotListening {
        /// Which of them, from 0.
        number: usize,
        /// Why.
        source: io::Error,
    },
}

/// A socket that clients come to.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Path and identity of the socket's file, which is removed at the end.
    Unix {
        path: PathBuf,
        identity: (u64, u64),
    },
    Tcp(SocketAddr),
    /// Made by another program, which also removes it.
    Inherited {
        tcp: Option<SocketAddr>,
        path: Option<PathBuf>,
    },
}

impl Listener {
    /// Listens on a unix socket.
    ///
    /// # Errors
    /// [`ListenError`]: somebody answers there, the name is taken, or the host refuses.
    pub fn unix(path: &Path) -> Result<Self, ListenError> {
        let refused = |source| ListenError::Refused {
            place: path.display().to_string(),
            source,
        };
        if path.as_os_str().len() > PATH_MAX_BYTES {
            let message = format!("a socket's path has at most {PATH_MAX_BYTES} bytes; choose a shorter one");
            return Err(refused(io::Error::new(io::ErrorKind::InvalidInput, message)));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(parent.unwrap_or(Path::new("."))).map_err(refused)?;
        rustix::fs::flock(&directory, FlockOperation::LockExclusive).map_err(|errno| refused(errno.into()))?;
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(refused)?;
        let file = fs::symlink_metadata(path).map_err(refused)?;
        Ok(Self {
            socket: listener.into(),
            place: Place::Unix {
                path: path.to_owned(),
                identity: (file.dev(), file.ino()),
            },
        })
    }

    /// Listens on a TCP address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ListenError::Refused`].
    pub fn tcp(address: SocketAddr) -> Result<Self, ListenError> {
        let refused = |source| ListenError::Refused {
            place: address.to_string(),
            source,
        };
        let listener = TcpListener::bind(address).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self {
            socket: listener.into(),
            place: Place::Tcp(address),
        })
    }

    /// Listens on TCP where only this machine reaches it.
    ///
    /// # Errors
    /// [`ListenError::Refused`].
    pub fn loopback(port: u16) -> Result<Self, ListenError> {
        Self::tcp(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Takes the sockets that `LISTEN_FDS` and `LISTEN_PID` say were handed over; none where they say nothing.
    ///
    /// # Errors
    /// [`ListenError::NotListening`].
    pub fn inherited() -> Result<Vec<Self>, ListenError> {
        let mut handed = ListenFd::from_env();
        (0..handed.len()).map(|number| take(&mut handed, number)).collect()
    }

    /// The address of TCP.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Tcp(address) => Some(address),
            Place::Inherited { tcp, .. } => tcp,
            Place::Unix { .. } => None,
        }
    }

    /// True for TCP.
    pub(super) fn is_tcp(&self) -> bool {
        self.address().is_some()
    }

    /// The URI by which clients find an export, made to be pasted; none where another program made the socket and gave
    /// it no name. `secure` says that TLS is required.
    #[must_use]
    pub fn uri(&self, export: &str, secure: bool) -> Option<String> {
        self.uris(secure).map(|uris| uris.of(export))
    }

    /// The URIs of all exports, as [`Listener::uri`] has them.
    #[must_use]
    pub fn uris(&self, secure: bool) -> Option<Uris> {
        let scheme = if secure { "nbds" } else { "nbd" };
        if let Some(address) = self.address() {
            return Some(Uris {
                before: format!("{scheme}://{address}/"),
                after: String::new(),
            });
        }
        let path = match &self.place {
            Place::Unix { path, .. } => Some(path),
            Place::Inherited { path, .. } => path.as_ref(),
            Place::Tcp(_) => None,
        }?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let path = escaped(path.as_os_str().as_encoded_bytes(), b"/");
        Some(Uris {
            before: format!("{scheme}+unix:///"),
            after: format!("?socket={path}"),
        })
    }
}

/// The URIs of all exports of a listener.
#[derive(Debug, Clone)]
pub struct Uris {
    before: String,
    after: String,
}

impl Uris {
    /// The one of an export.
    #[must_use]
    pub fn of(&self, export: &str) -> String {
        format!("{}{}{}", self.before, escaped(export.as_bytes(), b"/"), self.after)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Place::Unix { path, identity } = &self.place else {
            return;
        };
        // A server that has replaced the file meanwhile keeps it.
        let ours = fs::symlink_metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == *identity);
        if ours && let Err(error) = fs::remove_file(path) {
            log::warn!("{}: the socket's file stays: {error}", path.display());
        }
    }
}

/// Removes the file of a socket on which nobody answers.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let path = path.to_owned();
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(file) if file.file_type().is_socket() || file.file_type().is_symlink() => {}
        _ => return Err(ListenError::NotASocket { path }),
    }
    match UnixStream::connect(&path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        // A link to a socket that is gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Whoever has it does not refuse: a server that answers, that is full, or that we may not talk to.
        _ => return Err(ListenError::InUse { path }),
    }
    fs::remove_file(&path).map_err(|source| ListenError::Refused {
        place: path.display().to_string(),
        source,
    })
}

fn take(handed: &mut ListenFd, number: usize) -> Result<Listener, ListenError> {
    if let Ok(Some(listener)) = handed.take_unix_listener(number) {
        let address = listener.local_addr().ok();
        let path = address.and_then(|address| address.as_pathname().map(Path::to_owned));
        return Ok(Listener {
            socket: listener.into(),
            place: Place::Inherited { tcp: None, path },
        });
    }
    match handed.take_tcp_listener(number) {
        Ok(Some(listener)) => Ok(Listener {
            place: Place::Inherited {
                tcp: listener.local_addr().ok(),
                path: None,
            },
            socket: listener.into(),
        }),
        Ok(None) => Err(ListenError::NotListening {
            number,
            source: io::ErrorKind::NotFound.into(),
        }),
        Err(source) => Err(ListenError::NotListening { number, source }),
    }
}

/// Bytes as a URI has them: letters, digits, `-._~` and `also` as they are, the rest in hexadecimal.
fn escaped(bytes: &[u8], also: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests;
