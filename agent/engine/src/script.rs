//! The scripts that a package brings: PRE_BUILD, POST_INSTALL and the others.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command::{Confined, find_program};
use crate::event::{Event, Sink, Step};
use crate::package::{DkmsId, KernelId};
use crate::tree::Tree;

/// Which of a package's scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptKind {
    /// Before make, in the build directory.
    PreBuild,
    /// After the modules are stored, in the build directory.
    PostBuild,
    /// After the source was added.
    PostAdd,
    /// Before the first module is installed; a failure stops the installation.
    PreInstall,
    /// After the last module was installed.
    PostInstall,
    /// After the modules were taken away.
    PostRemove,
}

impl ScriptKind {
    /// The directive that names it.
    pub fn directive(self) -> &'static str {
        match self {
            ScriptKind::PreBuild => "PRE_BUILD",
            ScriptKind::PostBuild => "POST_BUILD",
            ScriptKind::PostAdd => "POST_ADD",
            ScriptKind::PreInstall => "PRE_INSTALL",
            ScriptKind::PostInstall => "POST_INSTALL",
            ScriptKind::PostRemove => "POST_REMOVE",
        }
    }
}

/// Why a script did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It could not be started.
    #[error("{directive} of {package} ({}) cannot be run", .path.display())]
    Start {
        /// Whose script.
        package: DkmsId,
        /// Which one.
        directive: &'static str,
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It said that it failed.
    #[error("{directive} of {package} ({}) failed: {status}{said}", .path.display())]
    Failed {
        /// Whose script.
        package: DkmsId,
        /// Which one.
        directive: &'static str,
        /// The program.
        path: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it said, with a leading separator; empty where that went to a log.
        said: String,
    },
}

impl ScriptError {
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        let (ScriptError::Start { path, .. } | ScriptError::Failed { path, .. }) = self;
        Some(format!("less {}", path.display()))
    }
}

/// A script of a package with its surroundings found: `/etc/dkms/M/<script>` wins over the package's own.
pub(crate) fn command(tree: &Tree, package: &DkmsId, line: &str, dir: &Path) -> Option<(PathBuf, Confined)> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let local = tree
        .root()
        .join(Path::new("/etc/dkms").join(&package.module).join(name));
    let path = if local.is_file() { local } else { dir.join(name) };
    let executable = path.is_file() && path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
    executable.then(|| (path.clone(), Confined::new(path).args(words).dir(dir)))
}

/// Runs a script of `package` in `dir` as we run; its output becomes notes. One that is not executable is warned of and passed over.
/// Those of an image run in the image, and never on this machine: in an image without a shell they are warned of and passed over.
pub(crate) fn run(
    tree: &Tree,
    package: &DkmsId,
    kind: ScriptKind,
    line: &str,
    dir: &Path,
    kernel: Option<&KernelId>,
    sink: &dyn Sink,
) -> Result<(), ScriptError> {
    let Some((path, command)) = prepare(tree, package, kind, line, dir, kernel, sink) else {
        return Ok(());
    };
    let directive = kind.directive();
    let root = tree.root();
    if !root.is_host() && find_program(root, "sh").is_none() {
        sink.emit(Event::Warning {
            text: format!(
                "{directive} of {package} is not run: it would have to run in the image {}, which has no shell",
                root.path().display()
            ),
            hint: Some("run it when the image has booted".into()),
        });
        return Ok(());
    }
    let command = if root.is_host() {
        command
    } else {
        command
            .renamed(|path| root.inside(path).unwrap_or_else(|| path.to_owned()))
            .chroot(Some(root.path()))
    };
    let said = command.output(64 << 10).map_err(|source| ScriptError::Start {
        package: package.clone(),
        directive,
        path: path.clone(),
        source,
    })?;
    let text = [said.stdout, said.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    for line in text.lines() {
        sink.emit(Event::Note(format!("{directive}: {line}")));
    }
    if said.ended.status.success() {
        return Ok(());
    }
    let said_last = text
        .lines()
        .last()
        .map(|line| format!("; it said: {line}"))
        .unwrap_or_default();
    Err(ScriptError::Failed {
        package: package.clone(),
        directive,
        path,
        status: said.ended.status,
        said: said_last,
    })
}

/// Runs a build script with its outputs going to the log of the build.
#[expect(
    clippy::too_many_arguments,
    reason = "the surroundings of one process; a struct would be built for one call"
)]
pub(crate) fn run_logged(
    tree: &Tree,
    package: &DkmsId,
    kind: ScriptKind,
    line: &str,
    dir: &Path,
    kernel: &KernelId,
    with: &dyn Fn(Confined) -> Confined,
    log: &File,
    sink: &dyn Sink,
) -> Result<(), ScriptError> {
    let Some((path, command)) = prepare(tree, package, kind, line, dir, Some(kernel), sink) else {
        return Ok(());
    };
    let directive = kind.directive();
    let ended = with(command).run_logged(log).map_err(|source| ScriptError::Start {
        package: package.clone(),
        directive,
        path: path.clone(),
        source,
    })?;
    if ended.status.success() {
        Ok(())
    } else {
        Err(ScriptError::Failed {
            package: package.clone(),
            directive,
            path,
            status: ended.status,
            said: String::new(),
        })
    }
}

fn prepare(
    tree: &Tree,
    package: &DkmsId,
    kind: ScriptKind,
    line: &str,
    dir: &Path,
    kernel: Option<&KernelId>,
    sink: &dyn Sink,
) -> Option<(PathBuf, Confined)> {
    let subject = package.subject(kernel);
    let directive = kind.directive();
    let Some((path, command)) = command(tree, package, line, dir) else {
        sink.emit(Event::Warning {
            text: format!(
                "{directive} of {package} is not run: {line:?} is no executable file in {}",
                dir.display()
            ),
            hint: Some(format!(
                "chmod +x {}",
                dir.join(line.split_whitespace().next().unwrap_or_default()).display()
            )),
        });
        return None;
    };
    sink.emit(Event::Started {
        subject,
        step: Step::Script,
        detail: format!("{directive} {line}"),
    });
    Some((path, command))
}
