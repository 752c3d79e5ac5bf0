//! The directory of one build.
//!
//! Confs say `$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build`, which is one place for all kernels. So every build gets a shadow of the
//! tree: links to all that is in it, and in the place of its own version's `build` a real directory.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::fsutil::{chown_tree, copy_tree};
use crate::package::{DkmsId, KernelId};
use crate::sandbox::take;
use crate::tree::Tree;

/// A build directory with its shadow tree; removed with the value.
#[derive(Debug)]
pub(super) struct Workspace {
    dir: PathBuf,
    /// What the conf sees as `$dkms_tree`.
    pub(super) tree: PathBuf,
    /// Where it is built.
    pub(super) build: PathBuf,
    /// `M/V/K/A` of the shadow: what POST_BUILD may write into. It is not there before.
    pub(super) stage: PathBuf,
    /// For temporary files, where there is no private /tmp.
    pub(super) tmp: PathBuf,
    /// What will be stored; only we write here.
    pub(super) product: PathBuf,
}

impl Workspace {
    /// Makes the shadow, with an empty build directory.
    pub(super) fn new(tree: &Tree, package: &DkmsId, kernel: &KernelId) -> io::Result<Workspace> {
        let top = tree.work_dir();
        fs::create_dir_all(&top)?;
        let dir = tempfile::Builder::new()
            .prefix("build-")
            .permissions(mode(0o755))
            .tempdir_in(&top)?
            .keep();
        // From here on it is removed with the value.
        let mut work = Workspace {
            tree: dir.join("dkms"),
            build: PathBuf::new(),
            stage: PathBuf::new(),
            tmp: dir.join("tmp"),
            product: dir.join("product"),
            dir,
        };
        let shadow = &work.tree;
        let version = shadow.join(&package.module).join(&package.version);
        let release = version.join(&kernel.release);
        let build = version.join("build");
        let stage = release.join(&kernel.arch);
        for dir in [
            &build,
            &release,
            &work.tmp,
            &work.product.join("log"),
            &work.product.join("module"),
        ] {
            fs::create_dir_all(dir)?;
        }
        // From the tree inwards: link all that is beside our own path.
        link_all(tree.path(), shadow, &[&package.module])?;
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
        (work.build, work.stage) = (build, stage);
        Ok(work)
    }

    /// Copies the source into the build directory.
    pub(super) fn fill(&self, source: &Path) -> io::Result<()> {
        copy_tree(source, &self.build)
    }

    /// The directory that holds the shadow and the product.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// Changes the owner of what the package may write to `user`. No code of the package has run yet that could replace these paths.
    pub(super) fn chown(&self, user: u32) -> io::Result<()> {
        [&self.build, &self.tmp]
            .into_iter()
            .try_for_each(|dir| chown_tree(dir, user))
    }

    /// Makes the stage of POST_BUILD, a copy of the product, once all that ran before has ended.
    pub(super) fn make_stage(&self, user: Option<u32>) -> io::Result<()> {
        fs::create_dir(&self.stage)?;
        copy_tree(&self.product, &self.stage)?;
        user.map_or(Ok(()), |user| chown_tree(&self.stage, user))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = take::remove_tree(&self.dir);
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
