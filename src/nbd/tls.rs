//! TLS: which certificates the server shows, and whether clients must use it and show theirs.
//!
//! Certificates are PEM files under the names that qemu, nbdkit and libnbd use in one directory: `server-cert.pem`,
//! `server-key.pem`, and `ca-cert.pem` for the clients'. Pre-shared keys (`nbds` URIs with `tls-psk-file`) are not to be
//! had here: rustls has none but for resuming sessions. The nbdkit plugin has them, from nbdkit.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{VerifierBuilderError, WebPkiClientVerifier},
};

/// Whether and how clients get TLS.
#[derive(Clone, Default)]
pub struct Tls {
    config: Option<Arc<ServerConfig>>,
    required: bool,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file holds no certificate or key, or cannot be read.
    #[error("{path}: no {what} in PEM form; make one with 'certtool' or 'openssl req -x509'", path = path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Certificate and key do not go together, or are of a kind that TLS has no use for.
    #[error("{path}: certificate and key cannot be used: {source}", path = path.display())]
    Unusable {
        /// The directory.
        path: std::path::PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The authority of the clients' certificates cannot be used.
    #[error("{path}: clients cannot be checked against it: {source}", path = path.display())]
    Authority {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
}

impl Tls {
    /// Offers TLS with the certificates of a directory. `required` refuses clients that do not use it; `verify` refuses
    /// those without a certificate of `ca-cert.pem`.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(directory: &Path, required: bool, verify: bool) -> Result<Self, TlsError> {
        let path = directory.join("server-cert.pem");
        let chain = certificates(&path)?;
        let path = directory.join("server-key.pem");
        let key = PrivateKeyDer::from_pem_file(&path).map_err(|source| TlsError::File {
            path,
            what: "private key",
            source,
        })?;
        let unusable = |source| TlsError::Unusable {
            path: directory.to_owned(),
            source,
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = if verify {
            let path = directory.join("ca-cert.pem");
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&path)? {
                roots.add(certificate).map_err(unusable)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|source| TlsError::Authority { path, source })?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(chain, key).map_err(unusable)?;
        Ok(Self {
            config: Some(Arc::new(config)),
            required,
        })
    }

    /// True where clients may use TLS.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.config.is_some()
    }

    /// True where clients must use TLS.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// The server's side of one session; none where TLS is not offered.
    pub(super) fn accept(&self) -> Option<Result<ServerConnection, rustls::Error>> {
        self.config
            .as_ref()
            .map(|config| ServerConnection::new(Arc::clone(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::File {
        path: path.to_owned(),
        what: "certificate",
        source,
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect();
    let found = found.map_err(wrong)?;
    if found.is_empty() {
        return Err(wrong(pem::Error::NoItemsFound));
    }
    Ok(found)
}
