//! The management console: web pages over the controller, which is asked in process with the same requests that verbs send.
//!
//! A *visit* is one request of a browser with the *session* it belongs to, and through it the *user* and the user's *role*.
//! An *invitation* is a link for one use, by which the first password is set. A *problem* is what a page shows in place of
//! what was wanted. Only here is an async runtime: it has one thread, and what the controller is asked is asked on others.
//!
//! | file | what |
//! |---|---|
//! | [`listen`] | sockets, TLS, limits of connections and of patience |
//! | [`guard`] | who is let in, and the headers of every answer |
//! | [`users`], [`sessions`] | passwords and roles; who is logged in, invitations, and the wait after wrong passwords |
//! | [`visit`] | what a page is given, how it asks and how it answers |
//! | [`live`] | changes told to open pages |
//! | [`jobs`] | work on an array that goes on after its answer |
//! | [`pages`] | the pages, one file each |

mod frame;
mod guard;
mod icons;
mod jobs;
mod listen;
mod live;
mod pages;
mod server;
mod sessions;
mod tls;
pub mod users;
mod visit;
mod words;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use server::{Access, Config, Console};

/// What a lock guards, also after a thread died that held it: what is guarded so is whole at any time.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
