//! The two programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::inputs;

/// Whose `dkms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Debian's, out of its package.
    Debian,
    /// Upstream's 3.2, as Debian 13 has it.
    Upstream,
    /// This workspace's `dkms-fetch`, called by the name `dkms`.
    Ours,
}

impl Program {
    /// The program, where it is on this machine.
    #[must_use]
    pub fn path(self) -> PathBuf {
        match self {
            Self::Debian => inputs::debian_dkms(),
            Self::Upstream => inputs::upstream_dkms(),
            Self::Ours => ours().to_owned(),
        }
    }

    /// Makes the program callable as `bin/dkms`.
    ///
    /// # Panics
    /// When the program is not among the inputs, or ours does not compile.
    pub(super) fn link_into(self, bin: &Path) {
        let target = self.path();
        assert!(
            target.is_file(),
            "{} is not there\nhint: scripts/setup.sh {}",
            target.display(),
            if self == Self::Upstream { "full" } else { "test" }
        );
        std::os::unix::fs::symlink(&target, bin.join("dkms"))
            .unwrap_or_else(|e| panic!("link {}: {e}", target.display()));
    }
}

/// The `dkms-fetch` of this build, compiled once for the whole test run.
///
/// # Panics
/// When it does not compile.
pub fn ours() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(given) = std::env::var_os("DKMS_FETCH_BIN") {
            return given.into();
        }
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        // The whole workspace, as `make test` does: one package alone would have other features, and be compiled once more.
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile])
            .current_dir(inputs::workspace())
            .status();
        assert!(
            built.as_ref().is_ok_and(std::process::ExitStatus::success),
            "cargo build of dkms-fetch: {built:?}"
        );
        // …/debug/deps/integration-HASH → …/debug/dkms-fetch
        let exe = std::env::current_exe().unwrap_or_else(|e| panic!("the path of this test: {e}"));
        let profile_dir = exe
            .ancestors()
            .nth(2)
            .unwrap_or_else(|| panic!("{} is not in deps/", exe.display()));
        profile_dir.join("dkms-fetch")
    })
}
