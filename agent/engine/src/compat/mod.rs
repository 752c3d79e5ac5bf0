//! The `dkms` command line: verbs, options, exit codes and status lines as scripts and packages know them.

pub mod args;
pub mod command;
pub mod request;
pub mod usage;
