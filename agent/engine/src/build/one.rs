//! One build from start to end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::{CheckProblem, check_module};
use super::diagnose::{Diagnosis, Surroundings, diagnose};
use super::error::{BuildError, BuildFailure};
use super::key::{BuildKey, depends_symvers, stale};
use super::sign::Signers;
use super::workspace::Workspace;
use super::{BuildOptions, BuildOutcome, BuildRequest, Built};
use crate::command::{Confined, User, is_root, readable_by_all};
use crate::conf::{ConfContext, DkmsConf, ModuleSpec, evaluate};
use crate::event::{Event, Sink, Step};
use crate::fsutil::{copy_tree, remove_any, sync_dir, sync_tree};
use crate::kernel::{KernelTarget, Symbols, parse_symvers};
use crate::ko::{Compression, ModuleInfo, compress};
use crate::package::{KernelId, PackageId};
use crate::script::{self, ScriptKind};
use crate::tree::{BuildRecord, FailureRecord, RecordedModule, Tree};

/// How many lines of a log go into a failure.
const TAIL_LINES: usize = 15;

/// The most of a log that is looked at for a cause.
const MAX_LOG_LEN: usize = 8 << 20;

pub(super) fn failed_to_start(request: &BuildRequest, error: &Arc<io::Error>) -> BuildOutcome {
    BuildOutcome::Failed(BuildFailure {
        package: request.package.clone(),
        kernel: request.kernel_id(),
        error: BuildError::Jobserver(Arc::clone(error)),
        log: None,
        tail: Vec::new(),
    })
}

/// Builds what `request` asks for, unless it is there already.
pub(super) fn build(
    tree: &Tree,
    request: &BuildRequest,
    options: &BuildOptions,
    signers: &Signers<'_>,
    client: &jobserver::Client,
    sink: &dyn Sink,
) -> BuildOutcome {
    let (package, kernel) = (&request.package, request.kernel_id());
    let ctx = context(tree, request);
    if let Some(built) = current(tree, request, &kernel, &ctx) {
        return BuildOutcome::Current(built);
    }
    let mut job = Job {
        tree,
        request,
        kernel,
        options,
        signers,
        client,
        sink,
        log: None,
        key: None,
    };
    match job.run(ctx) {
        Ok(End::Built(built)) => BuildOutcome::Built(built),
        Ok(End::Excluded(why)) => BuildOutcome::Excluded {
            package: package.clone(),
            kernel: job.kernel,
            why,
        },
        Err(error) => BuildOutcome::Failed(job.remember(error)),
    }
}

/// The world of the conf, with the tree's own places.
fn context(tree: &Tree, request: &BuildRequest) -> ConfContext {
    let root = tree.root();
    ConfContext {
        dkms_tree: tree.path().to_owned(),
        source_tree: tree.source_tree(),
        install_tree: root.join(&tree.framework().install_tree),
        tmp_location: root.join(&tree.framework().tmp_location),
        conf_file: request.conf_file.clone(),
        directives: request.directives.clone(),
        ..ConfContext::for_kernel(&request.kernel)
    }
    .of_package(&request.package.module, &request.package.version)
}

/// The build that is there, if it need not be made again. One of another implementation is taken as it is.
fn current(tree: &Tree, request: &BuildRequest, kernel: &KernelId, ctx: &ConfContext) -> Option<Built> {
    let package = &request.package;
    if request.force || !tree.is_built(package, kernel) {
        return None;
    }
    let record = tree.record(package, kernel);
    let is_stale = record
        .as_ref()
        .is_some_and(|record| stale(tree, package, &request.kernel, ctx, record).is_some());
    (!is_stale).then(|| Built {
        package: package.clone(),
        kernel: kernel.clone(),
        modules: record.map_or_else(|| tree.recorded_modules(package, kernel), |record| record.modules),
        dir: tree.built_dir(package, kernel),
    })
}

enum End {
    Built(Built),
    Excluded(crate::conf::Exclusion),
}

/// One build on its way.
struct Job<'a> {
    tree: &'a Tree,
    request: &'a BuildRequest,
    kernel: KernelId,
    options: &'a BuildOptions,
    signers: &'a Signers<'a>,
    client: &'a jobserver::Client,
    sink: &'a dyn Sink,
    /// The log, kept in memory once the workspace is gone.
    log: Option<String>,
    key: Option<BuildKey>,
}

impl Job<'_> {
    fn run(&mut self, ctx: ConfContext) -> Result<End, BuildError> {
        let (tree, package, target) = (self.tree, &self.request.package, &*self.request.kernel);
        tree.require(package)?;
        self.step(Step::Prepare, "");
        let work = Workspace::new(tree, package, &self.kernel).map_err(io_error("create", &tree.work_dir()))?;
        let ctx = ConfContext {
            dkms_tree: work.tree.clone(),
            ..ctx
        };
        let source = tree.source_dir(package);
        let conf = evaluate(&source, &ctx)?;
        if let Some(why) = conf.excluded(&self.kernel.release, Some(target.config())) {
            return Ok(End::Excluded(why));
        }
        if fs::read_dir(&source).map_or(0, Iterator::count) < 2 {
            return Err(BuildError::NoSource(source));
        }
        let key_ctx = ConfContext {
            dkms_tree: tree.path().to_owned(),
            ..ctx.clone()
        };
        let key = BuildKey::now(tree, package, target, &key_ctx, &conf.build_depends);
        let key = key.map_err(io_error("read", &source))?;
        self.key = Some(key.clone());
        work.fill(&source)
            .map_err(io_error("copy the source to", &work.build))?;
        let log_path = work.product.join("log/make.log");
        let result = self.make_product(&work, &conf, &ctx, &log_path);
        if result.is_err() {
            self.log = Some(read_log(&log_path));
        }
        let modules = result?;
        let record = BuildRecord {
            modules: modules.clone(),
            key,
            autoinstall: conf.autoinstall,
            build_depends: conf.build_depends.clone(),
            build_depends_rebuild: conf.build_depends_rebuild,
            no_weak_modules: conf.no_weak_modules,
        };
        record.write(&work.product).map_err(io_error("write", &work.product))?;
        let dir = self
            .store(&work)
            .map_err(io_error("store the build in", &tree.built_dir(package, &self.kernel)))?;
        Ok(End::Built(Built {
            package: package.clone(),
            kernel: self.kernel.clone(),
            modules,
            dir,
        }))
    }

    /// From the filled build directory to checked, signed modules in the product directory.
    fn make_product(
        &self,
        work: &Workspace,
        conf: &DkmsConf,
        ctx: &ConfContext,
        log_path: &Path,
    ) -> Result<Vec<RecordedModule>, BuildError> {
        let log = self.start_log(log_path).map_err(io_error("write", log_path))?;
        self.patch(work, conf, &log)?;
        let place = Place::of(self.tree, &self.request.kernel, work);
        if place.user == User::Unprivileged {
            work.give_away().map_err(io_error("give away", &work.build))?;
        }
        let setting = |command: Confined| self.settle(command, &place, conf, work);
        self.script(
            ScriptKind::PreBuild,
            conf.scripts.pre_build.as_deref(),
            work,
            &setting,
            &log,
        )?;
        self.make(work, conf, ctx, &place, &setting, &log, log_path)?;
        let specs = conf.modules_for(&self.kernel.release, Some(self.request.kernel.config()));
        let modules = self.collect(work, conf, &specs, &setting)?;
        // For whoever looks at a build later, as upstream keeps it.
        let config = &self.request.kernel.config_file;
        if config.is_file() {
            let to = work.product.join("log").join(config.file_name().unwrap_or_default());
            fs::copy(config, &to).map_err(io_error("copy the configuration to", &to))?;
        }
        if conf.scripts.post_build.is_some() {
            copy_tree(&work.product, &work.stage).map_err(io_error("copy", &work.stage))?;
            if place.user == User::Unprivileged {
                work.give_away().map_err(io_error("give away", &work.stage))?;
            }
            self.script(
                ScriptKind::PostBuild,
                conf.scripts.post_build.as_deref(),
                work,
                &setting,
                &log,
            )?;
            take_extras(&work.stage, &work.product).map_err(io_error("copy", &work.stage))?;
        }
        Ok(modules)
    }

    fn start_log(&self, path: &Path) -> io::Result<File> {
        let mut log = File::options().create(true).append(true).open(path)?;
        let KernelId { release, arch } = &self.kernel;
        let (version, package, now) = (crate::VERSION_TEXT, &self.request.package, self.options.now);
        writeln!(
            log,
            "DKMS ({version}) make.log for {package} for kernel {release} ({arch})\n{now}"
        )?;
        Ok(log)
    }

    fn patch(&self, work: &Workspace, conf: &DkmsConf, log: &File) -> Result<(), BuildError> {
        let source_dir = work.build.join("patches");
        let local_dir = self.tree.root().join(
            Path::new("/etc/dkms")
                .join(&self.request.package.module)
                .join("patches"),
        );
        for patch in &conf.patches {
            let Some(path) = [&local_dir, &source_dir]
                .map(|dir| dir.join(patch))
                .into_iter()
                .find(|p| p.is_file())
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
            let ended = Confined::new("patch")
                .args(["-p1", "--batch", "--forward", "-i"])
                .arg(&path)
                .dir(&work.build)
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

    fn script(
        &self,
        kind: ScriptKind,
        line: Option<&str>,
        work: &Workspace,
        setting: &dyn Fn(Confined) -> Confined,
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
            setting,
            log,
            self.sink,
        )?;
        Ok(())
    }

    /// The environment, user and limits of what runs in the build directory.
    fn settle(&self, command: Confined, place: &Place, conf: &DkmsConf, work: &Workspace) -> Confined {
        let target = &self.request.kernel;
        let map = format!(
            "-ffile-prefix-map={}=/usr/src/{}",
            place.path(&work.build).display(),
            self.request.package.dashed()
        );
        let mut command = command
            .user(place.user)
            .chroot(place.chroot.as_deref())
            .time_limit(self.options.time_limit)
            .env("KCFLAGS", map)
            .jobserver(self.client);
        if target.headers.join(".kernelvariables").exists() {
            command = command.env("CC", &target.toolchain().cc);
        }
        let symvers: Vec<String> = depends_symvers(self.tree, &self.kernel, &conf.build_depends)
            .iter()
            .map(|path| place.path(path).display().to_string())
            .collect();
        if !symvers.is_empty() {
            command = command.env("KBUILD_EXTRA_SYMBOLS", symvers.join(" "));
        }
        for assignment in self
            .tree
            .framework()
            .build_environment
            .as_deref()
            .unwrap_or_default()
            .split_whitespace()
        {
            if let Some((name, value)) = assignment.split_once('=') {
                command = command.env(name, value);
            }
        }
        command
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one step of one job; the arguments are its surroundings"
    )]
    fn make(
        &self,
        work: &Workspace,
        conf: &DkmsConf,
        ctx: &ConfContext,
        place: &Place,
        setting: &dyn Fn(Confined) -> Confined,
        mut log: &File,
        log_path: &Path,
    ) -> Result<(), BuildError> {
        let target = &self.request.kernel;
        let line = place.text(&conf.make_command(&ctx.kernel_source_dir, &work.build));
        let line = make_line(
            &line,
            &self.kernel.release,
            target.config().is_enabled("CONFIG_CC_IS_CLANG"),
        );
        self.step(Step::Make, &line);
        writeln!(log, "\nBuilding module(s)\n# command: {line}").map_err(io_error("write", log_path))?;
        let command = setting(
            Confined::new("/bin/bash")
                .args(["-c", &line])
                .dir(place.path(&work.build)),
        );
        let ended = command.run_logged(log).map_err(|source| BuildError::Program {
            program: "bash".into(),
            source,
        })?;
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
            diagnose(&read_log(log_path), &Surroundings { build_dir, compilers })
        };
        let hint = hint(&diagnosis, target);
        Err(BuildError::Make { diagnosis, hint })
    }

    /// Strips, checks, signs and compresses what make made.
    fn collect(
        &self,
        work: &Workspace,
        conf: &DkmsConf,
        specs: &[&ModuleSpec],
        setting: &dyn Fn(Confined) -> Confined,
    ) -> Result<Vec<RecordedModule>, BuildError> {
        let target = &self.request.kernel;
        let built = |spec: &ModuleSpec| {
            work.build
                .join(format!("{}{}.ko", spec.built_location, spec.built_name))
        };
        for spec in specs {
            if !built(spec).is_file() {
                let expected = PathBuf::from(format!("{}{}.ko", spec.built_location, spec.built_name));
                return Err(BuildError::ModuleMissing {
                    module: spec.built_name.clone(),
                    expected,
                });
            }
        }
        self.step(Step::Check, "");
        let to_strip: Vec<PathBuf> = specs.iter().filter(|spec| spec.strip).map(|spec| built(spec)).collect();
        if !to_strip.is_empty() {
            let clang = target.config().is_enabled("CONFIG_CC_IS_CLANG");
            let program = if clang { "llvm-strip" } else { "strip" };
            let place = Place::of(self.tree, target, work);
            let files = to_strip.iter().map(|path| place.path(path));
            // A file that cannot be stripped is told by the check.
            setting(Confined::new(program).arg("-g").args(files))
                .output(4096)
                .map_err(|source| BuildError::Program {
                    program: program.into(),
                    source,
                })?;
        }
        let symvers = work.product.join("module/Module.symvers");
        let own = own_symvers(&work.build, specs);
        if !own.is_empty() {
            fs::write(&symvers, &own).map_err(io_error("write", &symvers))?;
        }
        let mut exports = parse_symvers(&own);
        for path in depends_symvers(self.tree, &self.kernel, &conf.build_depends) {
            exports.extend(Symbols::read(&path).unwrap_or_default());
        }
        let mut problems = Vec::new();
        let mut files = Vec::new();
        for spec in specs {
            let path = built(spec);
            let bytes = fs::read(&path).map_err(io_error("read", &path))?;
            match ModuleInfo::parse(&bytes) {
                Ok(info) => problems.extend(check_module(&spec.built_name, &info, target, &exports)),
                Err(what) => problems.push(CheckProblem::NotAModule {
                    module: spec.built_name.clone(),
                    what,
                }),
            }
            files.push(bytes);
        }
        if !problems.is_empty() {
            return Err(BuildError::Unfit(problems));
        }
        specs
            .iter()
            .zip(files)
            .map(|(spec, bytes)| self.finish_module(work, spec, &bytes))
            .collect()
    }

    fn finish_module(&self, work: &Workspace, spec: &ModuleSpec, bytes: &[u8]) -> Result<RecordedModule, BuildError> {
        let target = &self.request.kernel;
        let dir = work.product.join("module");
        let plain = dir.join(format!("{}.ko", spec.dest_name));
        fs::write(&plain, bytes).map_err(io_error("write", &plain))?;
        if let Some(signer) = self.signers.of(target) {
            self.step(Step::Sign, &spec.dest_name);
            signer.sign(&plain)?;
        }
        let compression = Compression::from_suffix(target.module_compression());
        let file = format!("{}.ko{}", spec.dest_name, compression.suffix());
        if compression != Compression::None {
            let packed = dir.join(&file);
            let pack = || {
                fs::write(&packed, compress(&fs::read(&plain)?, compression)?).and_then(|()| fs::remove_file(&plain))
            };
            pack().map_err(io_error("compress", &plain))?;
        }
        let declared = spec.declared_location.trim_end_matches('/').to_owned();
        let mut locations = vec![spec.dest_location.clone()];
        if declared != spec.dest_location {
            locations.push(declared);
        }
        Ok(RecordedModule {
            name: spec.dest_name.clone(),
            file,
            locations,
        })
    }

    /// Puts the product in its place in one step; the old build goes with the workspace.
    fn store(&self, work: &Workspace) -> io::Result<PathBuf> {
        self.step(Step::Store, "");
        let dir = self.tree.built_dir(&self.request.package, &self.kernel);
        let parent = dir.parent().unwrap_or(&dir).to_owned();
        fs::create_dir_all(&parent)?;
        sync_tree(&work.product)?;
        if fs::symlink_metadata(&dir).is_ok() {
            exchange(&work.product, &dir, work.path())?;
        } else {
            fs::rename(&work.product, &dir)?;
        }
        sync_dir(&parent)?;
        forget_failure(self.tree, &self.request.package, &self.kernel)?;
        Ok(dir)
    }

    /// Keeps the log and the reason of a failed build.
    fn remember(&self, error: BuildError) -> BuildFailure {
        let (package, kernel) = (&self.request.package, &self.kernel);
        let mut failure = BuildFailure {
            package: package.clone(),
            kernel: kernel.clone(),
            error,
            log: None,
            tail: Vec::new(),
        };
        let Some(log) = &self.log else {
            return failure;
        };
        failure.tail = tail(log);
        let dir = self.tree.failed_dir(package, kernel);
        let record = FailureRecord {
            reason: failure.to_string(),
            diagnosis: failure.error.diagnosis().cloned(),
            at: self.options.now.as_second(),
            key: self.key.clone(),
        };
        let write = || -> io::Result<()> {
            fs::create_dir_all(&dir)?;
            fs::write(dir.join("make.log"), log)?;
            record.write(&dir)?;
            // Where people and bug reporters look for it.
            let usual = self.tree.version_dir(package).join("build");
            fs::create_dir_all(&usual)?;
            fs::write(usual.join("make.log"), log)
        };
        match write() {
            Ok(()) => failure.log = Some(dir.join("make.log")),
            Err(error) => self.sink.emit(Event::Warning {
                text: format!(
                    "the log of the failed build of {package} could not be kept in {}: {error}",
                    dir.display()
                ),
                hint: None,
            }),
        }
        failure
    }

    fn step(&self, step: Step, detail: &str) {
        let subject = self.request.package.subject(Some(&self.kernel));
        self.sink.emit(Event::Started {
            subject,
            step,
            detail: detail.to_owned(),
        });
    }
}

/// Where and as whom a build runs: here, or in a chroot of a root that has its own toolchain.
struct Place {
    chroot: Option<PathBuf>,
    user: User,
}

impl Place {
    /// Nobody builds where nobody can reach the directory and the headers; else it is done as we are.
    fn of(tree: &Tree, kernel: &KernelTarget, work: &Workspace) -> Place {
        let reachable = readable_by_all(&work.build) && readable_by_all(&kernel.headers);
        let user = if is_root() && reachable {
            User::Unprivileged
        } else {
            User::Same
        };
        Place {
            chroot: kernel
                .chroot()
                .filter(|root| tree.path().starts_with(root))
                .map(Path::to_owned),
            user,
        }
    }

    /// What a path on the running system is called there.
    fn path(&self, path: &Path) -> PathBuf {
        match &self.chroot {
            Some(root) => path
                .strip_prefix(root)
                .map_or_else(|_| path.to_owned(), |rest| Path::new("/").join(rest)),
            None => path.to_owned(),
        }
    }

    /// A command that holds such paths.
    fn text(&self, text: &str) -> String {
        match &self.chroot {
            Some(root) => text.replace(&root.display().to_string(), ""),
            None => text.to_owned(),
        }
    }
}

/// What the package exports: Module.symvers at the top of the build, and those of packages that build each module in a directory of its own.
fn own_symvers(build: &Path, specs: &[&ModuleSpec]) -> String {
    let mut dirs: Vec<&str> = specs
        .iter()
        .map(|spec| spec.built_location.as_str())
        .chain([""])
        .collect();
    dirs.sort_unstable();
    dirs.dedup();
    let mut lines = std::collections::BTreeSet::new();
    for dir in dirs {
        let bytes = fs::read(build.join(dir).join("Module.symvers")).unwrap_or_default();
        lines.extend(
            String::from_utf8_lossy(&bytes)
                .lines()
                .map(|line| line.to_owned() + "\n"),
        );
    }
    lines.into_iter().collect()
}

/// What is added to MAKE: a leading `make` gets the release (and `LLVM=1` for kernels built by clang); its jobs come from the jobserver.
/// In quotes it is left alone.
fn make_line(line: &str, release: &str, is_clang: bool) -> String {
    match line
        .strip_prefix("make")
        .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
    {
        Some(rest) if is_clang => format!("make KERNELRELEASE={release} LLVM=1{rest}"),
        Some(rest) => format!("make KERNELRELEASE={release}{rest}"),
        None => line.to_owned(),
    }
}

/// The way out for a cause.
fn hint(diagnosis: &Diagnosis, kernel: &KernelTarget) -> Option<String> {
    let distribution = &kernel.distribution;
    match diagnosis {
        Diagnosis::ToolMissing { program } => Some(distribution.install_command(program)),
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
        _ => None,
    }
}

/// Swaps two directories; where the file system cannot, moves one after the other.
fn exchange(new: &Path, old: &Path, spare: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(_) => {
            fs::rename(old, spare.join("old"))?;
            fs::rename(new, old)
        }
    }
}

/// Copies what POST_BUILD added to the stage. The modules themselves are not taken from there.
fn take_extras(stage: &Path, product: &Path) -> io::Result<()> {
    for dir in ["", "module"] {
        for entry in fs::read_dir(stage.join(dir))? {
            let entry = entry?;
            let to = product.join(dir).join(entry.file_name());
            let is_new = fs::symlink_metadata(&to).is_err();
            if is_new && entry.file_type()?.is_file() {
                fs::copy(entry.path(), to)?;
            } else if is_new && entry.file_type()?.is_dir() {
                copy_tree(&entry.path(), &to)?;
            }
        }
    }
    Ok(())
}

/// Removes what is remembered about failures, and the build directory that upstream leaves for them.
pub(crate) fn forget_failure(tree: &Tree, package: &PackageId, kernel: &KernelId) -> io::Result<()> {
    let dir = tree.failed_dir(package, kernel);
    remove_any(&dir)?;
    if let Some(parent) = dir.parent() {
        crate::fsutil::remove_empty_dirs(parent, &tree.version_dir(package));
    }
    remove_any(&tree.version_dir(package).join("build"))
}

fn read_log(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let start = bytes.len().saturating_sub(MAX_LOG_LEN);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

fn tail(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { what, path, source }
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
        check("makepkg", false, "makepkg");
        check("(./configure && make)", false, "(./configure && make)");
    }

    #[test]
    fn the_end_of_a_log() {
        let log: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(tail(&log).len(), TAIL_LINES);
        assert_eq!(tail(&log).last().map(String::as_str), Some("99"));
        assert_eq!(tail("one\n"), ["one"]);
    }
}
