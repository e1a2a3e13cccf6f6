//! The other door: arrays in nbdkit, whose filters, TLS and vsock they get.
//!
//! `nbdkit ./libheadstack.so disk0.img disk1.img ..` serves the arrays of the images, each as an export of its name. The
//! crate `nbdkit` makes C calls of a trait's methods; what it leaves out of nbdkit's table is added in [`table`]. This file
//! is a leaf: nbdkit's own functions exist only in nbdkit, so nothing that is a program or a test may reach it.
//!
//! Images are opened before nbdkit goes into the background, threads begin after that. A panic would end nbdkit: every
//! method is guarded. Zeros are always made in full and extents never go past the request, since nbdkit before 1.34 takes
//! neither a refusal nor more than it asked for.

mod table;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use nbdkit::{CacheFlags, Error, ExtentHandle, ExtentType, Flags, FuaFlags, Result, Server, ThreadModel};

use super::{
    connection::pool::{Panicked, guarded},
    errno::errno,
    keeper::{Begin, Keeper},
    protocol::Errno,
    watcher::MEMBER_TIMEOUT,
};
use crate::raid::{
    self, Array, ExtentKind, Zeroes,
    assemble::{Assembly, Image},
    discover::{Contents, discover, open},
};

/// Share of the time, in percent, that rebuilding may take: who the clients are nbdkit does not tell.
const REBUILD_SHARE: u8 = 30;

/// What was said on the command line.
#[derive(Default)]
struct Config {
    images: Vec<PathBuf>,
    array: Option<String>,
    read_only: bool,
    force: bool,
    /// 0 for ever.
    member_timeout_s: Option<u64>,
}

static CONFIG: Mutex<Config> = Mutex::new(Config {
    images: Vec::new(),
    array: None,
    read_only: false,
    force: false,
    member_timeout_s: None,
});

/// The arrays, from the time that nbdkit is ready.
static ARRAYS: OnceLock<Vec<Arc<Array>>> = OnceLock::new();

/// Those who take care of them, from the time that there may be threads.
static KEEPERS: Mutex<Vec<Keeper>> = Mutex::new(Vec::new());

/// One connection's view of an array.
struct Connection {
    array: Arc<Array>,
    read_only: bool,
}

/// Runs a method so that a panic becomes an I/O error.
fn safely<T>(method: impl FnOnce() -> Result<T>) -> Result<T> {
    let fault = |Panicked| Error::new(Errno::Io as i32, "a fault in the server");
    guarded(method).map_err(fault).and_then(|result| result)
}

fn told(error: raid::Error) -> Error {
    Error::new(errno(&error) as i32, error.to_string())
}

fn wrong(message: String) -> Error {
    Error::new(Errno::Invalid as i32, message)
}

fn parse_flag(key: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(wrong(format!("{key}={value}: it is true or false"))),
    }
}

fn parse_seconds(key: &str, value: &str) -> Result<u64> {
    value
        .parse()
        .map_err(|_| wrong(format!("{key}={value}: it is a number of seconds")))
}

/// Opens the arrays that the configuration names.
fn open_all(config: &Config) -> Result<Vec<Arc<Array>>> {
    let image = |path: &PathBuf| Image::at(path).map_err(|error| wrong(format!("{}: {error}", path.display())));
    let images = config.images.iter().map(image).collect::<Result<Vec<_>>>()?;
    let found = discover(&images);
    if let Some(stranger) = found.images.iter().find(|report| report.contents != Contents::Member) {
        let path = stranger.image.path();
        return Err(wrong(format!(
            "{}: it is no member of an array: {}",
            path.display(),
            stranger.contents
        )));
    }
    let how = Assembly {
        read_only: config.read_only,
        force: config.force,
        ..Assembly::default()
    };
    let wanted = |name: &str| config.array.as_deref().is_none_or(|array| array == name);
    let sets = found.arrays.iter().filter(|set| wanted(&set.name));
    let arrays = sets
        .map(|set| open(set, how).map(Arc::new).map_err(told))
        .collect::<Result<Vec<_>>>()?;
    if arrays.is_empty() {
        return Err(wrong("there is no such array in the images".to_owned()));
    }
    Ok(arrays)
}

/// The array of an export's name; the only one where the name is empty.
fn array_named(name: &str) -> Option<Arc<Array>> {
    let arrays = ARRAYS.get()?;
    let named = arrays.iter().find(|array| array.name() == name);
    named
        .or_else(|| arrays.first().filter(|_| name.is_empty() && arrays.len() == 1))
        .cloned()
}

/// Ends what takes care of the arrays, and stops them.
fn stop_all() {
    let keepers = std::mem::take(&mut *KEEPERS.lock().unwrap_or_else(PoisonError::into_inner));
    for keeper in keepers {
        if let Err(error) = keeper.stop() {
            log::error!("{error}");
        }
    }
}

impl Server for Connection {
    fn name() -> &'static str {
        "headstack"
    }

    fn longname() -> Option<&'static str> {
        Some("Headstack: RAID arrays over image files, in the format of Linux md")
    }

    fn version() -> Option<&'static str> {
        Some(env!("CARGO_PKG_VERSION"))
    }

    fn description() -> Option<&'static str> {
        Some("Serves the arrays of member images, each as an export of its name.")
    }

    fn config_help() -> Option<&'static str> {
        Some(
            "image=IMG        (required) Member image; any number, also without 'image='\n\
             array=NAME                  Serve only this array\n\
             read-only=true              Write nothing, not even superblocks\n\
             force=true                  Start what was not stopped cleanly and misses members\n\
             member-timeout=SECONDS      Count a member that takes longer to answer as failed; 0 never (30)",
        )
    }

    fn magic_config_key() -> Option<&'static str> {
        Some("image")
    }

    fn thread_model() -> Result<ThreadModel> {
        Ok(ThreadModel::Parallel)
    }

    fn config(key: &str, value: &str) -> Result<()> {
        safely(|| {
            let mut config = CONFIG.lock().unwrap_or_else(PoisonError::into_inner);
            match key {
                // nbdkit may leave the working directory before the images are opened.
                "image" => config.images.push(std::path::absolute(Path::new(value))?),
                "array" => config.array = Some(value.to_owned()),
                "read-only" => config.read_only = parse_flag(key, value)?,
                "force" => config.force = parse_flag(key, value)?,
                "member-timeout" => config.member_timeout_s = Some(parse_seconds(key, value)?),
                _ => return Err(wrong(format!("unknown parameter {key}"))),
            }
            Ok(())
        })
    }

    fn config_complete() -> Result<()> {
        safely(|| {
            if CONFIG.lock().unwrap_or_else(PoisonError::into_inner).images.is_empty() {
                return Err(wrong("no member image is given; say image=IMG".to_owned()));
            }
            Ok(())
        })
    }

    fn get_ready() -> Result<()> {
        safely(|| {
            let arrays = open_all(&CONFIG.lock().unwrap_or_else(PoisonError::into_inner))?;
            // It is called once.
            let _ = ARRAYS.set(arrays);
            Ok(())
        })
    }

    fn after_fork() -> Result<()> {
        safely(|| {
            let seconds = CONFIG.lock().unwrap_or_else(PoisonError::into_inner).member_timeout_s;
            let timeout = seconds.map_or(Some(MEMBER_TIMEOUT), |seconds| {
                (seconds > 0).then(|| Duration::from_secs(seconds))
            });
            for array in ARRAYS.get().into_iter().flatten() {
                let keeper = Keeper::start(Arc::clone(array), Begin::Eager, Box::new(|| REBUILD_SHARE), timeout)?;
                KEEPERS.lock().unwrap_or_else(PoisonError::into_inner).push(keeper);
            }
            Ok(())
        })
    }

    fn open(read_only: bool) -> Result<Box<dyn Server>> {
        safely(|| {
            let name = nbdkit::export_name().map_err(|error| wrong(error.to_string()))?;
            let Some(array) = array_named(&name) else {
                return Err(Error::new(libc::ENOENT, format!("there is no export {name:?}")));
            };
            Ok(Box::new(Self { array, read_only }) as Box<dyn Server>)
        })
    }

    fn get_size(&self) -> Result<i64> {
        i64::try_from(self.array.size_bytes()).map_err(|error| wrong(error.to_string()))
    }

    fn can_write(&self) -> Result<bool> {
        Ok(!self.read_only && !self.array.is_read_only())
    }

    fn can_flush(&self) -> Result<bool> {
        Ok(true)
    }

    fn can_fua(&self) -> Result<FuaFlags> {
        Ok(FuaFlags::Native)
    }

    fn can_multi_conn(&self) -> Result<bool> {
        Ok(true)
    }

    fn can_trim(&self) -> Result<bool> {
        Ok(true)
    }

    fn can_zero(&self) -> Result<bool> {
        Ok(true)
    }

    fn can_fast_zero(&self) -> Result<bool> {
        Ok(true)
    }

    fn can_cache(&self) -> Result<CacheFlags> {
        Ok(CacheFlags::Native)
    }

    fn can_extents(&self) -> Result<bool> {
        Ok(true)
    }

    fn is_rotational(&self) -> Result<bool> {
        Ok(false)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        safely(|| self.array.read_at(buffer, offset).map_err(told))
    }

    fn write_at(&self, bytes: &[u8], offset: u64, flags: Flags) -> Result<()> {
        safely(|| {
            self.array
                .write_at(bytes, offset, flags.contains(Flags::FUA))
                .map_err(told)
        })
    }

    fn flush(&self) -> Result<()> {
        safely(|| self.array.flush().map_err(told))
    }

    fn trim(&self, count: u32, offset: u64, flags: Flags) -> Result<()> {
        let fua = flags.contains(Flags::FUA);
        safely(|| self.array.trim(offset, count.into(), fua).map_err(told))
    }

    fn zero(&self, count: u32, offset: u64, flags: Flags) -> Result<()> {
        let how = Zeroes {
            may_trim: flags.contains(Flags::MAY_TRIM),
            fast_only: flags.contains(Flags::FAST_ZERO),
            fua: flags.contains(Flags::FUA),
        };
        safely(|| self.array.write_zeroes(offset, count.into(), how).map_err(told))
    }

    fn cache(&self, count: u32, offset: u64) -> Result<()> {
        safely(|| self.array.cache(offset, count.into()).map_err(told))
    }

    fn extents(&self, count: u32, offset: u64, flags: Flags, extents: &mut ExtentHandle) -> Result<()> {
        safely(|| {
            let end = offset + u64::from(count);
            let mut at = offset;
            for extent in self.array.block_status(offset, count.into()).map_err(told)? {
                let length = extent.length_bytes.min(end - at);
                let kind = match extent.kind {
                    ExtentKind::Data => ExtentType::Allocated,
                    ExtentKind::Hole => ExtentType::HoleZero,
                    ExtentKind::Zero => ExtentType::Zero,
                };
                if length > 0 {
                    extents.add(at, length, kind)?;
                }
                at += length;
                if at == end || flags.contains(Flags::REQ_ONE) {
                    break;
                }
            }
            Ok(())
        })
    }
}
