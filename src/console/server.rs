//! The console as a whole: where it listens, who may address it, and how it starts and ends.
//!
//! It listens on this machine's loopback addresses; on others too where that is wished for and there is a certificate, and
//! never without one.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as Bound},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
    sync::Semaphore,
};

use super::{
    guard::Hosts,
    jobs::Jobs,
    listen::{CONNECTIONS_MAX, accept},
    live::Live,
    pages,
    sessions::Sessions,
    tls::{Certificate, in_url},
    users::Register,
};
use crate::controller::{
    Store,
    error::{Error, Kind, Result},
    interface::Answerer,
};

/// Threads that ask the controller at a time.
const ASKERS: usize = 32;
/// How long requests that are under way may take at the end.
const END: Duration = Duration::from_secs(2);

/// From where the console can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// From this machine.
    Local,
    /// From everywhere, with TLS.
    Everywhere,
}

/// How the console is to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Who can reach it.
    pub access: Access,
    /// Directory of a certificate.
    pub certificates: Option<PathBuf>,
}

/// What all requests share.
pub struct Shared {
    /// Answers what pages ask.
    pub answerer: Arc<Answerer>,
    /// The users.
    pub register: Register,
    /// The store's directory.
    pub store: PathBuf,
    /// Who is logged in.
    pub sessions: Sessions,
    /// Hosts that requests may be for.
    pub hosts: Hosts,
    /// Tells changes.
    pub live: Live,
    /// Work that goes on.
    pub jobs: Jobs,
    /// Name of the cookie of sessions.
    pub cookie: String,
    /// Passwords that are checked at a time: each takes much memory.
    pub checks: Semaphore,
}

/// A console that is served.
pub struct Console {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
}

impl Console {
    /// Serves the console of a store.
    ///
    /// # Errors
    /// [`Kind::Refused`] where it would be reached from elsewhere without TLS; [`Kind::Busy`] where the port is taken;
    /// a certificate that cannot be used.
    pub fn start(config: &Config, store: &Store, answerer: Arc<Answerer>) -> Result<Self> {
        let certificate = config.certificates.as_deref().map(Certificate::load).transpose()?;
        if config.access == Access::Everywhere && certificate.is_none() {
            let message = "the console is not served to other machines without TLS";
            let remedy = "--tls DIR with server-cert.pem and server-key.pem, or the setting restrict_to_localhost";
            return Err(Error::refused(Kind::Refused, message, remedy));
        }
        let (sockets, port) = bind(config)?;
        let secure = certificate.is_some();
        let (tls, names) = certificate.map_or((None, Vec::new()), |shown| (Some(shown.context), shown.names));
        let shared = Arc::new(Shared {
            live: Live::new(Arc::clone(&answerer)),
            answerer,
            register: Register::of(store),
            store: store.root().to_path_buf(),
            sessions: Sessions::default(),
            hosts: Hosts::new(names, port, secure),
            jobs: Jobs::default(),
            cookie: cookie_name(port, secure),
            checks: Semaphore::new(2),
        });
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(ASKERS)
            .thread_name("console")
            .enable_all()
            .build()
            .map_err(Error::host(store.root()))?;
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let routes = pages::routes(Arc::clone(&shared));
        for socket in sockets {
            let host = Error::host(format!("port {port}"));
            let listener = {
                let _inside = runtime.enter();
                TcpListener::from_std(socket).map_err(host)?
            };
            runtime.spawn(accept(listener, tls.clone(), routes.clone(), Arc::clone(&places)));
        }
        let live = Arc::clone(&shared);
        runtime.spawn(async move { live.live.watch().await });
        Ok(Self {
            runtime: Some(runtime),
            shared,
        })
    }

    /// Where a browser of this machine finds it.
    pub fn url(&self) -> String {
        self.shared.hosts.url()
    }

    /// An invitation: a link for one use that needs no password.
    ///
    /// # Errors
    /// The host has no randomness.
    pub fn invite(&self) -> Result<Map<String, Value>> {
        let key = self
            .shared
            .sessions
            .invite(Instant::now())
            .ok_or_else(|| Error::refused(Kind::Failure, "the host has no randomness", "'headstack doctor'"))?;
        let url = format!("{}open?key={key}", self.url());
        Ok(Map::from_iter([("url".to_owned(), json!(url))]))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            self.shared.jobs.stop();
            runtime.shutdown_timeout(END);
        }
    }
}

/// Cookies know no ports: consoles of one machine must not take each other's.
fn cookie_name(port: u16, secure: bool) -> String {
    let prefix = if secure { "__Host-" } else { "" };
    format!("{prefix}headstack-{port}")
}

/// Sockets on the wished addresses, all of one port. A host without IPv6 has one fewer.
fn bind(config: &Config) -> Result<(Vec<Bound>, u16)> {
    let (four, six) = match config.access {
        Access::Local => (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
        Access::Everywhere => (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
    };
    let listen = |address: IpAddr, port: u16| {
        let socket = if address.is_ipv6() {
            only_six(SocketAddr::new(address, port))
        } else {
            Bound::bind((address, port))
        };
        let socket = socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        socket.map_err(|error| {
            let message = format!("the console cannot listen on {}:{port}: {error}", in_url(address));
            let kind = if error.kind() == std::io::ErrorKind::AddrInUse {
                Kind::Busy
            } else {
                Kind::of_io(&error)
            };
            Error::refused(kind, message, "another --port, 0 for a free one, or the setting port")
        })
    };
    let first = listen(four.into(), config.port)?;
    let port = first.local_addr().map_err(Error::host("socket"))?.port();
    let mut sockets = vec![first];
    match listen(six.into(), port) {
        Ok(socket) => sockets.push(socket),
        Err(error) => log::info!("{error}"),
    }
    Ok((sockets, port))
}

/// A socket for IPv6 alone, so that the one for IPv4 can have the same port.
fn only_six(address: SocketAddr) -> std::io::Result<Bound> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, 128)?;
    Ok(socket.into())
}
