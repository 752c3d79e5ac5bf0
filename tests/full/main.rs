//! The long suites: `make test-full`.

mod dkms_conf;
mod dkms_packages;
mod dkms_upstream;
mod signing;
