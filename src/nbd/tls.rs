//! TLS: what the server shows and asks for, and one session of it over a socket that never waits.
//!
//! Certificates are PEM files under the names that qemu, nbdkit and libnbd use in one directory: `server-cert.pem`,
//! `server-key.pem`, and `ca-cert.pem` for the clients'. Pre-shared keys are a file as GnuTLS's `psktool` writes it, a line
//! `NAME:HEX` for each client. The library is the system's OpenSSL: rustls knows no external pre-shared keys.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use openssl::{
    error::ErrorStack,
    ssl::{
        ErrorCode, Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslMode, SslOptions,
        SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion,
    },
};

use super::transport::{receive_some, send_some};

/// Longest key in bytes, which TLS sets.
const KEY_MAX_BYTES: usize = 256;

/// Suites of TLS 1.3 where keys are shared.
const SUITES: &str = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384";

/// Where the server's credentials are, and what it asks of clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys<'a> {
    /// Directory of certificates.
    pub certificates: Option<&'a Path>,
    /// Take only clients with a certificate of the authority in `ca-cert.pem`, or with a pre-shared key.
    pub verify: bool,
    /// File of pre-shared keys.
    pub shared: Option<&'a Path>,
}

/// Whether and how clients get TLS.
#[derive(Clone, Default)]
pub struct Tls {
    context: Option<SslContext>,
    required: bool,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file holds no certificate or key, or cannot be read.
    #[error("{path}: no {what} in PEM form; make one with 'certtool' or 'openssl req -x509'", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// What is wrong with it.
        source: ErrorStack,
    },
    /// A file of pre-shared keys cannot be read.
    #[error("{path}: no keys: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A line of a file of pre-shared keys is none.
    #[error("{path}: line {line}: no key of the form NAME:HEX; make one with 'psktool -u NAME -p {path}'", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// TLS cannot be had with these keys.
    #[error("TLS cannot be had: {source}")]
    Unusable {
        /// Why.
        #[from]
        source: ErrorStack,
    },
}

impl Tls {
    /// Offers TLS with these keys. `required` refuses clients that do not use it.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(keys: &Keys<'_>, required: bool) -> Result<Self, TlsError> {
        let mut builder = SslContext::builder(SslMethod::tls_server())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_mode(SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER);
        // A client that goes away without a word has gone away. Sessions are long and few: none is resumed.
        builder.set_options(SslOptions::IGNORE_UNEXPECTED_EOF | SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        builder.set_num_tickets(0)?;
        if let Some(directory) = keys.certificates {
            show_certificates(&mut builder, directory, keys.verify)?;
        }
        if let Some(path) = keys.shared {
            // TLS 1.3 ties shared keys to SHA-256, so a suite with another hash would do without the key.
            builder.set_options(SslOptions::CIPHER_SERVER_PREFERENCE);
            builder.set_ciphersuites(SUITES)?;
            // Without one, OpenSSL refuses shared keys where it is to verify certificates.
            builder.set_session_id_context(b"headstack")?;
            share_keys(&mut builder, read_keys(path)?);
        }
        Ok(Self {
            context: Some(builder.build()),
            required,
        })
    }

    /// True where clients may use TLS.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.context.is_some()
    }

    /// True where clients must use TLS.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// The server's side of one session over a socket; none where TLS is not offered.
    pub(super) fn accept(&self, socket: Arc<OwnedFd>) -> Option<Result<Session, ErrorStack>> {
        let begin = |context: &SslContext| {
            let mut ssl = Ssl::new(context)?;
            ssl.set_accept_state();
            let wire = Wire {
                socket,
                records: Vec::new(),
                sent: 0,
            };
            SslStream::new(ssl, wire).map(Session)
        };
        self.context.as_ref().map(begin)
    }
}

fn show_certificates(builder: &mut SslContextBuilder, directory: &Path, verify: bool) -> Result<(), TlsError> {
    let wrong = |name: &str, what| {
        let path = directory.join(name);
        move |source| TlsError::File { path, what, source }
    };
    builder
        .set_certificate_chain_file(directory.join("server-cert.pem"))
        .map_err(wrong("server-cert.pem", "certificate"))?;
    builder
        .set_private_key_file(directory.join("server-key.pem"), SslFiletype::PEM)
        .map_err(wrong("server-key.pem", "private key"))?;
    builder.check_private_key()?;
    if verify {
        builder
            .set_ca_file(directory.join("ca-cert.pem"))
            .map_err(wrong("ca-cert.pem", "certificate"))?;
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    Ok(())
}

/// Keys by the names of their clients.
fn read_keys(path: &Path) -> Result<HashMap<Vec<u8>, Vec<u8>>, TlsError> {
    let text = std::fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let mut keys = HashMap::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let pair = colon.and_then(|at| {
            let key = data_encoding::HEXLOWER_PERMISSIVE.decode(&line[at + 1..]).ok()?;
            let fits = !key.is_empty() && key.len() <= KEY_MAX_BYTES;
            fits.then(|| (line[..at].to_owned(), key))
        });
        let (name, key) = pair.ok_or_else(|| TlsError::Line {
            path: path.to_owned(),
            line: number,
        })?;
        keys.insert(name, key);
    }
    Ok(keys)
}

fn share_keys(builder: &mut SslContextBuilder, keys: HashMap<Vec<u8>, Vec<u8>>) {
    builder.set_psk_server_callback(move |_, name, out| {
        // A client that is not known gets no key, and is refused.
        let key = name.and_then(|name| keys.get(name)).map_or(&[][..], Vec::as_slice);
        let Some(room) = out.get_mut(..key.len()) else {
            return Ok(0);
        };
        room.copy_from_slice(key);
        Ok(key.len())
    });
}

/// One session.
pub(super) struct Session(SslStream<Wire>);

impl Session {
    /// Receives plain bytes; 0 at the end. The handshake is part of it.
    ///
    /// # Errors
    /// `WouldBlock` where none are there.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.ssl_read(buffer).or_else(ended);
        // What the handshake answers, and what is said of an error, has to go out too.
        match (&read, self.push()) {
            (Err(_), Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => read,
        }
    }

    /// Takes plain bytes, all of them or none.
    ///
    /// # Errors
    /// `WouldBlock` where they have to wait for the handshake.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.0.ssl_write(bytes).or_else(ended)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// True where records wait for room in the socket.
    pub(super) fn wants_push(&self) -> bool {
        let wire = self.0.get_ref();
        wire.sent < wire.records.len()
    }

    /// Sends the records that wait.
    ///
    /// # Errors
    /// `WouldBlock` where there is no room for them.
    pub(super) fn push(&mut self) -> io::Result<()> {
        let Wire { socket, records, sent } = self.0.get_mut();
        while *sent < records.len() {
            *sent += send_some(socket, &records[*sent..])?;
        }
        records.clear();
        *sent = 0;
        Ok(())
    }

    /// Tells the client that this is the end, if there is room for it.
    pub(super) fn close(&mut self) {
        // The client may be gone, or in the middle of its handshake.
        let _ = self.0.shutdown();
        let _ = self.push();
    }
}

fn ended(error: openssl::ssl::Error) -> io::Result<usize> {
    match error.code() {
        ErrorCode::ZERO_RETURN => Ok(0),
        ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => Err(io::ErrorKind::WouldBlock.into()),
        _ => Err(match error.into_io_error() {
            Ok(error) => error,
            Err(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        }),
    }
}

/// What is under a session: records come from the socket, and are kept until there is room for them in it.
struct Wire {
    socket: Arc<OwnedFd>,
    records: Vec<u8>,
    sent: usize,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        receive_some(&self.socket, buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.records.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
