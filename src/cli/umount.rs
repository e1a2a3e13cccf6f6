//! `headstack umount`: takes a mounted database out of the tree.
//!
//! Only mounts of this program are touched; the mount layer looks at what is mounted there before it acts.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use anyhow::Result;
use clap::Args;

use super::{
    exit::Code,
    output::{Cell, JsonOption, Output},
};
use crate::{mount::kernel, series::LOCK_FILE};

/// How long the daemon may take to close the database once it is unmounted.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to tell which database it is.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Unmount a database
///
/// It returns when everything is written and the database is closed; umount(8) and fusermount3(1) do the same, without
/// waiting. Files that are open in the mount keep it busy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack umount /mnt
  headstack umount --lazy /mnt
      programs that have files open there go on for a while")]
pub struct Arguments {
    /// Where the database is mounted
    #[arg(value_name = "MOUNTPOINT", value_hint = clap::ValueHint::DirPath)]
    mount_point: PathBuf,
    /// Take it out of the tree now, even if programs have files open there
    #[arg(short, long)]
    lazy: bool,
    #[command(flatten)]
    json: JsonOption,
}

impl Arguments {
    /// Unmounts.
    ///
    /// # Errors
    /// Nothing is mounted there, it is busy, or the system does not permit it.
    pub fn run(self) -> Result<Code> {
        let mount_point = kernel::absolute(&self.mount_point);
        let database = if self.lazy { None } else { database_at(&mount_point) };
        kernel::umount(&mount_point, self.lazy)?;
        if let Some(database) = database {
            wait_until_closed(&database);
        }
        let sentence = format!("unmounted {}", mount_point.display());
        let facts = [("mount_point", Cell::path(&mount_point))];
        Output::of_json("umount", self.json).done(&sentence, &facts)?;
        Ok(Code::Success)
    }
}

/// The database that is mounted at a place, as its mount tells. A daemon that does not answer is not waited for.
fn database_at(mount_point: &Path) -> Option<PathBuf> {
    let line = kernel::mounted_at(mount_point).filter(|line| line.kind == kernel::FILE_SYSTEM_TYPE)?;
    let (tell, told) = channel();
    thread::spawn(move || {
        // The waiting side may have given up.
        let _ = tell.send(line.database());
    });
    told.recv_timeout(ANSWER_LIMIT).ok().flatten()
}

/// Waits until the daemon lets go of the database's lock, so that the next verb finds it free. A mount that does not
/// show its database, or only reads it, is not waited for.
fn wait_until_closed(database: &Path) {
    let Ok(lock) = File::open(database.join(LOCK_FILE)) else {
        return;
    };
    let (tell, free) = channel();
    thread::spawn(move || {
        // The waiting side may have given up.
        let _ = tell.send(lock.lock_shared());
    });
    if free.recv_timeout(CLOSE_LIMIT).is_err() {
        log::warn!("{}: its daemon is still writing", database.display());
    }
}
