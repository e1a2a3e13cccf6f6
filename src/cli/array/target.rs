//! Where the array of a verb is: with a server that has a control socket, or in images that nobody has open.
//!
//! A server is asked where `--socket` names its socket, or where one answers on the socket that an array has by default.
//! Else the array is started in this process, and stopped once the order is carried out.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value};

use super::explain::store_of;
use crate::{
    cli::{
        exit::{Code, Failure},
        images::{chosen, images},
        nbd::default_socket,
        output::{Progress as Bar, Unit},
    },
    controller::{
        client,
        error::Kind,
        interface::Ask,
        order::{Order, on_host, perform},
        socket::path_of,
    },
    nbd::{Begin, Keeper, MEMBER_TIMEOUT},
    raid::{
        assemble::Assembly,
        discover::{ArraySet, Discovery, discover, open},
        rebuild::Progress,
    },
};

/// Where an array is looked for.
#[derive(Debug, Clone, Args)]
pub struct PlaceArguments {
    /// Images of the array's members, or directories of them; the working directory by default
    #[arg(long = "in", value_name = "IMG", num_args = 1.., value_hint = clap::ValueHint::AnyPath)]
    places: Vec<PathBuf>,
    /// Socket of the server that has the array in use
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    socket: Option<PathBuf>,
    /// Start an array that was not stopped cleanly and misses members, though some of its data may be wrong
    #[arg(long)]
    force: bool,
}

impl PlaceArguments {
    /// Images of what was given, or of the working directory.
    pub fn of(places: Vec<PathBuf>, socket: Option<PathBuf>) -> Self {
        Self {
            places,
            socket,
            force: false,
        }
    }

    /// All that is found where it is looked; `beside` is an image whose directory is meant where no other is given.
    ///
    /// # Errors
    /// A place does not exist.
    pub fn found(&self, beside: Option<&Path>) -> Result<Discovery> {
        let here = beside
            .and_then(Path::parent)
            .filter(|parent| !parent.as_os_str().is_empty());
        let here = [here.unwrap_or(Path::new(".")).to_path_buf()];
        let places = if self.places.is_empty() {
            &here[..]
        } else {
            &self.places
        };
        Ok(discover(&images(places)?))
    }

    /// Carries out an order on the array of a name. `what` is what a bar of progress calls it.
    ///
    /// # Errors
    /// There is no such array, it cannot be started, or the order fails.
    pub fn carry_out(
        &self,
        name: Option<&str>,
        beside: Option<&Path>,
        order: Order,
        what: &str,
    ) -> Result<Map<String, Value>> {
        let mut bar = None;
        let mut done = 0;
        let mut tell = |progress: Progress| {
            let bar = bar.get_or_insert_with(|| Bar::new(what, Unit::Bytes, progress.whole_bytes, false));
            bar.add(progress.done_bytes.saturating_sub(done));
            done = done.max(progress.done_bytes);
            Ok(())
        };
        let set = match self.reach(name, beside)? {
            Reached::Server(stream, name) => {
                return Ok(client::ask(stream, Ask::Array { name, order }, &mut tell)?);
            }
            Reached::Images(set) => set,
        };
        let how = Assembly {
            force: self.force,
            ..Assembly::default()
        };
        let keeper = Keeper::start(
            Arc::new(open(&set, how)?),
            Begin::Asked,
            Box::new(|| 100),
            Some(MEMBER_TIMEOUT),
        )?;
        let done = perform(&keeper, &order, &on_host, &mut tell);
        keeper.stop()?;
        Ok(done?)
    }

    /// Ends the service of an array.
    ///
    /// # Errors
    /// [`Code::Unavailable`] where it is not being served; what the server says.
    pub fn stop(&self, name: &str, disconnect: bool) -> Result<()> {
        match self.reach(Some(name), None)? {
            Reached::Server(stream, name) => {
                client::ask(stream, Ask::Stop { name, disconnect }, &mut |_| Ok(()))?;
                Ok(())
            }
            Reached::Images(set) => {
                let message = format!("array {} is not being served", set.name);
                Err(Failure::new(Code::Unavailable, message, "--socket with the socket of its server").into())
            }
        }
    }

    /// Where the array of a name is.
    fn reach(&self, name: Option<&str>, beside: Option<&Path>) -> Result<Reached> {
        if let Some(socket) = &self.socket {
            let control = path_of(socket);
            let Some(stream) = client::connect(&control) else {
                let message = format!("{}: no server takes orders there", control.display());
                return Err(Failure::new(Code::Unavailable, message, "the socket that 'headstack nbd' printed").into());
            };
            return Ok(Reached::Server(stream, name.map(str::to_owned)));
        }
        let found = self.found(beside)?;
        let set = chosen(&found, name)?;
        Ok(match served(set) {
            Some(stream) => Reached::Server(stream, Some(set.uuid.to_string())),
            None => Reached::Images(Box::new(set.clone())),
        })
    }
}

/// Where an array is.
enum Reached {
    /// With a server; the name by which that knows it.
    Server(UnixStream, Option<String>),
    /// In images that nobody serves.
    Images(Box<ArraySet>),
}

/// A connection to the server of an array: the one that its default socket leads to, or the controller of the store that its
/// images are in. An array that such a server does not serve, since it was stopped, is nobody's.
pub fn served(set: &ArraySet) -> Option<UnixStream> {
    let images: Vec<PathBuf> = set.members.iter().map(|member| member.image.path()).collect();
    let mut sockets: Vec<PathBuf> = images.iter().map(|image| default_socket(image, &set.name)).collect();
    sockets.dedup();
    sockets.extend(store_of(set).map(|store| store.socket()));
    sockets.iter().find_map(|socket| {
        let control = path_of(socket);
        let ask = Ask::Array {
            name: Some(set.uuid.to_string()),
            order: Order::Status,
        };
        let known = client::ask(client::connect(&control)?, ask, &mut |_| Ok(()));
        let is_nobodys = known.is_err_and(|error| error.judge().0 == Kind::NotFound);
        (!is_nobodys).then(|| client::connect(&control))?
    })
}
