//! Ceremonies: what keys have to sign that are elsewhere, in several safes.
//!
//! [`prepare`](fn@prepare) fixes the bytes of a change and keeps them below `prepared/N`, a directory that is carried to those who have the
//! keys. [`Reading`] is one document there, read by a machine that has no repository: what it changes in plain sentences, and who has to
//! sign it. [`merge`](fn@merge) takes the signatures of several people, and publishes when they are enough, in the order in which everything is
//! published.
//!
//! The documents are files of TUF metadata, so that other programs can sign them, too. What is signed is their canonical JSON; their white
//! space is not.

mod around;
mod document;
mod error;
mod merge;
mod need;
mod prepare;
mod sentences;
mod set;
mod sign;
mod status;

pub use document::{Body, Document};
pub use error::CeremonyError;
pub use merge::{Merged, drop_set, merge};
pub use need::Need;
pub use prepare::prepare;
pub use sign::Reading;
pub use status::{NeedStatus, SetStatus, Status};
