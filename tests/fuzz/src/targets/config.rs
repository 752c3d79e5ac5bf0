//! The agent's config.toml, and a file of repos.d.

use std::fs;
use std::sync::LazyLock;

use crate::bounded;
use dkms_engine::root::Root;
use dkms_fetch::config::Config;
use tempfile::TempDir;

static ROOT: LazyLock<TempDir> = LazyLock::new(|| {
    let root = TempDir::new().expect("a temporary directory");
    fs::create_dir_all(root.path().join("etc/dkms-fetch/repos.d")).expect("a directory");
    root
});

/// Tries one input.
pub fn run(input: &[u8]) {
    let dir = ROOT.path().join("etc/dkms-fetch");
    fs::write(dir.join("config.toml"), input).expect("a file");
    fs::write(dir.join("repos.d/x.toml"), input).expect("a file");
    bounded(input, || {
        let root = Root::at(ROOT.path());
        if let Ok(config) = Config::read(&root) {
            config.policy.allows_root_scripts("x");
        }
        // Without the repository, which hides the policy behind its own error.
        fs::remove_file(dir.join("repos.d/x.toml")).expect("a file that was written");
        drop(Config::read(&root));
    });
}
