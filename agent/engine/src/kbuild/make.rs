//! The programs that run in the build directory: patch, scripts, make.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Component, Path};

use super::diagnose::{Surroundings, diagnose};
use super::error::BuildError;
use super::job::{Job, io_error, read_log};
use super::place::BuildSandbox;
use super::strip::{make_and_strip, to_strip};
use super::workspace::Workspace;
use crate::command::Confined;
use crate::conf::{ConfContext, DkmsConf};
use crate::diagnosis::Diagnosis;
use crate::event::Step;
use crate::kernel::KernelTarget;
use crate::sandbox::take;
use crate::script::{self, ScriptKind};

/// The largest patch, in bytes.
const MAX_PATCH_LEN: u64 = 64 << 20;

impl Job<'_> {
    pub(super) fn patch(
        &self,
        work: &Workspace,
        conf: &DkmsConf,
        sandbox: &BuildSandbox<'_>,
        log: &File,
    ) -> Result<(), BuildError> {
        let source_dir = work.build.join("patches");
        let local_dir = self.tree.root().join(
            Path::new("/etc/dkms")
                .join(&self.request.package.module)
                .join("patches"),
        );
        for patch in &conf.patches {
            let is_inside = Path::new(patch)
                .components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            let Some(path) = [&local_dir, &source_dir]
                .map(|dir| dir.join(patch))
                .into_iter()
                .find(|p| is_inside && p.is_file())
            else {
                let (patch, source_dir) = (
                    patch.clone(),
                    self.tree.source_dir(&self.request.package).join("patches"),
                );
                return Err(BuildError::PatchMissing {
                    patch,
                    source_dir,
                    local_dir,
                });
            };
            self.step(Step::Patch, patch);
            // Read by this process, because the user of the build may not be able to; patch gets it as its input.
            let text = match path.strip_prefix(&work.build) {
                // A package's own must not be a link to what only we may read.
                Ok(inside) => take::open_dir(&work.build).and_then(|dir| take::read(dir, inside, MAX_PATCH_LEN)),
                Err(_) => fs::read(&path),
            };
            let text = text.map_err(io_error("read", &path))?;
            let ended = sandbox
                .confine(
                    Confined::new("patch")
                        .args(["-p1", "--batch", "--forward"])
                        .stdin(text)
                        .dir(&work.build),
                )
                .run_logged(log)
                .map_err(|source| BuildError::Program {
                    program: "patch".into(),
                    source,
                })?;
            if !ended.status.success() {
                return Err(BuildError::PatchFailed { patch: patch.clone() });
            }
        }
        Ok(())
    }

    pub(super) fn script(
        &self,
        kind: ScriptKind,
        line: Option<&str>,
        work: &Workspace,
        sandbox: &BuildSandbox<'_>,
        log: &File,
    ) -> Result<(), BuildError> {
        let Some(line) = line else {
            return Ok(());
        };
        if !self.options.run_scripts {
            return Err(BuildError::ScriptsForbidden(kind.directive()));
        }
        let package = &self.request.package;
        script::run_logged(
            self.tree,
            package,
            kind,
            line,
            &work.build,
            &self.kernel,
            &|command| sandbox.confine(command),
            log,
            self.sink,
        )?;
        Ok(())
    }

    pub(super) fn make(
        &self,
        work: &Workspace,
        conf: &DkmsConf,
        ctx: &ConfContext,
        sandbox: &BuildSandbox<'_>,
        mut log: &File,
        log_path: &Path,
    ) -> Result<(), BuildError> {
        let (target, place) = (&self.request.kernel, sandbox.place());
        let line = place.text(&conf.make_command(&ctx.kernel_source_dir, &work.build));
        let line = make_line(
            &line,
            &self.kernel.release,
            target.config().is_enabled("CONFIG_CC_IS_CLANG"),
        );
        self.step(Step::Make, &line);
        writeln!(log, "\nBuilding module(s)\n# command: {line}").map_err(io_error("write", log_path))?;
        let specs = conf.modules_for(&self.kernel.release, Some(target.config()));
        let command = make_and_strip(&line, place.path(&work.build), &to_strip(&specs), target);
        let ended = sandbox
            .confine(command)
            .run_logged(log)
            .map_err(|source| BuildError::Program {
                program: "bash".into(),
                source,
            })?;
        if let Some(exceeded) = ended.exceeded.filter(|_| !ended.timed_out) {
            return Err(BuildError::Exceeded(exceeded));
        }
        if ended.status.success() {
            return Ok(());
        }
        let toolchain = target.toolchain();
        let diagnosis = if ended.timed_out {
            Diagnosis::TimedOut {
                limit_s: self.options.time_limit.as_secs(),
            }
        } else {
            let compilers = toolchain.major_mismatch().is_some().then(|| {
                (
                    toolchain.wanted.clone().unwrap_or_default(),
                    toolchain.present.clone().unwrap_or_default(),
                )
            });
            let build_dir = place.path(&work.build).display().to_string();
            let diagnosis = diagnose(&read_log(log_path), &Surroundings { build_dir, compilers });
            // The log is on the same disk: when that is full, the line that says so may be lost.
            match diagnosis {
                Diagnosis::Unknown { .. } if is_full(&work.build) => Diagnosis::NoSpace,
                diagnosis => diagnosis,
            }
        };
        let hint = hint(&diagnosis, target, &self.tree.source_dir(&self.request.package));
        Err(BuildError::Make { diagnosis, hint })
    }
}

/// With less free space no module can be built.
const SPACE_MIN_BYTES: u64 = 1 << 20;

/// Whether the file system of a build is full.
fn is_full(build: &Path) -> bool {
    rustix::fs::statvfs(build).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) < SPACE_MIN_BYTES)
}

/// What is added to MAKE: each call of `make` gets `LLVM=1` for kernels built by clang, and a leading one that is not in quotes the
/// release. Its jobs come from the jobserver.
fn make_line(line: &str, release: &str, is_clang: bool) -> String {
    let leads = line
        .strip_prefix("make")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
    let line = if is_clang { with_llvm(line) } else { line.to_owned() };
    match line.strip_prefix("make").filter(|_| leads) {
        Some(rest) => format!("make KERNELRELEASE={release}{rest}"),
        None => line,
    }
}

/// Adds `LLVM=1` after each word that calls make: where a command begins, after assignments, also in quotes or by its path.
fn with_llvm(line: &str) -> String {
    let mut text = String::with_capacity(line.len() + 16);
    let mut at_command = true;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if c.is_whitespace() || ";&|({!`".contains(c) {
            at_command |= c == '\n' || !c.is_whitespace();
            text.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let word = &rest[..word_len(rest)];
        let plain: String = word.chars().filter(|c| !"'\"\\".contains(*c)).collect();
        text.push_str(word);
        rest = &rest[word.len()..];
        if at_command && is_make(&plain) {
            text.push_str(" LLVM=1");
        }
        at_command &= is_before_command(&plain);
    }
    text
}

/// The length of the word that `text` begins with, in bytes; blanks in quotes belong to it.
fn word_len(text: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"') | None, '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if at > 0 && (c.is_whitespace() || ";&|()`".contains(c)) => return at,
            _ => {}
        }
    }
    text.len()
}

fn is_make(word: &str) -> bool {
    matches!(word, "make" | "gmake" | "$MAKE" | "${MAKE}") || word.ends_with("/make")
}

/// Words that may stand before a command: assignments, and what runs a command or begins a list of them.
fn is_before_command(word: &str) -> bool {
    let is_assignment = word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    });
    is_assignment
        || matches!(
            word,
            "env" | "exec" | "command" | "nice" | "time" | "eval" | "if" | "then" | "else" | "do" | "while"
        )
}

/// Suggested fix for the diagnosis of a package whose source is in the directory `source`.
fn hint(diagnosis: &Diagnosis, kernel: &KernelTarget, source: &Path) -> Option<String> {
    let distribution = &kernel.distribution;
    match diagnosis {
        Diagnosis::ToolMissing { program } => Some(distribution.install_command(program)),
        Diagnosis::LibraryMissing { library } => {
            // libelf.so.1 is in libelf1 on Debian, and in libelf elsewhere; only kbuild's own tools ask for it.
            let (name, version) = library
                .split_once(".so.")
                .unwrap_or((library.trim_end_matches(".so"), ""));
            let package = if distribution.is_debian() {
                format!("{name}{version}")
            } else {
                name.to_owned()
            };
            Some(distribution.install_command(&package))
        }
        Diagnosis::CompilerMismatch { .. } => {
            let cc = kernel
                .toolchain()
                .wanted
                .as_deref()?
                .split_whitespace()
                .next()?
                .to_owned();
            Some(distribution.install_command(&cc))
        }
        Diagnosis::HeadersIncomplete { .. } => Some(distribution.headers_command(&kernel.release)),
        Diagnosis::NoSpace => Some("df".into()),
        Diagnosis::Denied { .. } => {
            Some("what a package does outside of its build directory belongs into its POST_INSTALL".into())
        }
        Diagnosis::NoNetwork { .. } => Some(format!(
            "download it before the build, as the package's own Makefile does, into {}",
            source.display()
        )),
        Diagnosis::NotExecutable { script } => {
            let name = script.trim_start_matches("./");
            Some(format!("chmod +x {}", source.join(name).display()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_make() {
        let check = |line: &str, clang: bool, expected: &str| assert_eq!(make_line(line, "6.1", clang), expected);
        check("make -C x", false, "make KERNELRELEASE=6.1 -C x");
        check("make", true, "make KERNELRELEASE=6.1 LLVM=1");
        check("'make' all", false, "'make' all");
        check("'make' all", true, "'make' LLVM=1 all");
        check("cd src; make -j2", true, "cd src; make LLVM=1 -j2");
        check("KV=6.1 ./make all", true, "KV=6.1 ./make LLVM=1 all");
        check(
            "A='b c' \"make\" x && make y",
            true,
            "A='b c' \"make\" LLVM=1 x && make LLVM=1 y",
        );
        check("(./configure && make)", true, "(./configure && make LLVM=1)");
        check("echo make; ./make.sh make", true, "echo make; ./make.sh make");
        check("env X=1 /usr/bin/make", true, "env X=1 /usr/bin/make LLVM=1");
        check("makepkg", false, "makepkg");
        check("(./configure && make)", false, "(./configure && make)");
    }
}
