//! The built-in NBD server: arrays as network block devices, with nothing to install on either side.
//!
//! A client connects to a [`listen::Listener`], leads the *handshake* (`negotiate`): it sends *options*, chooses one
//! *export* and a *dialect*, perhaps begins TLS. Then follows the *transmission* (`connection`): it sends *requests*,
//! each with a *cookie* that comes back in the reply, in any order and many at a time. [`protocol`] has the bytes of
//! both, [`server::Server`] the threads, the limits and the end.
//!
//! Glossary. An *export* is an array under a name. A *dialect* is the form of requests and replies: simple, structured,
//! or with extended headers. A *context* is something that can be asked about ranges, such as `base:allocation`; an
//! *extent* is a range about which it says one thing. *FUA* makes one write durable before its reply, a *flush* all
//! writes that were answered, on whatever connection. A *refusal* is a request that cannot be right, told without asking
//! the array. A *guest* is a client's place among all. *Allowance* is what one client may have under way.
//!
//! The second door is [`plugin`]: the same arrays in nbdkit, with its filters, its TLS and its
//! sockets of virtual machines. Behind both a [`keeper`] tells the array the time and makes redundancy whole again.
//!
//! Where a client breaks the protocol so that messages can no longer be told apart, it is cut off; every other request
//! is answered. Nothing of what it sends reaches an assertion, and nothing of what it does holds up another client: no
//! thread but its own waits for it, and blocked requests of one export use threads of that export only.
//!
//! A failed flush is the engine's to remember, since it has two doors: it goes on failing until the engine is told that
//! the members have changed, and the server passes that on.

mod connection;
mod errno;
pub mod exports;
pub mod frozen;
pub mod keeper;
pub mod listen;
mod negotiate;
#[cfg(not(test))]
mod plugin;
pub mod protocol;
mod queue;
pub mod server;
pub mod tls;
mod transport;
mod watcher;

pub use exports::{Context, Export, Exports};
pub use keeper::{Begin, Keeper};
pub use listen::{ListenError, Listener};
pub use server::{Limits, Server, Settings};
pub use tls::{Keys, Tls, TlsError};
pub use watcher::{MEMBER_TIMEOUT, watch_starts};
