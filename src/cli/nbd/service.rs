//! The service that `nbd` and `array start` give: arrays, their server and their control socket in this process.
//!
//! Which arrays these are the verbs say; here is how they are served, and how the service ends: by a signal, with the last
//! client of a socket that was handed over, or when the last array was stopped.

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

use super::signposts::Signposts;
use crate::{
    cli::{
        exit::{Code, Failure},
        images::new_image,
        mount::detach,
        output::{self, JsonOption, Output},
    },
    controller::{
        order::level_name,
        served::{PATIENCE, Served},
        socket::{self, Control},
    },
    nbd::{Begin, Export, Exports, Keeper, Keys, Limits, Listener, MEMBER_TIMEOUT, Server, Settings, Tls},
    raid::{
        Array,
        assemble::Assembly,
        discover::{ArraySet, open, open_over},
    },
};

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

/// How arrays are served.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("keys").multiple(true)))]
pub struct Service {
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
    #[arg(long, value_name = "DIR", group = "keys", value_hint = clap::ValueHint::DirPath)]
    tls: Option<PathBuf>,
    /// Offer TLS, and require it, to clients with a key of this file, which 'psktool' makes: a line NAME:HEX for each
    #[arg(long, value_name = "FILE", group = "keys", value_hint = clap::ValueHint::FilePath)]
    tls_psk: Option<PathBuf>,
    /// Serve clients without TLS too
    #[arg(long, requires = "keys")]
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
    /// Add what is logged to this file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    log: Option<PathBuf>,
    #[command(flatten)]
    json: JsonOption,
}

impl Service {
    /// Whether facts are wanted as JSON.
    pub fn json(&self) -> JsonOption {
        self.json
    }

    /// Serves the arrays until the end. `in_background` tells what is served in JSON and then leaves the standard streams
    /// and the terminal.
    ///
    /// # Errors
    /// [`Code::Corrupt`] for a set that cannot be started, [`Code::Busy`] where an image or the socket is in use.
    pub fn run(&self, sets: &[ArraySet], in_background: bool) -> Result<Code> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals")?;
        let log = self.log.as_deref().map(output::open_log).transpose()?;
        let inherited = Listener::inherited()?;
        let arrays = self.open(sets)?;
        let handed = !inherited.is_empty();
        let beside = || {
            Some(default_socket(
                &sets.first()?.members.first()?.image.path(),
                &sets[0].name,
            ))
        };
        let socket = self.socket.clone().or_else(beside).unwrap_or_default();
        let listeners = match self.port {
            _ if handed => inherited,
            Some(port) => vec![Listener::loopback(port)?],
            None => vec![Listener::unix(&socket)?],
        };
        let control = (!handed).then(|| socket::path_of(&socket));
        let (served, exports) = self.serve(arrays, listeners)?;
        let told = Map::from_iter([
            ("exports".to_owned(), exports.into()),
            ("control".to_owned(), json!(control)),
        ]);
        let signposts = control.as_deref().map(|control| Signposts::set(control, sets));
        let signposts = signposts.transpose().context("the control socket")?;
        let answerer = Arc::clone(&served);
        let answer = move |path: PathBuf| Control::start(&path, Arc::new(move |ask, tell| answerer.answer(ask, tell)));
        let control = control.map(answer).transpose()?;
        if in_background {
            Output::of_json("nbd", JsonOption { json: true }).document(told)?;
            detach()?;
            output::leave_standard_streams(log)?;
        } else {
            if !handed {
                tell(&Output::of_json("nbd", self.json), told)?;
            }
            log.as_ref().map(output::log_into).transpose()?;
        }
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]) {
            log::warn!("the service manager was not told that the arrays are served: {error}");
        }
        let stopper = Arc::clone(served.server());
        let handle = signals.handle();
        let waiter = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if signals.forever().next().is_some() {
                stopper.stop(PATIENCE);
            }
        });
        waiter.context("a thread for signals")?;
        served.wait(handed);
        handle.close();
        served.server().stop(PATIENCE);
        let stopped = served.stop_all();
        drop(signposts);
        drop(control);
        stopped?;
        Ok(Code::Success)
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

    /// Serves arrays; also gives their exports as they are told.
    fn serve(&self, arrays: Vec<Arc<Array>>, listeners: Vec<Listener>) -> Result<(Arc<Served>, Vec<Value>)> {
        let settings = Settings {
            limits: Limits {
                clients: self.clients,
                ..Limits::default()
            },
            tls: if self.tls.is_some() || self.tls_psk.is_some() {
                let keys = Keys {
                    certificates: self.tls.as_deref(),
                    verify: self.tls_verify_peer,
                    shared: self.tls_psk.as_deref(),
                };
                Tls::load(&keys, !self.tls_optional)?
            } else {
                Tls::default()
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
        let uri = |array: &Array| listeners.iter().find_map(|listener| listener.uri(array.name(), secure));
        let told: Vec<Value> = arrays
            .iter()
            .map(|array| {
                json!({
                    "name": array.name(),
                    "uri": uri(array),
                    "size_bytes": array.size_bytes(),
                    "level": level_name(array),
                    "read_only": array.is_read_only(),
                })
            })
            .collect();
        let server = Arc::new(Server::start(exports, settings, listeners).context("the server")?);
        let keeper = |array: Arc<Array>| {
            let (server, share) = (Arc::clone(&server), self.rebuild_share);
            let share = move || if server.clients() == 0 { 100 } else { share };
            let timeout = (self.member_timeout > 0).then(|| Duration::from_secs(self.member_timeout));
            Keeper::start(array, Begin::Eager, Box::new(share), timeout).map(Arc::new)
        };
        let keepers = arrays.into_iter().map(keeper).collect::<std::io::Result<Vec<_>>>();
        let served = Served::new(server, keepers.context("threads for the arrays")?);
        Ok((Arc::new(served), told))
    }
}

/// Prints what is served: documents of JSON as they are, else the URIs.
pub fn tell(output: &Output, told: Map<String, Value>) -> Result<()> {
    if output.is_json() {
        return output.document(told);
    }
    let exports = told.get("exports").and_then(Value::as_array).into_iter().flatten();
    let mut uris = exports.filter_map(|export| export["uri"].as_str());
    uris.try_for_each(|uri| output.told(uri, &[]))
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
