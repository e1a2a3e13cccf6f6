//! `headstack nbd`: serves the arrays of some images, in the foreground, until it is told to stop.
//!
//! The one-shot door: it finds the arrays in the images and hands them to the [`service`], which `array start` shares. How
//! an array is served while somebody else owns its life is the business of the server ([`crate::nbd`]) and the keeper.

mod service;
mod signposts;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{
    exit::{Code, Failure},
    images::{chosen, members},
};
use crate::raid::discover::ArraySet;

pub use service::{Service, default_socket, tell};

/// Serve arrays over NBD, each array of the images as an export of its name
///
/// It prints the URI of each export and serves until SIGTERM or SIGINT, then stops the arrays cleanly. Arrays that miss
/// members are served as long as their level allows it; what their redundancy needs is done meanwhile. Sockets that are
/// handed over as LISTEN_FDS says are served until the last client has left. Beside its socket it has a second one,
/// SOCKET.control, through which 'headstack array' reaches the arrays while they are in use; 'headstack array start' serves
/// an array in the background, 'headstack array stop' ends that.
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
    #[command(flatten)]
    service: Service,
}

impl Arguments {
    /// Serves until the end.
    ///
    /// # Errors
    /// [`Code::Corrupt`] for an image that is no member and for a set that cannot be started, [`Code::Busy`] where an
    /// image or the socket is in use.
    pub fn run(self) -> Result<Code> {
        let found = members(&self.images)?;
        let sets: Vec<ArraySet> = match self.array.as_deref() {
            Some(name) => vec![chosen(&found, Some(name))?.clone()],
            None if found.arrays.is_empty() => vec![chosen(&found, None)?.clone()],
            None => found.arrays,
        };
        refuse_same_names(&sets)?;
        self.service.run(&sets, false)
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
