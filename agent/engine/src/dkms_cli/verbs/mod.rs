//! One file for each verb, or for those that are one another's reverse.

pub(super) mod add;
pub(super) mod autoinstall;
pub(super) mod build;
pub(super) mod hook;
pub(super) mod install;
pub(super) mod matching;
pub(super) mod mok;
pub(super) mod remove;
mod run;
pub(super) mod tarball;
