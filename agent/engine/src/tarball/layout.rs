//! The names of the directories in a tarball, as upstream has them.

/// The source with its dkms.conf.
pub(super) const SOURCE: &str = "dkms_source_tree";
/// A dkms.conf without source.
pub(super) const BINARIES_ONLY: &str = "dkms_binaries_only";
/// The builds.
pub(super) const BUILT: &str = "dkms_main_tree";
