//! Support code of the integration tests: the real inputs, look-ups to compare with, and how to run our programs on them.

pub mod apt;
pub mod conformance;
pub mod dkms;
pub mod engine;
pub mod inputs;
pub mod kernel_aliases;
pub mod matcher;
pub mod nginx;
pub mod peer;
pub mod process;
pub mod published;
pub mod repo;
pub mod s3;
pub mod schemas;
pub mod sources;
pub mod story;
pub mod synthetic;
