//! `headstack serve`: the controller of a store, in the foreground, until it is told to stop.
//!
//! It serves every array of the store and takes care of them. What it does is the controller's; here are its sockets, its
//! signals, and what it tells a service manager.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use clap::Args;
use sd_notify::NotifyState;
use serde_json::{Map, Value, json};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{
    exit::{Code, Failure},
    output::{self, JsonOption, Output},
};
use crate::{
    controller::{
        Kind, Store,
        error::Error,
        interface::{Answerer, Ask, StoreAsk},
        neighbours::Note,
        running::Controller,
        served::PATIENCE,
        socket::{self, Control},
    },
    mount::{
        options::Options,
        session::{self, MountRequest, Mounted},
    },
    nbd::{Exports, Limits, Listener, Server, Settings, listen::Uris},
};

/// Run the controller of a store: serve its arrays, replace failed members, tell what happens
///
/// Every array of the images in STORE/disks is an export of its name, and the console is a page of its address for a
/// browser. A disk of the spare pool takes the place of a member that fails, a disk that comes back is recognised. What
/// happens is told as events, which are a series of the store's own database. 'headstack status' says how all is. It stops
/// cleanly on SIGTERM and SIGINT; sockets that are handed over as LISTEN_FDS says are served in place of its own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack init /srv/store
  headstack disk create /srv/store/disks/disk{0,1,2,3}.img --size 1G
  headstack array create r5 --level 5 /srv/store/disks/disk{0,1,2}.img
  headstack serve /srv/store &
  headstack spare add /srv/store/disks/disk3.img
  headstack status /srv/store")]
pub struct Arguments {
    /// The store
    #[arg(value_name = "STORE", value_hint = clap::ValueHint::DirPath)]
    store: PathBuf,
    /// Socket to serve the arrays on; STORE/state/nbd.sock by default
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    socket: Option<PathBuf>,
    /// Serve the arrays on this TCP port of 127.0.0.1 too; 0 takes a free one
    #[arg(long, value_name = "N")]
    nbd_port: Option<u16>,
    /// Mount the store's series there, with the controller's own; its metrics are in .stats. As the setting 'mount'
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    mount: Option<PathBuf>,
    /// Clients at a time
    #[arg(long, value_name = "N", default_value_t = 64)]
    clients: usize,
    #[cfg(feature = "console")]
    #[command(flatten)]
    console: super::console::Options,
    /// Add what is logged to this file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    log: Option<PathBuf>,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Serves until the end.
    ///
    /// # Errors
    /// [`Code::NotFound`] where there is no store, [`Code::Busy`] where it has a controller already or the socket is in use.
    pub fn run(self) -> Result<Code> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals")?;
        let log = self.log.as_deref().map(output::open_log).transpose()?;
        let store = Store::open(&self.store)?;
        let tenure = store.take()?;
        let path = self.socket.clone().unwrap_or_else(|| store.socket());
        // Sockets that a service manager holds are served in place of one's own.
        let mut listeners = Listener::inherited()?;
        if listeners.is_empty() {
            listeners.push(Listener::unix(&path)?);
        }
        if let Some(port) = self.nbd_port {
            listeners.push(Listener::loopback(port)?);
        }
        let uris: Vec<Uris> = listeners.iter().filter_map(|listener| listener.uris(false)).collect();
        let settings = Settings {
            limits: Limits {
                clients: self.clients,
                ..Limits::default()
            },
            ..Settings::default()
        };
        let server = Arc::new(Server::start(Exports::default(), settings, Vec::new()).context("the server")?);
        let controller = Arc::new(Controller::start(store.clone(), tenure, Arc::clone(&server))?);
        // Whoever comes first, as with a socket that was handed over, finds the arrays.
        server.listen(listeners).context("the server")?;
        let answerer = Arc::clone(&controller);
        let pages = Pages::start(&self, &store, Arc::new(move |ask, tell| answerer.answer(ask, tell)))?;
        // Verbs look for the controller where its store has it, wherever the arrays are served.
        let control = socket::path_of(&store.socket());
        let (answerer, invites) = (Arc::clone(&controller), Arc::clone(&pages));
        let control = Control::start(
            &control,
            Arc::new(move |ask, tell| match ask {
                Ask::Invite => invites.invite(),
                ask => answerer.answer(ask, tell),
            }),
        )?;
        let mounted = mounted(&self, &store, &controller)?;
        self.tell(&controller, &uris, pages.url().as_deref())?;
        let note = pages.url().map(|url| Note::leave(&store, &url)).transpose();
        let _note = note.unwrap_or_else(|error| {
            log::info!("other consoles do not list this one: {error}");
            None
        });
        log.as_ref().map(output::log_into).transpose()?;
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
            log::warn!("the service manager was not told that the store is served: {error}");
        }
        let handle = signals.handle();
        let stopper = Arc::clone(&server);
        let waiter = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if signals.forever().next().is_some() {
                stopper.stop(PATIENCE);
            }
        });
        waiter.context("a thread for signals")?;
        server.wait_until_stopped();
        handle.close();
        server.stop(PATIENCE);
        pages.end();
        if let Some(Err(error)) = mounted.map(Mounted::unmount) {
            log::error!("{error}");
        }
        let stopped = controller.stop();
        drop(control);
        stopped?;
        Ok(Code::Success)
    }

    /// Prints what is served.
    fn tell(&self, controller: &Controller, uris: &[Uris], console: Option<&str>) -> Result<()> {
        let facts = controller.answer(Ask::Store(StoreAsk::Status), &mut |_| Ok(()))?;
        let arrays = facts["arrays"].as_array().into_iter().flatten();
        let names = arrays.filter_map(|array| array["name"].as_str());
        let served: Vec<String> = names
            .flat_map(|name| uris.iter().map(move |uris| uris.of(name)))
            .collect();
        let output = Output::of_json("serve", self.json);
        if output.is_json() {
            return output.document(Map::from_iter([
                ("store".to_owned(), facts["store"].clone()),
                ("uris".to_owned(), json!(served)),
                ("arrays".to_owned(), facts["arrays"].clone()),
                ("not_started".to_owned(), facts["not_started"].clone()),
                ("console".to_owned(), json!(console)),
            ]));
        }
        let mut addresses = served.iter().map(String::as_str).chain(console);
        addresses.try_for_each(|address| output.told(address, &[]))?;
        let troubles = facts["not_started"].as_array().into_iter().flatten();
        troubles
            .filter_map(Value::as_str)
            .for_each(|text| log::error!("{text}"));
        Ok(())
    }
}

/// Mounts the series of the store, where that is wished; a directory that only the settings name keeps no array from being
/// served.
fn mounted(arguments: &Arguments, store: &Store, controller: &Arc<Controller>) -> Result<Option<Mounted>> {
    let wished = controller.answer(Ask::Store(StoreAsk::Status), &mut |_| Ok(()))?;
    let setting = wished["settings"]["mount"].as_str().map(PathBuf::from);
    let Some(mount_point) = arguments.mount.clone().or(setting) else {
        return Ok(None);
    };
    match mount(&mount_point, store, controller) {
        Err(error) if arguments.mount.is_none() => {
            log::error!("the series are not mounted: {error:#}");
            Ok(None)
        }
        mounted => mounted.map(Some),
    }
}

fn mount(mount_point: &Path, store: &Store, controller: &Arc<Controller>) -> Result<Mounted> {
    let Some(database) = controller.share_database() else {
        let message = format!("{}: another process has the database", store.series().display());
        return Err(Failure::new(Code::Busy, message, "again once it is unmounted or closed").into());
    };
    let request = MountRequest {
        database: store.series(),
        mount_point: std::path::absolute(mount_point).with_context(|| mount_point.display().to_string())?,
        options: Options {
            shared: true,
            ..Options::default()
        },
    };
    let mounted = session::mount(&request, database)?;
    let teller = Arc::downgrade(controller);
    mounted.filesystem().set_more_metrics(move || {
        let ask = Ask::Store(StoreAsk::Metrics);
        let told = teller
            .upgrade()
            .and_then(|controller| controller.answer(ask, &mut |_| Ok(())).ok());
        told.and_then(|told| Some(told.get("text")?.as_str()?.to_owned()))
            .unwrap_or_default()
    });
    Ok(mounted)
}

/// The console beside the controller, where the program has one and it is wished for.
struct Pages {
    #[cfg(feature = "console")]
    console: std::sync::Mutex<Option<crate::console::Console>>,
}

#[cfg(feature = "console")]
impl Pages {
    fn start(arguments: &Arguments, store: &Store, answerer: Arc<Answerer>) -> Result<Arc<Self>> {
        let console = arguments.console.start(store, answerer)?.into();
        Ok(Arc::new(Self { console }))
    }

    fn console(&self) -> std::sync::MutexGuard<'_, Option<crate::console::Console>> {
        self.console.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn url(&self) -> Option<String> {
        self.console().as_ref().map(crate::console::Console::url)
    }

    fn invite(&self) -> crate::controller::error::Result<Map<String, Value>> {
        self.console()
            .as_ref()
            .map_or_else(|| Err(no_console()), crate::console::Console::invite)
    }

    fn end(&self) {
        self.console().take();
    }
}

#[cfg(not(feature = "console"))]
impl Pages {
    fn start(_: &Arguments, _: &Store, _: Arc<Answerer>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {}))
    }

    fn url(&self) -> Option<String> {
        None
    }

    fn invite(&self) -> crate::controller::error::Result<Map<String, Value>> {
        Err(no_console())
    }

    fn end(&self) {}
}

fn no_console() -> Error {
    let remedy = "'headstack serve' without --no-console, by a program that was built with the feature console";
    Error::refused(Kind::Unavailable, "the console is not served", remedy)
}
