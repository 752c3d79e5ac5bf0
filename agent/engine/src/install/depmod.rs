//! depmod: the index that modprobe reads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::journal::depmod_mark;
use crate::command::Confined;
use crate::package::DkmsId;
use crate::tree::Tree;

/// depmod failed for a kernel.
#[derive(Debug, thiserror::Error)]
#[error("depmod for kernel {release} failed: {stderr}{}", rolled(.rolled_back))]
pub struct DepmodError {
    /// The kernel's release.
    pub release: String,
    /// Its standard error, or its exit status.
    pub stderr: String,
    /// What was installed in this run and removed again.
    pub rolled_back: Vec<DkmsId>,
}

fn rolled(packages: &[DkmsId]) -> String {
    match packages {
        [] => String::new(),
        packages => {
            let names: Vec<String> = packages.iter().map(ToString::to_string).collect();
            format!("; uninstalled again: {}", names.join(", "))
        }
    }
}

impl DepmodError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(format!("depmod {}", self.release))
    }
}

/// Runs depmod for `release` and removes the mark that it was needed.
pub(super) fn run(tree: &Tree, release: &str) -> io::Result<()> {
    if let Some(base) = base(tree) {
        let mut command = Confined::new("depmod").arg("-b").arg(&base);
        let map = tree.root().join(format!("/boot/System.map-{release}"));
        if map.is_file() {
            command = command.arg("-F").arg(map);
        }
        let output = command
            .arg(release)
            .uninterruptible()
            .time_limit(Duration::from_secs(600))
            .output(64 << 10)?;
        if !output.ended.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(io::Error::other(if text.is_empty() {
                output.ended.status.to_string()
            } else {
                text
            }));
        }
    }
    match fs::remove_file(depmod_mark(tree, release)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What `depmod -b` needs: the directory above `lib/modules`. None where the install tree does not end in it.
fn base(tree: &Tree) -> Option<PathBuf> {
    let install_tree = &tree.framework().install_tree;
    if install_tree == Path::new("/lib/modules") {
        return Some(tree.root().path().to_owned());
    }
    let above = install_tree
        .parent()
        .filter(|_| install_tree.ends_with("lib/modules"))?
        .parent()?;
    Some(tree.root().join(above))
}
