//! The directory of one build.
//!
//! Confs say `$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build`, which is one place for all kernels. So every build gets a shadow of the
//! tree: links to all that is in it, and in the place of its own version's `build` a real directory.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};
use walkdir::WalkDir;

use crate::command::NOBODY;
use crate::fsutil::copy_tree;
use crate::package::{DkmsId, KernelId};
use crate::tree::Tree;

/// A build directory with its shadow tree; removed with the value.
#[derive(Debug)]
pub(super) struct Workspace {
    dir: tempfile::TempDir,
    /// What the conf sees as `$dkms_tree`.
    pub(super) tree: PathBuf,
    /// Where it is built.
    pub(super) build: PathBuf,
    /// `M/V/K/A` of the shadow: what POST_BUILD may write into.
    pub(super) stage: PathBuf,
    /// What will be stored; no one but us writes here.
    pub(super) product: PathBuf,
}

impl Workspace {
    /// Makes the shadow. The build directory is there but empty.
    pub(super) fn new(tree: &Tree, package: &DkmsId, kernel: &KernelId) -> io::Result<Workspace> {
        let top = tree.work_dir();
        fs::create_dir_all(&top)?;
        let dir = tempfile::Builder::new()
            .prefix("build-")
            .permissions(mode(0o755))
            .tempdir_in(&top)?;
        let shadow = dir.path().join("dkms");
        let version = shadow.join(&package.module).join(&package.version);
        let release = version.join(&kernel.release);
        let build = version.join("build");
        let stage = release.join(&kernel.arch);
        let product = dir.path().join("product");
        for dir in [&build, &stage, &product.join("log"), &product.join("module")] {
            fs::create_dir_all(dir)?;
        }
        // From the tree inwards: link all that is beside our own path.
        link_all(tree.path(), &shadow, &[&package.module])?;
        link_all(
            &tree.module_dir(&package.module),
            &shadow.join(&package.module),
            &[&package.version],
        )?;
        link_all(
            &tree.version_dir(package),
            &version,
            &["build", "source", &kernel.release],
        )?;
        link_all(
            &tree.version_dir(package).join(&kernel.release),
            &release,
            &[&kernel.arch],
        )?;
        symlink(tree.source_dir(package), version.join("source"))?;
        Ok(Workspace {
            dir,
            tree: shadow,
            build,
            stage,
            product,
        })
    }

    /// Copies the source into the build directory.
    pub(super) fn fill(&self, source: &Path) -> io::Result<()> {
        copy_tree(source, &self.build)
    }

    /// The directory that holds it all.
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Gives the build directory and the stage to nobody.
    pub(super) fn chown_tree(&self) -> io::Result<()> {
        for dir in [&self.build, &self.stage] {
            for entry in WalkDir::new(dir) {
                let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
                chownat(CWD, entry?.path(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(())
    }
}

fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

/// Links every entry of `from` in `to`, but for hidden ones and those in `except`. A directory that is not there has none.
fn link_all(from: &Path, to: &Path, except: &[&str]) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && !except.iter().any(|other| name == *other) {
            symlink(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}
