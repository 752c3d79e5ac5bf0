//! Packages of distributions, made from a package version: a .deb and a .rpm that bring the source to DKMS, and say in their
//! metadata which devices it is for, as each distribution reads it.
//!
//! The same source and the same settings give the same bytes.

mod deb;
mod deb_archive;
mod error;
mod modaliases;
mod names;
mod release;
mod rpm;
mod source;

pub use error::ExportError;
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
