//! A connection to a mail server that cannot last for ever and cannot bring endless bytes.
//!
//! A client library reads lines until they end and waits for each byte anew; a server that hangs, drips or floods would
//! hold it for as long as it likes. So the library speaks to a socket of this machine, and what it sends and gets goes
//! through here: for so long in all, and for so many bytes.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec};

/// What a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Time from the first byte to the last.
    pub whole: Duration,
    /// Time until the server takes the connection.
    pub connect: Duration,
    /// Bytes that the server may send.
    pub received_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            whole: Duration::from_secs(60),
            connect: Duration::from_secs(10),
            received_bytes: 256 << 10,
        }
    }
}

/// A connection that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Where the library connects to, once.
    pub local: SocketAddr,
    /// The server's address.
    pub server: IpAddr,
}

impl Link {
    /// Connects to a server by name or address.
    ///
    /// # Errors
    /// It is not known, or none of its addresses takes the connection in time.
    pub fn open(server: &str, port: u16, bounds: Bounds) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in (server, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, bounds.connect) {
                Ok(remote) => return Self::through(remote, address.ip(), bounds),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn through(remote: TcpStream, server: IpAddr, bounds: Bounds) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let local = listener.local_addr()?;
        let deadline = Instant::now() + bounds.whole;
        let relay = thread::Builder::new().name("mail".to_owned());
        relay.spawn(move || {
            if let Err(error) = relayed(&listener, &remote, deadline, bounds) {
                log::debug!("mail: {error}");
            }
        })?;
        Ok(Self { local, server })
    }
}

/// Lets the one client of `listener` speak to `remote`.
fn relayed(listener: &TcpListener, remote: &TcpStream, deadline: Instant, bounds: Bounds) -> io::Result<()> {
    let patience = Timespec::try_from(bounds.connect).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    if rustix::event::poll(&mut fds, Some(&patience))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (client, _) = listener.accept()?;
    let (from, mut to) = (client.try_clone()?, remote.try_clone()?);
    remote.set_write_timeout(Some(bounds.whole))?;
    client.set_write_timeout(Some(bounds.whole))?;
    let up = thread::Builder::new().name("mail".to_owned()).spawn(move || {
        let copied = io::copy(&mut &from, &mut to);
        // The server sees the end of it; where it is gone already there is nobody to see it.
        let _ = to.shutdown(Shutdown::Write);
        copied
    })?;
    let received = receive(remote, &client, deadline, bounds.received_bytes);
    // Ends the other direction, too; a side that is gone already needs no end.
    let _ = client.shutdown(Shutdown::Both);
    let _ = remote.shutdown(Shutdown::Both);
    drop(up.join());
    received
}

fn receive(mut remote: &TcpStream, mut client: &TcpStream, deadline: Instant, mut left: u64) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let patience = deadline.saturating_duration_since(Instant::now());
        if patience.is_zero() || left == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        remote.set_read_timeout(Some(patience))?;
        let read = remote.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        left = left.saturating_sub(read as u64);
        client.write_all(&buffer[..read])?;
    }
}
