//! What this mount asks of the kernel when the two greet each other.
//!
//! Each capability is asked for by itself, for an old kernel may lack it. Not asked for, because growing files would be
//! seen wrong: the write-back cache, explicit invalidation, and shared mappings of files that are read directly.

use fuser::{InitFlags, KernelConfig};

use crate::mount::filesystem::attributes::TRANSFER_BYTES;

/// Requests that the kernel may send ahead of their need, such as read-ahead.
const BACKGROUND_REQUESTS: u16 = 64;

const WANTED: [InitFlags; 4] = [
    // Without it every write costs a question about capabilities. Safe, for no file ever has any.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_PARALLEL_DIROPS,
];

/// Asks; returns true where the kernel may read closed chunks by itself, which takes root.
pub(super) fn ask(kernel: &mut KernelConfig) -> bool {
    for wanted in WANTED {
        if let Err(missing) = kernel.add_capabilities(wanted) {
            log::info!("the kernel lacks {missing:?}");
        }
    }
    // A write of up to this is one request, and so never interleaved with another.
    let _ = kernel.set_max_write(TRANSFER_BYTES);
    let _ = kernel.set_max_background(BACKGROUND_REQUESTS);
    rustix::process::geteuid().is_root()
        && kernel.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
        && kernel.set_max_stack_depth(1).is_ok()
}
