//! `headstack array start`: serves an array in the background.
//!
//! It is `headstack nbd --array NAME` by a process of its own: this program anew, which tells on its standard output what it
//! serves and then leaves the terminal. Until then its complaints are seen where the verb was typed.

use std::{
    ffi::OsString,
    io::Read as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Map, Value};

use super::target::{PlaceArguments, served};
use crate::cli::{
    exit::{Code, Failure},
    images::chosen,
    nbd::{Service, tell},
    output::{Output, READY},
};

/// Serve an array in the background, until 'headstack array stop'
///
/// It prints the URI of the array, and returns. Arrays that miss members are served as long as their level allows it; what
/// their redundancy needs is done meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack array start r5
      prints nbd+unix:///r5?socket=/srv/r5.sock
  headstack array start r5 --in /srv/disks --log /var/log/r5.log")]
pub struct Arguments {
    /// Name or UUID of the array
    #[arg(value_name = "NAME")]
    name: String,
    /// Images of the array's members, or directories of them; the working directory by default
    #[arg(long = "in", value_name = "IMG", num_args = 1.., value_hint = clap::ValueHint::AnyPath)]
    places: Vec<PathBuf>,
    #[command(flatten)]
    service: Service,
    /// Be the process that serves
    #[arg(long, hide = true)]
    serve: bool,
}

impl Arguments {
    /// Starts the array.
    ///
    /// # Errors
    /// [`Code::Busy`] where it is being served already or an image is in use, and as `headstack nbd`.
    pub fn run(self) -> Result<Code> {
        let found = PlaceArguments::of(self.places, None).found(None)?;
        let set = chosen(&found, Some(&self.name))?;
        if self.serve {
            return self.service.run(std::slice::from_ref(set), true);
        }
        if served(set).is_some() {
            let message = format!("array {} is being served already", set.name);
            return Err(Failure::new(Code::Busy, message, "'headstack array stop' first").into());
        }
        let mut server = command()?.spawn().context("the array's server")?;
        match told(&mut server)? {
            Some(exports) => tell(&Output::of_json("array start", self.service.json()), exports)?,
            None => {
                let status = server.wait().context("the array's server")?;
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return match code {
                    // It has said why.
                    Some(code) if code != 0 => Ok(Code::of(code)),
                    _ => {
                        let message = format!("the server of array {} ended before it served: {status}", set.name);
                        Err(Failure::new(Code::Failure, message, "'headstack nbd -v' to see what it does").into())
                    }
                };
            }
        }
        Ok(Code::Success)
    }
}

/// This command line again, for the process that serves.
fn command() -> Result<Command> {
    let program = std::env::current_exe().context("/proc/self/exe")?;
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Nothing but options that take no value stand before the verb.
    let verb = words.iter().position(|word| word == "start");
    words.insert(verb.map_or(words.len(), |verb| verb + 1), "--serve".into());
    let mut command = Command::new(program);
    command
        .args(words)
        .env_remove("LISTEN_FDS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    Ok(command)
}

/// What the server tells once it serves; none where it ends before.
fn told(server: &mut Child) -> Result<Option<Map<String, Value>>> {
    let mut text = Vec::new();
    let mut pipe = server.stdout.take().context("the pipe from the array's server")?;
    pipe.read_to_end(&mut text).context("the array's server")?;
    let Some(document) = text.strip_suffix(READY) else {
        return Ok(None);
    };
    let mut told: Map<String, Value> = serde_json::from_slice(document).context("the array's server")?;
    told.remove("output_version");
    Ok(Some(told))
}
