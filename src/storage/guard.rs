//! Guarded shared mappings: the file behind one may be cut short, and the process lives on.
//!
//! An access to a mapped page that the file does not have raises SIGBUS, which by default ends the process. A handler,
//! installed at the first mapping, finds the mapping of the fault's address in a fixed table, puts a private page of
//! zeros in the lost page's place, marks the mapping *damaged* and lets the access go on. So a reader gets zeros and a
//! writer writes into the void; both must ask [`Mapping::damaged`] before they trust what they did. Faults elsewhere
//! go to the handler that was there before.
//!
//! This file has the crate's unsafe code for mappings; it knows nothing about what is in the bytes.

use std::{
    io,
    mem::{transmute, zeroed},
    ops::Range,
    os::fd::AsRawFd,
    ptr, slice,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence},
    },
};

use libc::{c_int, c_void, siginfo_t};
use memmap2::{MmapOptions, MmapRaw};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use super::Access;

/// Mappings a process may have at once; more get `ENOMEM`.
pub const MAPPINGS_MAX: usize = 4096;

/// A guarded window of shared memory onto the head of a file; it may reach past the file's end.
///
/// Offsets are in bytes from the start of the file. Reads and writes are plain memory accesses: who writes which bytes
/// while others read them is the engine's to order, as with any shared file. Bytes past the file's end are not to be
/// touched: they read as zeros, but the mapping is damaged then, for good.
#[derive(Debug)]
pub struct Mapping {
    memory: MmapRaw,
    slot: &'static Slot,
    writable: bool,
}

impl Mapping {
    /// Maps the first `length_bytes` of `file`, shared.
    ///
    /// # Errors
    /// `ENOMEM` where the process has no room for one more mapping, `EACCES` where the descriptor does not allow
    /// `access`, `ENODEV` where the file system has no mappings.
    pub fn new(file: &impl AsRawFd, length_bytes: usize, access: Access) -> io::Result<Self> {
        let host = Host::get()?;
        let slot = TABLE
            .claim()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let mut options = MmapOptions::new();
        options.len(length_bytes);
        let descriptor = file.as_raw_fd();
        let mapped = match access {
            Access::Read => options.map_raw_read_only(descriptor),
            Access::ReadWrite => options.map_raw(descriptor),
        };
        let memory = match mapped {
            Ok(memory) => memory,
            Err(error) => {
                slot.release();
                return Err(error);
            }
        };
        let writable = access == Access::ReadWrite;
        let start = memory.as_ptr().addr();
        slot.publish(start, start + length_bytes.next_multiple_of(host.page_bytes), writable);
        Ok(Self { memory, slot, writable })
    }

    /// Start of the memory, aligned to a page; valid as long as the mapping lives.
    #[must_use]
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.memory.as_mut_ptr()
    }

    /// Length in bytes, as asked for; the file may be shorter.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// True where nothing is mapped.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True where bytes may be written.
    #[must_use]
    #[inline]
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// True once any access met a page that the file does not have or the device cannot give.
    ///
    /// From then on the mapping no longer shows the file everywhere: reads may have given zeros, writes may be lost.
    /// One atomic load; an access is covered if the question is asked after it by the same thread.
    #[must_use]
    #[inline]
    pub fn damaged(&self) -> bool {
        // The handler runs in the thread of the access, so only the compiler could move the question before it.
        compiler_fence(Ordering::SeqCst);
        self.slot.damaged.load(Ordering::Acquire)
    }

    /// Copies bytes out.
    ///
    /// # Panics
    /// Where the range is not inside the mapping.
    #[inline]
    pub fn copy_to(&self, offset_bytes: usize, buffer: &mut [u8]) {
        let source = self.at(offset_bytes, buffer.len());
        // SAFETY: `at` checked that the source is inside the mapping, which lives as long as `self`. `buffer` is an
        // exclusive borrow, and nobody gives out exclusive borrows of mapped memory, so they do not overlap.
        unsafe { ptr::copy_nonoverlapping(source, buffer.as_mut_ptr(), buffer.len()) }
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// Where the range is not inside the mapping, or the mapping is not writable.
    #[inline]
    pub fn copy_from(&self, offset_bytes: usize, bytes: &[u8]) {
        assert!(self.writable, "store into a mapping for reading");
        let target = self.at(offset_bytes, bytes.len());
        // SAFETY: `at` checked that the target is inside the mapping, which is writable and lives as long as `self`.
        // The only shared borrows of mapped memory are those of `slice`, whose caller promised that their bytes are
        // never written, so the target overlaps neither `bytes` nor any other borrow.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) }
    }

    /// Loads a little-endian number, at any alignment.
    ///
    /// # Panics
    /// Where the range is not inside the mapping.
    #[must_use]
    #[inline]
    pub fn load_u32(&self, offset_bytes: usize) -> u32 {
        let source = self.at(offset_bytes, size_of::<u32>());
        // SAFETY: `at` checked that the four bytes are inside the mapping; any bytes are a valid u32.
        u32::from_le(unsafe { source.cast::<u32>().read_unaligned() })
    }

    /// Stores a little-endian number, at any alignment.
    ///
    /// # Panics
    /// Where the range is not inside the mapping, or the mapping is not writable.
    #[inline]
    pub fn store_u32(&self, offset_bytes: usize, value: u32) {
        assert!(self.writable, "store into a mapping for reading");
        let target = self.at(offset_bytes, size_of::<u32>());
        // SAFETY: as in `copy_from`.
        unsafe { target.cast::<u32>().write_unaligned(value.to_le()) }
    }

    /// Makes the pages of a range present and writable in one call, where the host can; else stores fault them in.
    ///
    /// # Panics
    /// Where the range is not inside the mapping.
    pub fn populate(&self, range: Range<usize>) {
        let page_bytes = rustix::param::page_size();
        let start = range.start.next_multiple_of(page_bytes);
        let end = range.end / page_bytes * page_bytes;
        if start < end {
            let address = self.at(start, end - start);
            // SAFETY: the pages are inside the mapping; populating changes no byte of them.
            let populated =
                unsafe { rustix::mm::madvise(address.cast(), end - start, rustix::mm::Advice::LinuxPopulateWrite) };
            if let Err(error) = populated {
                log::trace!("pages are not made present ahead: {error}");
            }
        }
    }

    /// Lends bytes of the mapping without a copy.
    ///
    /// # Panics
    /// Where the range is not inside the mapping.
    ///
    /// # Safety
    /// The bytes of the range are published: they are never written again while the borrow lives, neither through this
    /// mapping nor through another nor the file. The engine keeps this by lending only entries that are counted, which
    /// an append-only chunk never changes. A file that is cut short behind the mapping turns bytes into zeros at most
    /// once; who must not be fooled asks [`Mapping::damaged`] after the use.
    #[must_use]
    #[inline]
    pub unsafe fn slice(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end, "range of mapped bytes ends before it starts");
        let length = range.end - range.start;
        let start = self.at(range.start, length);
        // SAFETY: `at` checked that the range is inside the mapping, which lives as long as `self`; the caller promised
        // that nobody writes these bytes.
        unsafe { slice::from_raw_parts(start, length) }
    }

    /// Address of a range that is inside the mapping.
    #[inline]
    fn at(&self, offset_bytes: usize, length_bytes: usize) -> *mut u8 {
        let inside = offset_bytes
            .checked_add(length_bytes)
            .is_some_and(|end| end <= self.len());
        assert!(
            inside,
            "{length_bytes} bytes at {offset_bytes} are outside of a mapping of {} bytes",
            self.len()
        );
        self.as_ptr().wrapping_add(offset_bytes)
    }
}

impl Drop for Mapping {
    /// The slot goes first: once the memory is unmapped, another mapping may get the same addresses.
    fn drop(&mut self) {
        self.slot.release();
    }
}

/// One registered mapping. Its fields are read by the signal handler while other threads register theirs, so they are
/// a seqlock: `version` is odd while they change. A fault's own slot cannot change under the handler, as the faulting
/// thread borrows the mapping; a slot that is seen changing is thus never the one looked for.
#[derive(Debug)]
struct Slot {
    version: AtomicU64,
    /// First address, 0 where the slot is free.
    start: AtomicUsize,
    /// Address after the last.
    end: AtomicUsize,
    writable: AtomicBool,
    damaged: AtomicBool,
}

impl Slot {
    const fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            writable: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
        }
    }

    /// Takes the slot if it is free; it stays in change until `publish` or `release`.
    fn claim(&self) -> bool {
        let version = self.version.load(Ordering::Acquire);
        let free = version.is_multiple_of(2) && self.start.load(Ordering::Relaxed) == 0;
        free && self
            .version
            .compare_exchange(version, version + 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Fills in a claimed slot.
    fn publish(&self, start: usize, end: usize, writable: bool) {
        let version = self.version.load(Ordering::Relaxed);
        assert!(
            !version.is_multiple_of(2),
            "slot of a mapping published without a claim"
        );
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.writable.store(writable, Ordering::Relaxed);
        self.damaged.store(false, Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Release);
    }

    /// Gives up a slot that the caller owns, published or only claimed.
    fn release(&self) {
        let version = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(version, Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(0, Ordering::Relaxed);
        self.end.store(0, Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Release);
    }

    /// True where the slot is settled and covers the address.
    fn covers(&self, address: usize) -> bool {
        let version = self.version.load(Ordering::Acquire);
        let start = self.start.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let settled = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        settled && (start..end).contains(&address)
    }
}

/// All guarded mappings of the process.
struct Table {
    slots: [Slot; MAPPINGS_MAX],
    /// Slots from here on were never claimed.
    high_water: AtomicUsize,
}

static TABLE: Table = Table {
    slots: [const { Slot::new() }; MAPPINGS_MAX],
    high_water: AtomicUsize::new(0),
};

impl Table {
    /// A slot for one more mapping, the lowest that is free; none where the table is full.
    fn claim(&self) -> Option<&Slot> {
        let index = self.slots.iter().position(Slot::claim)?;
        self.high_water.fetch_max(index + 1, Ordering::Release);
        Some(&self.slots[index])
    }

    /// The slot that covers an address. Async-signal-safe.
    fn find(&self, address: usize) -> Option<&Slot> {
        let used = self.high_water.load(Ordering::Acquire).min(MAPPINGS_MAX);
        self.slots[..used].iter().find(|slot| slot.covers(address))
    }
}

/// What the handler must know, fixed before it is installed.
struct Host {
    page_bytes: usize,
    /// The action that the handler took the place of.
    previous: libc::sigaction,
}

static HOST: OnceLock<Result<Host, i32>> = OnceLock::new();
static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();

impl Host {
    /// Facts about the host; the first call installs the handler.
    fn get() -> io::Result<&'static Self> {
        let host = HOST.get_or_init(Self::probe).as_ref();
        let installed = INSTALLED.get_or_init(install).as_ref();
        host.and_then(|host| installed.map(|()| host))
            .map_err(|errno| io::Error::from_raw_os_error(*errno))
    }

    fn probe() -> Result<Self, i32> {
        // SAFETY: sysconf has no preconditions.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page_bytes = usize::try_from(page_bytes)
            .ok()
            .filter(|size| size.is_power_of_two())
            .ok_or(libc::EINVAL)?;
        Ok(Self {
            page_bytes,
            previous: exchange_action(None)?,
        })
    }
}

/// Installs the handler. It stays for the life of the process.
fn install() -> Result<(), i32> {
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_bus_error;
    let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    exchange_action(Some((handler as *const () as libc::sighandler_t, flags))).map(|_| ())
}

/// Reads the action of SIGBUS, and sets another (a handler and its flags) if one is given. Async-signal-safe.
fn exchange_action(action: Option<(libc::sighandler_t, c_int)>) -> Result<libc::sigaction, i32> {
    // SAFETY: sigaction is plain integers and an optional function, for which zeros are valid: no flag, an empty mask.
    let mut previous: libc::sigaction = unsafe { zeroed() };
    let mut next = previous;
    if let Some((handler, flags)) = action {
        next.sa_sigaction = handler;
        next.sa_flags = flags;
    }
    let next = action.map_or(ptr::null(), |_| &raw const next);
    // SAFETY: both places are valid, or null where nothing is to be set. The handlers that are given are `on_bus_error`,
    // which is of the kind that SA_SIGINFO wants, and SIG_DFL.
    let result = unsafe { libc::sigaction(libc::SIGBUS, next, &raw mut previous) };
    if result == 0 {
        Ok(previous)
    } else {
        Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL))
    }
}

/// The handler of SIGBUS: async-signal-safe, it takes no lock, allocates nothing and leaves errno alone.
extern "C" fn on_bus_error(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid siginfo.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr()) };
    // Codes above zero are the kernel's own; only then there is an address.
    if code <= 0 || !mend(address.cast()) {
        pass_on(signal, info, context);
    }
}

/// Puts zeros in the place of the page at `address`; false where the page is not of a guarded mapping, or the host
/// has no memory.
fn mend(address: *mut u8) -> bool {
    let Some(Ok(host)) = HOST.get() else { return false };
    let Some(slot) = TABLE.find(address.addr()) else {
        return false;
    };
    let writable = slot.writable.load(Ordering::Relaxed);
    let protection = if writable {
        ProtFlags::READ | ProtFlags::WRITE
    } else {
        ProtFlags::READ
    };
    slot.damaged.store(true, Ordering::Release);
    let page = address.map_addr(|address| address & !(host.page_bytes - 1));
    // SAFETY: the page belongs to a guarded mapping, which the faulting thread borrows, so it is not unmapped meanwhile
    // and holds no Rust object. When the mapping is dropped its whole range is unmapped, this page included.
    let mended = unsafe {
        mmap_anonymous(
            page.cast(),
            host.page_bytes,
            protection,
            MapFlags::PRIVATE | MapFlags::FIXED,
        )
    };
    mended.is_ok()
}

/// Does with a signal that is not ours what was done before the handler was installed.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let previous = HOST
        .get()
        .and_then(|host| host.as_ref().ok())
        .map(|host| &host.previous);
    let (action, flags) = previous.map_or((libc::SIG_DFL, 0), |previous| {
        (previous.sa_sigaction, previous.sa_flags)
    });
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid siginfo.
    let sent = unsafe { (*info).si_code } <= 0;
    match action {
        libc::SIG_IGN if sent => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // After the return a fault comes again and meets the default action; a sent signal must be sent again.
            let reset = exchange_action(Some((libc::SIG_DFL, 0)));
            if sent || reset.is_err() {
                // SAFETY: raise has no preconditions.
                unsafe { libc::raise(signal) };
            }
        }
        handler if flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: whoever installed the handler gave it this type by setting SA_SIGINFO.
            let handler = unsafe { transmute::<usize, extern "C" fn(c_int, *mut siginfo_t, *mut c_void)>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: whoever installed the handler gave it this type by not setting SA_SIGINFO.
            let handler = unsafe { transmute::<usize, extern "C" fn(c_int)>(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests;
