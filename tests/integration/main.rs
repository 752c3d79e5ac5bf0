//! The integration tests of the whole workspace, one module a topic.

mod dkms_conf;
mod ingest;
mod matching;
mod workspace;
