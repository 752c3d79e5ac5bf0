//! The integration tests of the whole workspace, one module a topic.

mod auto;
mod device;
mod dkms_bad_input;
mod dkms_better;
mod dkms_compat;
mod dkms_conf;
mod dkms_distributions;
mod dkms_hooks;
mod dkms_rebuild;
mod dkms_settings;
mod docs;
mod engine_build;
mod errors;
mod hostile_packages;
mod ingest;
mod manual;
mod matching;
mod publishing;
mod scan;
mod schemas;
mod sync;
mod tuf_attacks;
mod tuf_deltas;
mod tuf_interop;
mod units;
mod workspace;
