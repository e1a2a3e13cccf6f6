//! `headstack nbd`: serves the arrays of some images, in the foreground, until it is told to stop.
//!
//! The one-shot door: it finds the arrays in the images, starts them, serves them and takes care of them. How an array is
//! served while somebody else owns its life is the business of the server ([`crate::nbd`]) and the keeper alone.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use sd_notify::NotifyState;
use serde_json::{Map, Value, json};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{
    exit::{Code, Failure},
    images::{chosen, members, new_image},
    output::{JsonOption, Output},
    serving::{
        control::{self, Control},
        order::level_name,
    },
};
use crate::{
    nbd::{Export, Exports, Keeper, Limits, Listener, MEMBER_TIMEOUT, Server, Settings, Tls},
    raid::{
        Array,
        assemble::Assembly,
        discover::{ArraySet, open, open_over},
    },
};

/// How long requests that are under way may take at the end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest part of an array's name in the name of its socket: a socket's path has little room.
const SOCKET_NAME_BYTES: usize = 32;

/// When writes are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cache {
    /// Once the client flushes; what it did not flush a loss of power may take
    WriteBack,
    /// Before they are answered
    WriteThrough,
}

/// Serve arrays over NBD, each array of the images as an export of its name
///
/// It prints the URI of each export and serves until SIGTERM or SIGINT, then stops the arrays cleanly. Arrays that miss
/// members are served as long as their level allows it; what their redundancy needs is done meanwhile. Sockets that are
/// handed over as LISTEN_FDS says are served until the last client has left. Beside its socket it has a second one,
/// SOCKET.control, through which 'headstack array' reaches the arrays while they are in use.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack nbd disk0.img disk1.img disk2.img
      prints nbd+unix:///r5?socket=/srv/r5.sock
  nbdinfo -- [ headstack nbd disk0.img disk1.img disk2.img ]
  headstack nbd --port 10809 --tls /etc/headstack/tls disks/
  headstack nbd --read-only disk0.img disk1.img
      writes nothing at all, not even the superblocks
  headstack nbd --force --overlay try.overlay disk0.img disk2.img
      tries what a damaged array gives, and leaves its images alone")]
pub struct Arguments {
    /// Member images, or directories of them
    #[arg(value_name = "IMG", required = true, value_hint = clap::ValueHint::FilePath)]
    images: Vec<PathBuf>,
    /// Serve only the array of this name or UUID
    #[arg(long, value_name = "NAME")]
    array: Option<String>,
    /// Write nothing: neither data nor superblocks
    #[arg(long)]
    read_only: bool,
    /// Start an array that was not stopped cleanly and misses members, though some of its data may be wrong
    #[arg(long, conflicts_with = "read_only")]
    force: bool,
    /// Let this file take all writes: the images stay as they are
    #[arg(long, value_name = "FILE", conflicts_with = "read_only", value_hint = clap::ValueHint::FilePath)]
    overlay: Option<PathBuf>,
    /// Socket to listen on; beside the first image, with the array's name, by default
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    socket: Option<PathBuf>,
    /// Listen on this TCP port of 127.0.0.1 in place of a socket; 0 takes a free one
    #[arg(long, value_name = "N", conflicts_with = "socket")]
    port: Option<u16>,
    /// Offer TLS with server-cert.pem and server-key.pem of this directory, and require it
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    tls: Option<PathBuf>,
    /// Serve clients without TLS too
    #[arg(long, requires = "tls")]
    tls_optional: bool,
    /// Serve only clients with a certificate of the authority in ca-cert.pem of that directory
    #[arg(long, requires = "tls")]
    tls_verify_peer: bool,
    /// When writes are durable
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Cache::WriteBack)]
    cache: Cache,
    /// Share of the time, in percent, that rebuilding may take while clients are there
    #[arg(long, value_name = "PERCENT", default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..=100))]
    rebuild_share: u8,
    /// How long a member may take to answer before it counts as failed; 0 for ever
    #[arg(long, value_name = "SECONDS", default_value_t = MEMBER_TIMEOUT.as_secs())]
    member_timeout: u64,
    /// Clients at a time
    #[arg(long, value_name = "N", default_value_t = 64)]
    clients: usize,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Serves until the end.
    ///
    /// # Errors
    /// [`Code::Corrupt`] for an image that is no member and for a set that cannot be started, [`Code::Busy`] where an
    /// image or the socket is in use.
    pub fn run(self) -> Result<Code> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals")?;
        let inherited = Listener::inherited()?;
        let found = members(&self.images)?;
        let sets: Vec<ArraySet> = match self.array.as_deref() {
            Some(name) => vec![chosen(&found, Some(name))?.clone()],
            None if found.arrays.is_empty() => vec![chosen(&found, None)?.clone()],
            None => found.arrays,
        };
        refuse_same_names(&sets)?;
        let arrays = self.open(&sets)?;
        let handed = !inherited.is_empty();
        let (listeners, socket) = if handed {
            (inherited, None)
        } else {
            self.listen(&sets[0])?
        };
        let served = self.serve(arrays, listeners, socket.as_deref(), handed)?;
        let stopper = Arc::clone(&served.server);
        let handle = signals.handle();
        let waiter = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if signals.forever().next().is_some() {
                stopper.stop(PATIENCE);
            }
        });
        waiter.context("a thread for signals")?;
        served.wait(handed);
        handle.close();
        served.stop()
    }

    /// Listens where clients are to come; gives the path of a unix socket too.
    fn listen(&self, set: &ArraySet) -> Result<(Vec<Listener>, Option<PathBuf>)> {
        if let Some(port) = self.port {
            return Ok((vec![Listener::loopback(port)?], None));
        }
        let beside = || Some(default_socket(&set.members.first()?.image.path(), &set.name));
        let path = self.socket.clone().or_else(beside).unwrap_or_default();
        Ok((vec![Listener::unix(&path)?], Some(path)))
    }

    /// Starts the arrays.
    fn open(&self, sets: &[ArraySet]) -> Result<Vec<Arc<Array>>> {
        let how = Assembly {
            read_only: self.read_only,
            force: self.force,
            ..Assembly::default()
        };
        let Some(overlay) = &self.overlay else {
            return sets.iter().map(|set| Ok(Arc::new(open(set, how)?))).collect();
        };
        let [set] = sets else {
            let message = "an overlay takes the writes of one array, and the images are of several";
            return Err(Failure::new(Code::Usage, message, "--array NAME").into());
        };
        Ok(vec![Arc::new(open_over(set, how, &new_image(overlay)?)?)])
    }

    fn serve(
        &self,
        arrays: Vec<Arc<Array>>,
        listeners: Vec<Listener>,
        socket: Option<&Path>,
        handed: bool,
    ) -> Result<Served> {
        let settings = Settings {
            limits: Limits {
                clients: self.clients,
                ..Limits::default()
            },
            tls: match &self.tls {
                Some(directory) => Tls::load(directory, !self.tls_optional, self.tls_verify_peer)?,
                None => Tls::default(),
            },
        };
        let secure = settings.tls.is_required();
        let exports = Exports::default();
        for array in &arrays {
            let export = Export::new(array.name(), Arc::clone(array))?
                .with_description(&description(array))
                .with_write_through(self.cache == Cache::WriteThrough);
            exports.add(export);
        }
        let uri = |array: &Arc<Array>| listeners.iter().find_map(|listener| listener.uri(array.name(), secure));
        let uris: Vec<Option<String>> = arrays.iter().map(uri).collect();
        let server = Arc::new(Server::start(exports, settings, listeners).context("the server")?);
        let keeper = |array: &Arc<Array>| {
            let (server, share) = (Arc::clone(&server), self.rebuild_share);
            let share = move || if server.clients() == 0 { 100 } else { share };
            let timeout = (self.member_timeout > 0).then(|| Duration::from_secs(self.member_timeout));
            Keeper::start(Arc::clone(array), true, Box::new(share), timeout).map(Arc::new)
        };
        let keepers = arrays.iter().map(keeper).collect::<std::io::Result<Vec<_>>>();
        let keepers = keepers.context("threads for the arrays")?;
        let control = match socket {
            Some(socket) => Some(Control::start(&control::path_of(socket), keepers.clone())?),
            None => None,
        };
        if !handed {
            self.tell(&arrays, &uris, socket)?;
        }
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
            log::warn!("the service manager was not told that the arrays are served: {error}");
        }
        Ok(Served {
            server,
            keepers,
            control,
        })
    }

    /// Prints what is served.
    fn tell(&self, arrays: &[Arc<Array>], uris: &[Option<String>], socket: Option<&Path>) -> Result<()> {
        let output = Output::of_json("nbd", self.json);
        if !output.is_json() {
            return uris.iter().flatten().try_for_each(|uri| output.told(uri, &[]));
        }
        let exports: Vec<Value> = arrays
            .iter()
            .zip(uris)
            .map(|(array, uri)| {
                json!({
                    "name": array.name(),
                    "uri": uri,
                    "size_bytes": array.size_bytes(),
                    "level": level_name(array),
                    "read_only": array.is_read_only(),
                })
            })
            .collect();
        let control = socket.map(control::path_of);
        output.document(Map::from_iter([
            ("exports".to_owned(), exports.into()),
            ("control".to_owned(), json!(control)),
        ]))
    }
}

/// A server and all that belongs to it.
struct Served {
    server: Arc<Server>,
    keepers: Vec<Arc<Keeper>>,
    control: Option<Control>,
}

impl Served {
    /// Waits for the end: of the last client where sockets were handed over, else for a signal.
    fn wait(&self, handed: bool) {
        if handed {
            self.server.wait_for_last_client();
        } else {
            self.server.wait_until_stopped();
        }
    }

    /// Lets requests finish, then stops the arrays.
    fn stop(self) -> Result<Code> {
        self.server.stop(PATIENCE);
        drop(self.control);
        let stopped: Vec<Result<(), crate::raid::Error>> = self.keepers.iter().map(|keeper| keeper.stop()).collect();
        stopped.into_iter().collect::<Result<(), _>>()?;
        Ok(Code::Success)
    }
}

/// Exports are told apart by name.
fn refuse_same_names(sets: &[ArraySet]) -> Result<()> {
    for (at, set) in sets.iter().enumerate() {
        if sets[..at].iter().any(|other| other.name == set.name) {
            let message = format!("two arrays are called {}", set.name);
            let remedy = format!("--array {} for this one alone", set.uuid);
            return Err(Failure::new(Code::Usage, message, remedy).into());
        }
    }
    Ok(())
}

fn description(array: &Array) -> String {
    format!("{} of {} members", level_name(array), array.status().members.len())
}

/// The socket of an array that was given none: beside its first image.
pub fn default_socket(image: &Path, name: &str) -> PathBuf {
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let end = safe.floor_char_boundary(SOCKET_NAME_BYTES);
    image.with_file_name(format!("{}.sock", &safe[..end]))
}
