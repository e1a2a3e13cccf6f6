//! Serves files over NBD with the built-in server until it is killed or its input ends: for `tools/bench/nbd`.
//!
//! `nbd-standin [--tls DIR] SOCKET FILE...`; with `-` for SOCKET it takes what `LISTEN_FDS` says. It goes when the verb
//! `headstack nbd` serves arrays.

use std::{error::Error, io::Read as _, path::Path, sync::Arc, time::Duration};

use headstack::nbd::{Export, Exports, Listener, Server, Settings, Tls, standin::Array};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let mut settings = Settings::default();
    if arguments.next_if_eq("--tls").is_some() {
        let directory = arguments.next().ok_or("no directory of certificates")?;
        settings.tls = Tls::load(Path::new(&directory), true, false)?;
    }
    let socket = arguments.next().ok_or("no socket")?;
    let exports = Exports::default();
    for path in arguments {
        let path = Path::new(&path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        exports.add(Export::new(&name, Arc::new(Array::open(path, false)?))?);
    }
    let inherited = socket == "-";
    let listeners = if inherited {
        Listener::inherited()?
    } else {
        vec![Listener::unix(Path::new(&socket))?]
    };
    let server = Server::start(exports, settings, listeners)?;
    if inherited {
        server.wait_for_last_client();
    } else {
        let _ = std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    server.stop(Duration::from_secs(5));
    Ok(())
}
