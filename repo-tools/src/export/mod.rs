//! Packages of distributions, made from a package version: a .deb and a .rpm that bring the source to DKMS, and say in their
//! metadata which devices it is for, as each distribution reads it. And packages of modules that are built already, for one kernel: those of
//! SUSE, and those that a driver disk of Anaconda has.
//!
//! The same source and the same settings give the same bytes.

mod compiled;
mod deb;
mod deb_archive;
mod driver_disk;
mod error;
mod kmod;
mod kmp;
mod modaliases;
mod names;
mod release;
mod rpm;
mod source;

pub use compiled::{Compiled, CompiledModule, compile};
pub use driver_disk::{DriverDisk, LABEL as DRIVER_DISK_LABEL};
pub use error::ExportError;
pub use kmod::Kernels;
pub use kmp::ModuleDir;
pub use names::is_revision;
pub use release::Release;
pub use source::{DEFAULT_TIME_S, Made, Settings, Source};

/// Makes a Debian package. It needs nothing but `dkms` where it is installed.
///
/// # Errors
/// When the source does not fit into the format.
pub fn deb(source: &Source<'_>, settings: &Settings) -> Result<Made, ExportError> {
    deb::make(source, settings)
}

/// Makes an rpm package, without a signature: `rpmsign` adds one.
///
/// # Errors
/// When the source does not fit into the format.
pub fn rpm(source: &Source<'_>, settings: &Settings) -> Result<Made, ExportError> {
    rpm::make(source, settings)
}

/// Makes a kernel module package of SUSE (KMP), `NAME-kmp-FLAVOR`, of modules that were built for one kernel.
///
/// # Errors
/// When the kernel has no flavor, or something does not fit into the format.
pub fn kmp(source: &Source<'_>, compiled: &Compiled, dir: ModuleDir, settings: &Settings) -> Result<Made, ExportError> {
    kmp::make(source, compiled, dir, settings)
}

/// Makes a package `kmod-NAME` as Anaconda takes it from a driver disk, of modules that were built for one kernel.
///
/// # Errors
/// When something does not fit into the format.
pub fn kmod(
    source: &Source<'_>,
    compiled: &Compiled,
    kernels: Kernels,
    settings: &Settings,
) -> Result<Made, ExportError> {
    kmod::make(source, compiled, kernels, settings)
}

#[cfg(test)]
mod tests {
    use dkms_index::document::manifest::{Manifest, Module, SCHEMA};
    use dkms_index::document::{BundleFormat, BundleRef};

    use super::Settings;

    /// A package that could be published.
    pub(super) fn manifest() -> Manifest {
        Manifest {
            schema: SCHEMA,
            name: "odd".into(),
            version: "1.0".into(),
            dkms_version: None,
            scope: "curated".into(),
            summary: String::new(),
            license: "GPL-2.0-only".into(),
            homepage: String::new(),
            bundle: BundleRef {
                sha256: "a".repeat(64),
                length: 100,
                format: BundleFormat::TarZst,
            },
            modules: vec![Module {
                name: "odd_driver".into(),
                aliases: Vec::new(),
                declared: Vec::new(),
                other_aliases: Vec::new(),
            }],
            recipe: Default::default(),
            upstream_since: None,
            firmware: Vec::new(),
            conflicts: Vec::new(),
            oem_sets: Vec::new(),
        }
    }

    pub(super) fn settings() -> Settings {
        Settings {
            revision: "1".into(),
            maintainer: "A B <a@example.org>".into(),
            time_s: super::DEFAULT_TIME_S,
        }
    }
}
