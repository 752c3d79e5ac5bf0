//! Adding a source to the tree.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Authority, Tree, TreeError, TreeLock};
use crate::conf::{
    ConfContext, ConfError, ConfProblem, ConfWarning, DkmsConf, FirstEvaluation, WrittenFile, evaluate_first,
};
use crate::event::{Event, Sink, Step};
use crate::fsutil::{copy_tree, remove_any, remove_empty_dirs, replace_path, sync_dir, sync_tree};
use crate::package::DkmsId;
use crate::sandbox::take;
use crate::script::{self, ScriptConsent, ScriptKind, ScriptNotAllowed};

/// Why a source was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It was added before.
    #[error("{0} is in the tree already")]
    AlreadyAdded(DkmsId),
    /// There is no such directory.
    #[error("the source directory {} of {package} does not exist", .dir.display())]
    NoSource {
        /// The package.
        package: DkmsId,
        /// Where it should be.
        dir: PathBuf,
    },
    /// A directory without a dkms.conf.
    #[error("there is no dkms.conf in {}", .0.display())]
    NoConf(PathBuf),
    /// No directory at all.
    #[error("{} cannot be added: there is no such directory", .0.display())]
    NoDirectory(PathBuf),
    /// Its dkms.conf is not usable.
    #[error("the source {} cannot be added", .dir.display())]
    Conf {
        /// The source.
        dir: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ConfError,
    },
    /// Its source directory would have the name of one of the kernel's packages.
    #[error("{package} cannot be added: {} is a directory of the distribution's kernel packages", .dir.display())]
    Reserved {
        /// The package.
        package: DkmsId,
        /// Where it would be.
        dir: PathBuf,
    },
    /// Another package has the directory that it would have.
    #[error("{package} cannot be added: {owner} has the same source directory {}", .dir.display())]
    SharedPlace {
        /// The package.
        package: DkmsId,
        /// The package that has it.
        owner: DkmsId,
        /// The directory.
        dir: PathBuf,
    },
    /// The directory in its place is not its own source.
    #[error("{package} cannot be added: {} is not its source: {why}", .dir.display())]
    Foreign {
        /// The package.
        package: DkmsId,
        /// Its place.
        dir: PathBuf,
        /// What is there.
        why: String,
    },
    /// The tree could not be written.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It has a POST_ADD that may not run.
    #[error("{} cannot be added", .0.package)]
    ScriptNotAllowed(#[source] ScriptNotAllowed),
    /// POST_ADD failed.
    #[error(transparent)]
    Script(#[from] script::ScriptError),
}

impl AddError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            AddError::AlreadyAdded(package) => Some(format!("dkms remove {package} --all")),
            AddError::NoSource { .. } => Some("dkms add /path/to/source".into()),
            AddError::NoConf(dir) => Some(format!(
                "name the directory that has it: find {} -name dkms.conf",
                dir.display()
            )),
            AddError::NoDirectory(dir) => Some(format!("ls -ld {}", crate::fsutil::existing_part(dir).display())),
            AddError::Conf { dir, source } => placeholder_hint(dir, source).or_else(|| source.hint()),
            AddError::Reserved { package, .. } => Some(format!("give {package} another PACKAGE_NAME in its dkms.conf")),
            AddError::SharedPlace { owner, .. } => Some(format!("dkms remove {owner} --all")),
            AddError::Foreign { dir, .. } => Some(format!("move it away: mv {0} {0}.old", dir.display())),
            AddError::Tree(error) => error.hint(),
            AddError::Script(error) => error.hint(),
            AddError::ScriptNotAllowed(error) => error.hint(),
        }
    }
}

/// Suggested fix for a source that its own installation would have completed.
fn placeholder_hint(dir: &Path, error: &ConfError) -> Option<String> {
    let ConfError::Invalid { problems, .. } = error else {
        return None;
    };
    let is_one = |problem: &ConfProblem| matches!(problem, ConfProblem::Placeholder { .. });
    problems.iter().any(is_one).then(|| crate::conf::placeholder_hint(dir))
}

/// How to add.
#[derive(Debug, Clone, Default)]
pub struct AddOptions {
    /// Replace the package's own directory in the source tree where it is there already.
    pub force: bool,
    /// Whether POST_ADD may run.
    pub scripts: ScriptConsent,
    /// What a directory's package is called, in place of what its dkms.conf says.
    pub called: Option<DkmsId>,
    /// Who answers for the source.
    pub authority: Authority,
}

/// A source that is now known.
#[derive(Debug, Clone)]
pub struct Added {
    /// What it is.
    pub package: DkmsId,
    /// Its dkms.conf.
    pub conf: DkmsConf,
    /// False when it was known before.
    pub is_new: bool,
}

impl Tree {
    /// Adds a package whose source is in the source tree already (`/usr/src/M-V`).
    ///
    /// Its conf is evaluated with `ctx`; module and version are filled in.
    ///
    /// # Errors
    /// [`AddError`]; nothing is left behind.
    pub fn add(
        &self,
        _lock: &TreeLock,
        package: &DkmsId,
        ctx: &ConfContext,
        options: &AddOptions,
        sink: &dyn Sink,
    ) -> Result<Added, AddError> {
        if self.is_added(package) {
            return Err(AddError::AlreadyAdded(package.clone()));
        }
        let dir = self.source_tree().join(package.dashed());
        if !dir.is_dir() {
            return Err(AddError::NoSource {
                package: package.clone(),
                dir,
            });
        }
        self.require_unshared_place(package)?;
        // The name that the caller gives counts, whatever the conf says: the installers of several drivers depend on that.
        let first = self.conf_of(&dir, &ctx.clone().of_package(&package.module, &package.version))?;
        keep_written(&first.written, &dir)?;
        let conf = first.conf;
        may_add(package, &conf, options)?;
        self.register(package, &conf, options, sink)
    }

    /// Copies the source directory `dir` into the source tree and adds it. One that is there already is used as it is,
    /// unless [`AddOptions::force`] replaces it.
    ///
    /// # Errors
    /// [`AddError`]; a source that was there stays as it was.
    pub fn add_directory(
        &self,
        _lock: &TreeLock,
        dir: &Path,
        ctx: &ConfContext,
        options: &AddOptions,
        sink: &dyn Sink,
    ) -> Result<Added, AddError> {
        if !dir.is_dir() {
            return Err(AddError::NoDirectory(dir.to_owned()));
        }
        if !dir.join("dkms.conf").is_file() {
            return Err(AddError::NoConf(dir.to_owned()));
        }
        let FirstEvaluation { mut conf, written } = self.conf_of(dir, ctx)?;
        let package = options.called.clone().unwrap_or_else(|| DkmsId {
            module: conf.package_name.clone(),
            version: conf.package_version.clone(),
        });
        let is_placeholder = |warning: &ConfWarning| matches!(warning, ConfWarning::Placeholder { .. });
        let (placeholders, others): (Vec<_>, Vec<_>) = conf.warnings.into_iter().partition(is_placeholder);
        conf.warnings = others;
        // Known by name now, so that its override files count.
        conf = self
            .conf_of(dir, &ctx.clone().of_package(&package.module, &package.version))
            .map_or(conf, |again| again.conf);
        if options.called.is_none() {
            conf.warnings.extend(placeholders);
        }
        if self.is_added(&package) {
            return Err(AddError::AlreadyAdded(package));
        }
        may_add(&package, &conf, options)?;
        let to = self.source_tree().join(package.dashed());
        let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if same(dir, &to) {
            self.require_unshared_place(&package)?;
        } else {
            self.require_own_place(&package, ctx)?;
            if options.force || !to.join("dkms.conf").is_file() {
                replace_dir(dir, &to).map_err(TreeError::io("copy the source to", &to))?;
            }
        }
        keep_written(&written, &to)?;
        self.register(&package, &conf, options, sink)
    }

    fn conf_of(&self, dir: &Path, ctx: &ConfContext) -> Result<FirstEvaluation, AddError> {
        evaluate_first(dir, ctx).map_err(|source| AddError::Conf {
            dir: dir.to_owned(),
            source,
        })
    }

    fn register(
        &self,
        package: &DkmsId,
        conf: &DkmsConf,
        options: &AddOptions,
        sink: &dyn Sink,
    ) -> Result<Added, AddError> {
        let dir = self.version_dir(package);
        let target = self.source_target(package);
        sink.emit(Event::Started {
            subject: package.subject(None),
            step: Step::Add,
            detail: format!("{} -> {}", self.source_link(package).display(), target.display()),
        });
        conf.tell_warnings(&self.source_tree().join(package.dashed()), sink);
        let write = || -> io::Result<()> {
            fs::create_dir_all(dir.join("build"))?;
            // Before the link, so that no source is ever without its note.
            self.write_authority(package, &options.authority)?;
            symlink(&target, dir.join("source"))?;
            sync_dir(&dir)
        };
        if let Err(error) = write() {
            // The first error is the one that is reported.
            let _ = remove_any(&dir.join("source"));
            let _ = self.write_authority(package, &Authority::Administrator);
            remove_empty_dirs(&dir.join("build"), self.path());
            return Err(TreeError::io("create", &dir)(error).into());
        }
        if let Some(line) = &conf.scripts.post_add
            && options.scripts.allows(package, ScriptKind::PostAdd)
        {
            let source = self.source_dir(package);
            script::run(self, package, ScriptKind::PostAdd, line, &source, None, sink)?;
        }
        sink.emit(Event::Finished {
            subject: package.subject(None),
            step: Step::Add,
        });
        Ok(Added {
            package: package.clone(),
            conf: conf.clone(),
            is_new: true,
        })
    }
}

fn may_add(package: &DkmsId, conf: &DkmsConf, options: &AddOptions) -> Result<(), AddError> {
    let required = options.scripts.require(package, &[ScriptKind::PostAdd], &conf.scripts);
    required.map_err(AddError::ScriptNotAllowed)
}

/// Puts what a conf wrote, to be read the next time, into the source in the tree.
fn keep_written(written: &[WrittenFile], source: &Path) -> Result<(), AddError> {
    for file in written {
        file.put(source)
            .map_err(TreeError::io("write", &source.join(&file.path)))?;
    }
    Ok(())
}

/// The prefix of a copy that is not complete yet: a directory beside its later place.
const UNFINISHED: &str = ".dkms-add-";

/// Copies `from` beside `to`, then replaces `to`.
pub(super) fn replace_dir(from: &Path, to: &Path) -> io::Result<()> {
    let parent = to.parent().unwrap_or(Path::new("/"));
    let name = to.file_name().unwrap_or_default();
    fs::create_dir_all(parent)?;
    let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent)?;
    // Held until the copy is complete: the source tree may be shared with another tree, whose writer has another lock.
    let mine = take::open_dir(unfinished.path())?;
    flock(&mine, FlockOperation::NonBlockingLockExclusive)?;
    let (new, old) = (unfinished.path().join("new"), unfinished.path().join("old"));
    fs::create_dir(&old)?;
    copy_tree(from, &new)?;
    sync_tree(&new)?;
    replace_path(&new, to, &old.join(name))?;
    sync_dir(parent)
}

/// Removes what killed calls of [`replace_dir`] left. A source that one had moved away is moved back first.
pub(crate) fn sweep_unfinished(source_tree: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(source_tree) {
        // Without a source tree nothing is unfinished; whoever needs it reports that it is missing.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) || !entry.file_type()?.is_dir() {
            continue;
        }
        let Ok(left) = take::open_dir(&entry.path()) else {
            // Its writer has removed it.
            continue;
        };
        if flock(&left, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        for old in fs::read_dir(entry.path().join("old")).into_iter().flatten().flatten() {
            let to = source_tree.join(old.file_name());
            if fs::symlink_metadata(&to).is_err() {
                fs::rename(old.path(), to)?;
            }
        }
        remove_any(&entry.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_writers_left_goes_and_what_they_moved_away_comes_back() {
        let temp = tempfile::tempdir().expect("temp dir");
        let (tree, left) = (temp.path(), temp.path().join(".dkms-add-left"));
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().expect("a parent")).expect("dirs");
            fs::write(path, text).expect("write");
        };
        write(&left.join("new/dkms.conf"), "half");
        write(&left.join("old/moved-1/dkms.conf"), "moved");
        write(&left.join("old/there-1/dkms.conf"), "old");
        write(&tree.join("there-1/dkms.conf"), "there");
        // A writer is at work here.
        let busy = tree.join(".dkms-add-busy");
        write(&busy.join("new/dkms.conf"), "busy");
        let held = take::open_dir(&busy).expect("opens");
        flock(&held, FlockOperation::LockExclusive).expect("locks");

        // Special files with such a name are not opened.
        let fifo = tree.join(".dkms-add-fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .expect("a FIFO");
        symlink(&fifo, tree.join(".dkms-add-link")).expect("a link");

        sweep_unfinished(tree).expect("sweeps");
        let text = |name: &str| fs::read_to_string(tree.join(name).join("dkms.conf")).expect("reads");
        assert_eq!((text("moved-1"), text("there-1")), ("moved".into(), "there".into()));
        assert!(!left.exists() && busy.join("new/dkms.conf").exists());
        drop(held);
        sweep_unfinished(tree).expect("sweeps");
        assert!(!busy.exists());
        sweep_unfinished(&tree.join("none")).expect("nothing to sweep");
    }
}
