//! The process that serves a mount in the background, and the one that waits until it does.
//!
//! The daemon is a new execution of this program, so it starts with one thread. It says on its standard output, a pipe
//! to the waiting process, that the mount is ready; until then its standard error is the waiting process's own, so its
//! complaints are seen where the verb was typed.

use std::{
    io::Read,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use sd_notify::NotifyState;

use crate::{
    cli::{
        exit::{Code, Failure},
        output::{READY, verbosity_flags},
    },
    mount::kernel,
};

/// How long a mount may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long a daemon that is told to end may take to unmount.
const END_LIMIT: Duration = Duration::from_secs(5);

/// How a daemon's start came out.
#[derive(Debug)]
pub(in crate::cli) enum Started {
    /// The mount is ready; the daemon's process id.
    Ready(u32),
    /// The daemon said why not, on standard error, and ended so.
    Failed(Code),
}

/// Starts the daemon and waits until the mount is ready.
///
/// # Errors
/// The daemon cannot be started, was killed, or is not ready within [`READY_LIMIT`].
pub(in crate::cli) fn start(mut command: Command, mount_point: &Path) -> Result<Started> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut child = command.spawn().context("the mount's daemon")?;
    let news = listen(&mut child)?;
    match news.recv_timeout(READY_LIMIT) {
        Ok(true) => Ok(Started::Ready(child.id())),
        Ok(false) | Err(RecvTimeoutError::Disconnected) => {
            let status = child.wait().context("the mount's daemon")?;
            failed(mount_point, status)
        }
        Err(RecvTimeoutError::Timeout) => {
            end(&mut child, &news, mount_point)?;
            let seconds = READY_LIMIT.as_secs();
            let message = format!("{} was not mounted within {seconds} s", mount_point.display());
            Err(Failure::new(Code::Io, message, "--foreground -v to see what it waits for").into())
        }
    }
}

/// This program again, with these arguments and as loud as it is.
///
/// # Errors
/// It cannot tell where it is.
pub(in crate::cli) fn program(words: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("/proc/self/exe")?);
    command.arg0("headstack").args(words).args(verbosity_flags());
    Ok(command)
}

/// Reads the daemon's standard output in a thread: true for its word that it is ready, false for its end.
fn listen(child: &mut Child) -> Result<Receiver<bool>> {
    let mut pipe = child.stdout.take().context("the pipe from the mount's daemon")?;
    let (tell, news) = channel();
    thread::spawn(move || {
        let mut word = [0; READY.len()];
        let ready = pipe.read_exact(&mut word).is_ok() && word == *READY;
        // The waiting side may have given up.
        let _ = tell.send(ready);
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    });
    Ok(news)
}

fn failed(mount_point: &Path, status: ExitStatus) -> Result<Started> {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(0) => {
            let message = format!("{} was unmounted before it was ready", mount_point.display());
            Err(Failure::new(Code::Failure, message, "again").into())
        }
        Some(code) => Ok(Started::Failed(Code::of(code))),
        None => {
            let message = format!("the daemon for {} ended by a signal: {status}", mount_point.display());
            Err(Failure::new(Code::Failure, message, "--foreground -v to see what it does").into())
        }
    }
}

/// Ends a daemon that is not ready in time, by force if it has to be, and clears what it mounted.
fn end(child: &mut Child, news: &Receiver<bool>, mount_point: &Path) -> Result<()> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("the mount's daemon")?;
    }
    if news.recv_timeout(END_LIMIT).is_err() {
        child.kill().context("the mount's daemon")?;
    }
    child.wait().context("the mount's daemon")?;
    kernel::recover_dead_mount_point(mount_point)?;
    Ok(())
}

/// Leaves the terminal and the working directory of whoever typed the verb.
///
/// # Errors
/// The process leads a group already, or `/` cannot be entered.
pub(in crate::cli) fn detach() -> Result<()> {
    rustix::process::setsid().context("a session of the daemon's own")?;
    std::env::set_current_dir("/").context("/")
}

/// Tells a service manager, if one started this process, that the mount is ready.
pub(in crate::cli) fn notify_ready() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]) {
        log::warn!("the service manager was not told that the mount is ready: {error}");
    }
}
