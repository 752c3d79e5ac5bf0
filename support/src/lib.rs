//! Code that several crates with I/O share. docs/architecture.md lists what may be here.

mod chain;
pub mod columns;
mod file;
pub mod openmetrics;
pub mod terminal;

pub use chain::chain;
pub use file::{persist, replace_file, sync_dir, temporary_in};
