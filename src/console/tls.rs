//! TLS of the console, and the names that its certificate stands for.
//!
//! The certificate and its key are PEM files under the names that qemu, nbdkit and the NBD server use: `server-cert.pem`
//! and `server-key.pem` in one directory. The names in the certificate are those by which browsers may address the console.

use std::{fs, net::IpAddr, path::Path};

use openssl::{
    ssl::{SslContext, SslFiletype, SslMethod, SslOptions, SslVersion},
    x509::X509,
};

use crate::controller::error::{Error, Kind, Result};

/// What the console shows to browsers that it talks to with TLS.
pub struct Certificate {
    /// The context of its connections.
    pub context: SslContext,
    /// Host names and addresses that it is for, in small letters, addresses of IPv6 in brackets.
    pub names: Vec<String>,
}

impl Certificate {
    /// The certificate of a directory.
    ///
    /// # Errors
    /// [`Kind::Usage`] names the file that cannot be used.
    pub fn load(directory: &Path) -> Result<Self> {
        let (certificate, key) = (directory.join("server-cert.pem"), directory.join("server-key.pem"));
        let wrong = |path: &Path, error: String| {
            let message = format!("{}: {error}", path.display());
            let remedy = "a certificate and its key in PEM form, as 'openssl req -x509 -noenc' makes them";
            Error::refused(Kind::Usage, message, remedy)
        };
        let build = |error: openssl::error::ErrorStack| wrong(directory, error.to_string());
        let mut builder = SslContext::builder(SslMethod::tls_server()).map_err(build)?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2)).map_err(build)?;
        builder.set_options(SslOptions::NO_RENEGOTIATION);
        let chain = builder.set_certificate_chain_file(&certificate);
        chain.map_err(|error| wrong(&certificate, error.to_string()))?;
        let private = builder.set_private_key_file(&key, SslFiletype::PEM);
        private.map_err(|error| wrong(&key, error.to_string()))?;
        builder
            .check_private_key()
            .map_err(|error| wrong(&key, error.to_string()))?;
        let text = fs::read(&certificate).map_err(Error::host(&certificate))?;
        let shown = X509::from_pem(&text).map_err(|error| wrong(&certificate, error.to_string()))?;
        let names = names_of(&shown);
        if names.is_empty() {
            let message = "it stands for no name or address (subjectAltName)".to_owned();
            return Err(wrong(&certificate, message));
        }
        Ok(Self {
            context: builder.build(),
            names,
        })
    }
}

fn names_of(certificate: &X509) -> Vec<String> {
    let stands_for = certificate.subject_alt_names();
    let names = stands_for
        .iter()
        .flatten()
        .filter_map(|name| match (name.dnsname(), name.ipaddress()) {
            (Some(name), _) => Some(name.to_ascii_lowercase()),
            (None, Some(bytes)) => {
                let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
                let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
                address.ok().map(in_url)
            }
            _ => None,
        });
    names.collect()
}

/// An address as URLs have it.
pub fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
