//! The scripts that a package brings: PRE_BUILD, POST_INSTALL and the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command::{Confined, find_program};
use crate::conf::Scripts;
use crate::event::{Event, Sink, Step};
use crate::package::{DkmsId, KernelId};
use crate::tree::Tree;

/// Which of a package's scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// After the modules were removed.
    PostRemove,
}

impl ScriptKind {
    /// The scripts that run as root and not in the sandbox.
    pub const AS_ROOT: [ScriptKind; 4] = [
        ScriptKind::PostAdd,
        ScriptKind::PreInstall,
        ScriptKind::PostInstall,
        ScriptKind::PostRemove,
    ];

    /// The kind of the directive `name`, in upper or lower case.
    pub fn of_directive(name: &str) -> Option<ScriptKind> {
        let all = Self::AS_ROOT
            .into_iter()
            .chain([ScriptKind::PreBuild, ScriptKind::PostBuild]);
        all.into_iter().find(|kind| kind.directive().eq_ignore_ascii_case(name))
    }

    /// Its line in a dkms.conf.
    pub fn line(self, scripts: &Scripts) -> Option<&str> {
        let line = match self {
            ScriptKind::PreBuild => &scripts.pre_build,
            ScriptKind::PostBuild => &scripts.post_build,
            ScriptKind::PostAdd => &scripts.post_add,
            ScriptKind::PreInstall => &scripts.pre_install,
            ScriptKind::PostInstall => &scripts.post_install,
            ScriptKind::PostRemove => &scripts.post_remove,
        };
        line.as_deref()
    }

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

/// Which scripts of which packages may run as root. The caller decides: only it knows who asked for a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ScriptConsent {
    /// None: they are passed over. For trial builds.
    #[default]
    None,
    /// These. A package that has another one is refused before anything of it runs or changes.
    Named(BTreeMap<DkmsId, BTreeSet<ScriptKind>>),
    /// All: root added the packages by hand.
    All,
}

impl ScriptConsent {
    /// Adds scripts of a package. Does nothing where all may run, or none.
    pub fn name(&mut self, package: &DkmsId, kinds: impl IntoIterator<Item = ScriptKind>) {
        if let ScriptConsent::Named(named) = self {
            named.entry(package.clone()).or_default().extend(kinds);
        }
    }

    /// Whether this script may run.
    pub fn allows(&self, package: &DkmsId, kind: ScriptKind) -> bool {
        match self {
            ScriptConsent::None => false,
            ScriptConsent::Named(named) => named.get(package).is_some_and(|kinds| kinds.contains(&kind)),
            ScriptConsent::All => true,
        }
    }

    /// Checks that the caller has named those of `kinds` that a conf has.
    pub(crate) fn require(
        &self,
        package: &DkmsId,
        kinds: &[ScriptKind],
        scripts: &Scripts,
    ) -> Result<(), ScriptNotAllowed> {
        let refused = |kind: &&ScriptKind| kind.line(scripts).is_some() && !self.allows(package, **kind);
        match (self, kinds.iter().find(refused)) {
            (ScriptConsent::Named(_), Some(kind)) => Err(ScriptNotAllowed {
                package: package.clone(),
                directive: kind.directive(),
            }),
            _ => Ok(()),
        }
    }
}

/// A package has a script for root that the caller did not name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{directive} of {package} may not run as root: it is not among the scripts that were allowed")]
pub struct ScriptNotAllowed {
    /// The package.
    pub package: DkmsId,
    /// The directive of the script.
    pub directive: &'static str,
}

impl ScriptNotAllowed {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        Some(format!(
            "grep {} /usr/src/{}/dkms.conf /etc/dkms/{}*.conf",
            self.directive,
            self.package.dashed(),
            self.package.module
        ))
    }
}

/// Why a script failed.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It could not be started.
    #[error("{directive} of {package} ({}) cannot be run", .path.display())]
    Start {
        /// The package.
        package: DkmsId,
        /// The directive of the script.
        directive: &'static str,
        /// The program.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("{directive} of {package} ({}) failed: {status}{last_line}", .path.display())]
    Failed {
        /// The package.
        package: DkmsId,
        /// The directive of the script.
        directive: &'static str,
        /// The program.
        path: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last line of its output, with a leading separator; empty where the output went to a log.
        last_line: String,
    },
}

impl ScriptError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        let (ScriptError::Start { path, .. } | ScriptError::Failed { path, .. }) = self;
        Some(format!("less {}", path.display()))
    }
}

/// A script of a package with its surroundings found: `/etc/dkms/M/<script>` wins over the package's own.
pub(crate) fn command(tree: &Tree, package: &DkmsId, line: &str, dir: &Path) -> Option<(PathBuf, Confined)> {
    let mut words = words(line).into_iter();
    let name = words.next()?;
    let name = name.as_str();
    let local = tree
        .root()
        .join(Path::new("/etc/dkms").join(&package.module).join(name));
    // An administrator's script starts in its own directory, beside the files that belong to it.
    let (path, dir) = match local.parent() {
        Some(local_dir) if local.is_file() => (local.clone(), local_dir),
        _ => (dir.join(name), dir),
    };
    let executable = path.is_file() && path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
    executable.then(|| (path.clone(), Confined::new(path).args(words).dir(dir)))
}

/// The words of a directive as a shell has them: quotes keep blanks together. A text whose quotes do not end is split at blanks.
fn words(line: &str) -> Vec<String> {
    let split = || line.split_whitespace().map(str::to_owned).collect();
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match rest.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return split(),
            },
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return split();
    }
    words.extend(word);
    words
}

/// The path in the source of a script in a build directory, which is removed after the build.
fn lasting(tree: &Tree, package: &DkmsId, path: &Path, dir: &Path) -> PathBuf {
    match path.strip_prefix(dir) {
        Ok(name) => tree.source_dir(package).join(name),
        Err(_) => path.to_owned(),
    }
}

/// Sets the variables that dkms.conf knows by these names: Makefiles and scripts read them from their environment.
pub(crate) fn with_variables(command: Confined, tree: &Tree, package: &DkmsId, kernel: Option<&KernelId>) -> Confined {
    let framework = tree.framework();
    let command = command
        .env("module", &package.module)
        .env("module_version", &package.version)
        .env("dkms_tree", &framework.dkms_tree)
        .env("source_tree", &framework.source_tree)
        .env("install_tree", &framework.install_tree);
    match kernel {
        Some(kernel) => command.env("kernelver", &kernel.release).env("arch", &kernel.arch),
        None => command,
    }
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
    let output = command.output(64 << 10).map_err(|source| ScriptError::Start {
        package: package.clone(),
        directive,
        path: path.clone(),
        source,
    })?;
    let text = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    for line in text.lines() {
        sink.emit(Event::ScriptLine(format!("{directive}: {line}")));
    }
    if output.ended.status.success() {
        return Ok(());
    }
    let last_line = text
        .lines()
        .last()
        .map(|line| format!("; it said: {line}"))
        .unwrap_or_default();
    Err(ScriptError::Failed {
        package: package.clone(),
        directive,
        path,
        status: output.ended.status,
        last_line,
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
    let path = lasting(tree, package, &path, dir);
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
            last_line: String::new(),
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
        let source = tree.source_dir(package);
        sink.emit(Event::Warning {
            text: format!(
                "{directive} of {package} is not run: {line:?} is no executable file in {}",
                source.display()
            ),
            hint: Some(format!(
                "chmod +x {}",
                source.join(words(line).first().map_or("", String::as_str)).display()
            )),
        });
        return None;
    };
    sink.emit(Event::Started {
        subject,
        step: Step::Script,
        detail: format!("{directive} {line}"),
    });
    let command = with_variables(command, tree, package, kernel);
    Some((path, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_a_shell_has_them() {
        for (line, expected) in [
            ("a.sh  b", vec!["a.sh", "b"]),
            ("a.sh 'b c' \"d  e\"f", vec!["a.sh", "b c", "d  ef"]),
            ("a.sh b\\ c ''", vec!["a.sh", "b c", ""]),
            ("a.sh \"it's\"", vec!["a.sh", "it's"]),
            ("a.sh it's", vec!["a.sh", "it's"]),
            ("", vec![]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
    }
}
