//! Adding what a tarball of another machine holds.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::add::replace_dir;
use super::{Authority, Tree, TreeError, TreeLock};
use crate::conf::{ConfContext, evaluate_first};
use crate::fsutil::{copy_tree, remove_any, replace_path, sync_dir, sync_tree};
use crate::package::{DkmsId, KernelId};

impl Tree {
    /// The package whose source lies in `dir`, by its dkms.conf; None if that is not usable.
    pub fn package_of_directory(&self, dir: &Path, ctx: &ConfContext) -> Option<DkmsId> {
        let conf = evaluate_first(dir, ctx).ok()?.conf;
        DkmsId::new(&conf.package_name, &conf.package_version)
    }

    /// Moves the build in the directory `from` (`module/`, `log/`) into the tree. False, and nothing done, if there is one already
    /// and `force` is not set.
    ///
    /// Our own record in it is left out: it is about the files of another machine, and may be forged.
    ///
    /// # Errors
    /// When files cannot be read or written; a build that was there stays then.
    pub fn load_build(
        &self,
        _lock: &TreeLock,
        package: &DkmsId,
        kernel: &KernelId,
        from: &Path,
        force: bool,
    ) -> Result<bool, TreeError> {
        let to = self.built_dir(package, kernel);
        if to.is_dir() && !force {
            return Ok(false);
        }
        let put = || -> io::Result<()> {
            self.staged("load-", |staged| {
                copy_tree(from, staged)?;
                remove_any(&staged.join("log/build.json"))?;
                sync_tree(staged)?;
                move_into_tree(staged, &to)
            })
        };
        put().map_err(TreeError::io("load the build into", &to))?;
        Ok(true)
    }

    /// Adds a package that has no source, only the dkms.conf in `conf_dir`: its builds come from another machine.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn add_conf_only(&self, _lock: &TreeLock, package: &DkmsId, conf_dir: &Path) -> Result<(), TreeError> {
        let to = self.version_dir(package).join("source");
        let put = || -> io::Result<()> {
            self.staged("conf-", |staged| {
                fs::create_dir_all(staged)?;
                fs::copy(conf_dir.join("dkms.conf"), staged.join("dkms.conf"))?;
                move_into_tree(staged, &to)
            })
        };
        put().map_err(TreeError::io("write", &to))
    }

    /// Replaces the source of a known package by `from`.
    ///
    /// # Errors
    /// When files cannot be read or written; the old source stays then.
    pub fn replace_source(&self, _lock: &TreeLock, package: &DkmsId, from: &Path) -> Result<(), TreeError> {
        let to = self.source_tree().join(package.dashed());
        // Whoever signed the old source has not signed this one.
        self.write_authority(package, &Authority::Administrator)
            .map_err(TreeError::io("change the authority of", &to))?;
        replace_dir(from, &to).map_err(TreeError::io("copy the source to", &to))?;
        // A package that had only a conf gets the link that others have.
        let link = self.source_link(package);
        let relink = || -> io::Result<()> {
            if fs::symlink_metadata(&link)?.is_dir() {
                remove_any(&link)?;
                symlink(self.source_target(package), &link)?;
                sync_dir(&self.version_dir(package))?;
            }
            Ok(())
        };
        relink().map_err(TreeError::io("write", &link))
    }

    /// Calls `work` with a temporary directory.
    fn staged(&self, prefix: &str, work: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let dir = self.work_dir();
        fs::create_dir_all(&dir)?;
        let staged = tempfile::Builder::new().prefix(prefix).tempdir_in(&dir)?;
        work(&staged.path().join("dir"))
    }
}

/// Moves a staged directory to its place in the tree.
fn move_into_tree(staged: &Path, to: &Path) -> io::Result<()> {
    let parent = to.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent)?;
    replace_path(staged, to, &staged.with_file_name("old"))?;
    sync_dir(parent)
}
