//! What crate `nbdkit` 0.3 leaves out of nbdkit's table of a plugin: the list of exports, the default one, descriptions,
//! block sizes and the clean end.
//!
//! The table grows at its end from one version of nbdkit to the next, and says how long it is; an older nbdkit takes what
//! it knows. So the crate's table is copied into a longer one that goes on with the missing entries, in the order of
//! `struct nbdkit_plugin` of nbdkit-plugin.h (1.32).

use std::{
    ffi::{CString, c_char, c_int, c_void},
    ptr,
};

use nbdkit::{Builder, Plugin, Server};

use super::{ARRAYS, Connection, stop_all};
use crate::nbd::connection::pool::guarded;

/// Largest request, in bytes, as the built-in server has it.
const MAXIMUM_REQUEST_BYTES: u32 = 32 << 20;

/// The crate's table and what follows it.
#[repr(C)]
struct Table {
    known: Plugin,
    list_exports: Option<extern "C" fn(c_int, c_int, *mut c_void) -> c_int>,
    default_export: Option<extern "C" fn(c_int, c_int) -> *const c_char>,
    export_description: Option<extern "C" fn(*mut c_void) -> *const c_char>,
    cleanup: Option<extern "C" fn()>,
    block_size: Option<extern "C" fn(*mut c_void, *mut u32, *mut u32, *mut u32) -> c_int>,
}

unsafe extern "C" {
    fn nbdkit_add_export(exports: *mut c_void, name: *const c_char, description: *const c_char) -> c_int;
    fn nbdkit_strdup_intern(text: *const c_char) -> *const c_char;
}

/// What nbdkit calls first.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_init() -> *const Plugin {
    let mut builder = Builder::new();
    for wanted in [
        &mut builder.after_fork,
        &mut builder.cache,
        &mut builder.can_cache,
        &mut builder.can_extents,
        &mut builder.can_fast_zero,
        &mut builder.can_flush,
        &mut builder.can_fua,
        &mut builder.can_multi_conn,
        &mut builder.can_trim,
        &mut builder.can_write,
        &mut builder.can_zero,
        &mut builder.config,
        &mut builder.config_complete,
        &mut builder.config_help,
        &mut builder.extents,
        &mut builder.flush,
        &mut builder.get_ready,
        &mut builder.is_rotational,
        &mut builder.thread_model,
        &mut builder.trim,
        &mut builder.write_at,
        &mut builder.zero,
    ] {
        *wanted = true;
    }
    let known = builder.into_ptr::<Connection>();
    // SAFETY: the crate has just boxed it, and gives up all claims to it.
    let mut known = unsafe { ptr::read(known) };
    known._struct_size = size_of::<Table>() as u64;
    let table = Table {
        known,
        list_exports: Some(list_exports),
        default_export: Some(default_export),
        export_description: Some(export_description),
        cleanup: Some(cleanup),
        block_size: Some(block_size),
    };
    // nbdkit keeps it until the process ends.
    let table: &'static Table = Box::leak(Box::new(table));
    &raw const table.known
}

/// The connection of a handle that nbdkit hands over.
fn connection<'a>(handle: *mut c_void) -> &'a Connection {
    // SAFETY: a handle is what the crate made of the box that `open` returned, and nbdkit hands it over only until it is
    // closed. Every server that is opened here is a `Connection`.
    unsafe {
        let server: &dyn Server = &**handle.cast::<Box<dyn Server>>();
        &*ptr::from_ref(server).cast::<Connection>()
    }
}

/// The text where nbdkit keeps it until the connection ends; null where it cannot be had.
fn interned(text: &str) -> *const c_char {
    let Ok(text) = CString::new(text) else {
        return ptr::null();
    };
    // SAFETY: it is a C string, of which nbdkit makes a copy.
    unsafe { nbdkit_strdup_intern(text.as_ptr()) }
}

extern "C" fn list_exports(_read_only: c_int, _is_tls: c_int, exports: *mut c_void) -> c_int {
    let added = guarded(|| {
        let mut arrays = ARRAYS.get().into_iter().flatten();
        arrays.all(|array| {
            let (Ok(name), Ok(description)) = (CString::new(array.name()), CString::new(description(array))) else {
                return true;
            };
            // SAFETY: `exports` is what nbdkit handed over for this call; it copies both texts.
            unsafe { nbdkit_add_export(exports, name.as_ptr(), description.as_ptr()) == 0 }
        })
    });
    if added.unwrap_or(false) { 0 } else { -1 }
}

extern "C" fn default_export(_read_only: c_int, _is_tls: c_int) -> *const c_char {
    let name = guarded(|| match ARRAYS.get().map(Vec::as_slice) {
        Some([only]) => interned(only.name()),
        _ => ptr::null(),
    });
    name.unwrap_or(ptr::null())
}

extern "C" fn export_description(handle: *mut c_void) -> *const c_char {
    let text = guarded(|| interned(&description(&connection(handle).array)));
    text.unwrap_or(ptr::null())
}

extern "C" fn block_size(handle: *mut c_void, least: *mut u32, preferred: *mut u32, most: *mut u32) -> c_int {
    let wanted = guarded(|| connection(handle).array.preferred_block_bytes());
    let Ok(wanted) = wanted else { return -1 };
    // SAFETY: nbdkit hands over three places for the answer.
    unsafe {
        least.write(1);
        preferred.write(1 << wanted.clamp(512, MAXIMUM_REQUEST_BYTES).ilog2());
        most.write(MAXIMUM_REQUEST_BYTES);
    }
    0
}

extern "C" fn cleanup() {
    // What it panicked with has been told.
    let _ = guarded(stop_all);
}

fn description(array: &crate::raid::Array) -> String {
    let level = if array.legs().is_empty() {
        array.level().name()
    } else {
        "raid50"
    };
    format!("{level} of {} members", array.status().members.len())
}
