//! One build from start to end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::{BuildError, BuildFailure};
use super::job::{Job, Shared, io_error, read_log};
use super::key::{Freshness, freshness};
use super::place::{BuildSandbox, Place};
use super::product::take_extras;
use super::queue::Alone;
use super::retarget::lead_to_headers;
use super::workspace::Workspace;
use super::{BuildOutcome, BuildRequest, Built, MissingDepends};
use crate::conf::{ConfContext, DkmsConf, evaluate};
use crate::event::{Event, Step};
use crate::fsutil::{remove_any, replace_path, sync_dir, sync_tree};
use crate::package::{DkmsId, KernelId};
use crate::sandbox::{Confinement, Layers};
use crate::script::ScriptKind;
use crate::tree::{BuildKey, BuildRecord, FailureRecord, RecordedModule, Tree, TreeLock};

/// How many lines of a log go into a failure.
const TAIL_LINES: usize = 15;

pub(super) fn failed_to_start(request: &BuildRequest, error: io::Error) -> BuildOutcome {
    BuildOutcome::Failed(BuildFailure {
        package: request.package.clone(),
        kernel: request.kernel_id(),
        error: BuildError::Jobserver(error),
        log: None,
        tail: Vec::new(),
    })
}

/// Builds what `request` asks for, unless it is there already. `alone` says why it is built by itself.
pub(super) fn build(shared: &Shared<'_>, request: &BuildRequest, alone: Alone) -> BuildOutcome {
    let ctx = context(shared.tree, request);
    if let Some(built) = current(shared.tree, shared.lock, request, &ctx) {
        return BuildOutcome::Current(built);
    }
    let mut job = Job {
        alone,
        ..Job::new(shared, request)
    };
    match job.run(ctx) {
        Ok(End::Built(built)) => BuildOutcome::Built(built),
        Ok(End::Excluded(why)) => BuildOutcome::Excluded {
            package: request.package.clone(),
            kernel: job.kernel,
            why,
        },
        Err(error) => BuildOutcome::Failed(job.remember(error)),
    }
}

/// The context of the conf, with the paths of the tree.
pub(super) fn context(tree: &Tree, request: &BuildRequest) -> ConfContext {
    let root = tree.root();
    ConfContext {
        dkms_tree: tree.path().to_owned(),
        source_tree: tree.source_tree(),
        install_tree: root.join(&tree.framework().install_tree),
        tmp_location: root.join(&tree.framework().tmp_location),
        parallel_jobs: tree.framework().jobs(),
        addon_modules_dir: tree.framework().addon_modules_dir.clone(),
        conf_file: request.conf_file.clone(),
        directives: request.directives.clone(),
        ..ConfContext::for_kernel(&request.kernel)
    }
    .of_package(&request.package.module, &request.package.version)
}

/// The build that is there, if it need not be made again. One of another implementation is taken as it is.
pub(super) fn current(tree: &Tree, lock: &TreeLock, request: &BuildRequest, ctx: &ConfContext) -> Option<Built> {
    let (package, kernel) = (&request.package, &request.kernel_id());
    if request.force || !tree.is_built(package, kernel) {
        return None;
    }
    let record = tree.record(package, kernel);
    if let Some(record) = &record {
        match freshness(tree, package, &request.kernel, ctx, record) {
            Freshness::Fresh => {}
            Freshness::Restamped(key) => record.renew(tree, lock, package, kernel, *key),
            Freshness::Stale(_) => return None,
        }
    }
    Some(Built {
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
        self.look_for_depends(&conf.build_depends)?;
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
            .and_then(|()| {
                if Layers::here().confinement == Confinement::MountNamespace {
                    return Ok(());
                }
                lead_to_headers(&work.build, &work.path().join("modules"), target)
            })
            .map_err(io_error("copy the source to", &work.build))?;
        let log_path = work.product.join("log/make.log");
        let result = self.make_product(&work, &conf, &ctx, &log_path);
        if result.is_err() {
            self.log = Some(read_log(&log_path));
        }
        self.keep(&work, &conf, key, result?).map(End::Built)
    }

    /// Stores the product with its record.
    pub(super) fn keep(
        &self,
        work: &Workspace,
        conf: &DkmsConf,
        key: BuildKey,
        modules: Vec<RecordedModule>,
    ) -> Result<Built, BuildError> {
        let (tree, package) = (self.tree, &self.request.package);
        let record = BuildRecord {
            modules: modules.clone(),
            key,
            autoinstall: conf.autoinstall,
            build_depends: conf.build_depends.clone(),
            build_depends_rebuild: conf.build_depends_rebuild,
            no_weak_modules: conf.no_weak_modules,
        };
        record.write(&work.product).map_err(io_error("write", &work.product))?;
        if conf.build_depends_rebuild {
            self.note_versions(&conf.build_depends, &work.product)
                .map_err(io_error("write", &work.product))?;
        }
        let dir = self
            .store(work)
            .map_err(io_error("store the build in", &tree.built_dir(package, &self.kernel)))?;
        Ok(Built {
            package: package.clone(),
            kernel: self.kernel.clone(),
            modules,
            dir,
        })
    }

    /// Whether the packages that BUILD_DEPENDS names are installed. One that is only built is not enough: a module that is installed without
    /// those whose symbols it uses cannot be loaded.
    fn look_for_depends(&self, names: &[String]) -> Result<(), BuildError> {
        let on_missing = self.request.missing_depends;
        if on_missing == MissingDepends::Ignore {
            return Ok(());
        }
        let is_missing = |name: &&String| self.tree.installed_version(name, &self.kernel).is_none();
        let missing: Vec<String> = names.iter().filter(is_missing).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let release = self.kernel.release.clone();
        let error = BuildError::DependsMissing { missing, release };
        if on_missing == MissingDepends::Refuse {
            return Err(error);
        }
        self.sink.emit(Event::Warning {
            text: format!("{} is built all the same: {error}", self.request.package),
            hint: None,
        });
        Ok(())
    }

    /// Notes which versions of other packages this build was made with, as upstream does: `.dep_NAME` holds the version.
    fn note_versions(&self, names: &[String], product: &Path) -> io::Result<()> {
        for name in names {
            if let Some(version) = self.tree.version_to_build_with(name, &self.kernel) {
                fs::write(Tree::version_note(product, name), format!("{version}\n"))?;
            }
        }
        Ok(())
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
        let place = Place::of(self.tree, &self.request.kernel, work);
        let user = place.user();
        if let Some(user) = user {
            work.chown(user).map_err(io_error("change the owner of", &work.build))?;
        }
        if let Some(closed) = &place.closed {
            self.warn_of_root(closed);
        }
        let mut sandbox = BuildSandbox::of(self, place, conf, work);
        self.patch(work, conf, &sandbox, &log)?;
        self.script(
            ScriptKind::PreBuild,
            conf.scripts.pre_build.as_deref(),
            work,
            &sandbox,
            &log,
        )?;
        self.make(work, conf, ctx, &sandbox, &log, log_path)?;
        let modules = self.take_modules(work, conf, &sandbox)?;
        if conf.scripts.post_build.is_some() {
            work.make_stage(user).map_err(io_error("make", &work.stage))?;
            sandbox.add_writable(&work.stage);
            self.script(
                ScriptKind::PostBuild,
                conf.scripts.post_build.as_deref(),
                work,
                &sandbox,
                &log,
            )?;
            take_extras(&work.stage, &work.product).map_err(io_error("copy", &work.stage))?;
        }
        Ok(modules)
    }

    /// Takes the modules that make left in the build directory.
    pub(super) fn take_modules(
        &self,
        work: &Workspace,
        conf: &DkmsConf,
        sandbox: &BuildSandbox<'_>,
    ) -> Result<Vec<RecordedModule>, BuildError> {
        let specs = conf.modules_for(&self.kernel.release, Some(self.request.kernel.config()));
        let modules = self.collect(work, conf, &specs, sandbox)?;
        // As upstream does, for those who examine the build later.
        let config = &self.request.kernel.config_file;
        if config.is_file() {
            let to = work.product.join("log").join(config.file_name().unwrap_or_default());
            fs::copy(config, &to).map_err(io_error("copy the configuration to", &to))?;
        }
        Ok(modules)
    }

    /// Warns that code of a package runs as root; once for all builds with the same cause.
    fn warn_of_root(&self, closed: &Path) {
        if !self.options.run_state.first_warning(closed) {
            return;
        }
        let bits = if closed.is_dir() { "o+rx" } else { "o+r" };
        self.sink.emit(Event::Warning {
            text: format!("make runs as root, because no other user can read {}", closed.display()),
            hint: Some(format!("chmod {bits} {}", closed.display())),
        });
    }

    pub(super) fn start_log(&self, path: &Path) -> io::Result<File> {
        let mut log = File::options().create(true).append(true).open(path)?;
        let KernelId { release, arch } = &self.kernel;
        let (version, package, now) = (crate::VERSION_TEXT, &self.request.package, self.options.now);
        writeln!(
            log,
            "DKMS ({version}) make.log for {package} for kernel {release} ({arch})\n{now}"
        )?;
        if let Some(why) = &self.alone.0 {
            writeln!(log, "compiled by itself: {why}")?;
        }
        Ok(log)
    }

    /// Moves the product into the tree in one step; the old build is removed with the workspace.
    fn store(&self, work: &Workspace) -> io::Result<PathBuf> {
        self.step(Step::Store, "");
        let dir = self.tree.built_dir(&self.request.package, &self.kernel);
        let parent = dir.parent().unwrap_or(&dir).to_owned();
        fs::create_dir_all(&parent)?;
        sync_tree(&work.product)?;
        replace_path(&work.product, &dir, &work.path().join("old"))?;
        sync_dir(&parent)?;
        forget_failure(self.tree, &self.request.package, &self.kernel)?;
        Ok(dir)
    }

    /// Keeps the log and the reason of a failed build.
    pub(super) fn remember(&self, error: BuildError) -> BuildFailure {
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
            // Where users and bug reporting tools look for it.
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
}

/// Removes what is remembered about failures, and the build directory that upstream leaves for them.
pub(crate) fn forget_failure(tree: &Tree, package: &DkmsId, kernel: &KernelId) -> io::Result<()> {
    let dir = tree.failed_dir(package, kernel);
    remove_any(&dir)?;
    if let Some(parent) = dir.parent() {
        crate::fsutil::remove_empty_dirs(parent, &tree.version_dir(package));
    }
    remove_any(&tree.version_dir(package).join("build"))
}

fn tail(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log() {
        let log: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(tail(&log).len(), TAIL_LINES);
        assert_eq!(tail(&log).last().map(String::as_str), Some("99"));
        assert_eq!(tail("one\n"), ["one"]);
    }
}
