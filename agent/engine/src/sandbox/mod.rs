//! The sandbox: every program that runs code of a package runs in it and reaches nothing but its own build.
//!
//! ```text
//! View (what a program may see and write) ─┬→ bubblewrap: a mount namespace with a root made for this one run
//!                                          └→ Landlock: the same rules on the file system as it is, where bubblewrap cannot work
//! both with: namespaces for processes, network and IPC · a user of its own · no new privileges, no capabilities
//!            · a seccomp filter · limits on memory, processes, files and time
//! ```
//!
//! [`Layers`] says which of these this machine allows; [`require`] refuses to go on where there is neither a mount namespace nor
//! Landlock. [`take`] is how root takes files out of a directory that a package could write.

mod account;
mod bubblewrap;
mod headers;
mod landlock;
mod layers;
mod limits;
mod remembered;
mod seccomp;
mod system;
pub mod take;
mod usage;
mod view;

pub use account::Account;
pub use layers::{Confinement, Layers, NoSandbox, Policy, require};
pub use limits::Limits;
pub use remembered::remember_in;
pub use usage::Exceeded;
pub use view::View;

pub(crate) use bubblewrap::{Info, wrap};
pub(crate) use landlock::start_restricted;
pub(crate) use remembered::forget;
pub(crate) use usage::Watch;
