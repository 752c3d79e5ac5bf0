//! Plain packages of one authority, compiled by one make: what kbuild does before it starts a compiler is done once for all of them.
//!
//! Each package is a directory of one common module directory, with a Kbuild that this program wrote. The directory is compiled by its
//! path as if it were alone, so that the modules are the same, byte for byte. A failure says nothing of a package: whatever is not as
//! expected, all of them are compiled one by one.

mod log;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::BuildError;
use super::job::{Job, Shared, io_error, read_log};
use super::one;
use super::place::{BuildSandbox, Place, confine_together};
use super::plain::Plain;
use super::product::MAX_MODULE_LEN;
use super::queue::{Alone, Request};
use super::strip::make_and_strip;
use super::workspace::Workspace;
use super::{BuildOutcome, BuildRequest, Built};
use crate::conf::ConfContext;
use crate::event::{Event, Step};
use crate::fsutil::chown_tree;
use crate::ko::ModuleInfo;
use crate::sandbox::take;
use crate::tree::{BuildKey, RecordedModule, Tree};

/// The most files of one name in the directory of a make.
const MAX_SYMVERS: usize = 256;

/// A package that is about to be compiled with others.
struct Member<'a> {
    number: usize,
    job: Job<'a>,
    ctx: ConfContext,
    plain: Plain,
    key: BuildKey,
}

/// What the common make made of one package.
struct Compiled {
    /// The modules in the order of the conf.
    modules: Vec<Vec<u8>>,
    /// What goes into its log.
    log: String,
}

/// Builds `requests` by one make, and passes the outcomes to `ended`. Returns those that have to be built by themselves.
pub(super) fn build(
    shared: &Shared<'_>,
    requests: Vec<Request>,
    ended: &dyn Fn(usize, &BuildRequest, BuildOutcome),
) -> Vec<Request> {
    let mut members = Vec::new();
    let mut alone: Vec<(usize, Alone)> = Vec::new();
    for request in &requests {
        let ctx = one::context(shared.tree, &request.request);
        if let Some(built) = one::current(shared.tree, shared.lock, &request.request, &ctx) {
            ended(request.number, &request.request, BuildOutcome::Current(built));
            continue;
        }
        match Member::of(shared, request, ctx) {
            Some(member) => members.push(member),
            None => alone.push((request.number, Alone::default())),
        }
    }
    // Another one may still find company.
    if let [member] = &members[..] {
        alone.push((member.number, Alone::default()));
        members.clear();
    }
    match compile(shared, &members) {
        Ok(compiled) => {
            for (mut member, compiled) in members.into_iter().zip(compiled) {
                let outcome = member.finish(compiled);
                ended(member.number, member.job.request, outcome);
            }
        }
        Err(why) => {
            let text = format!("{} packages are compiled one by one: {why}", members.len());
            shared.sink.emit(Event::Note(text));
            alone.extend(members.iter().map(|member| (member.number, Alone(Some(why.clone())))));
        }
    }
    let again = |mut request: Request| {
        let (_, because) = alone.iter().find(|(number, _)| *number == request.number)?;
        request.alone = Some(because.clone());
        Some(request)
    };
    requests.into_iter().filter_map(again).collect()
}

impl<'a> Member<'a> {
    /// None where the package is not plain any more, or its source cannot be read.
    fn of(shared: &'a Shared<'a>, request: &'a Request, ctx: ConfContext) -> Option<Member<'a>> {
        let (tree, request, number) = (shared.tree, &request.request, request.number);
        let key = BuildKey::now(tree, &request.package, &request.kernel, &ctx, &[]).ok()?;
        // After the key: a change in between makes the build stale.
        let plain = Plain::of(tree, request, &ctx).ok()?;
        let job = Job {
            key: Some(key.clone()),
            ..Job::new(shared, request)
        };
        Some(Member {
            number,
            job,
            ctx,
            plain,
            key,
        })
    }

    /// The names of the modules that the conf promises, without `.ko`.
    fn module_names(&self) -> Vec<String> {
        let specs = self
            .plain
            .conf
            .modules_for(&self.job.kernel.release, Some(self.job.request.kernel.config()));
        specs.iter().map(|spec| spec.built_name.clone()).collect()
    }

    /// Writes its C files and a Kbuild into `dir`.
    fn write_to(&self, dir: &Path) -> io::Result<()> {
        for (name, bytes) in &self.plain.source.files {
            fs::write(dir.join(name), bytes)?;
        }
        fs::write(dir.join("Kbuild"), self.plain.makefile.kbuild())
    }

    /// Goes on behind make, as if it had been compiled by itself.
    fn finish(&mut self, compiled: Compiled) -> BuildOutcome {
        match self.store(compiled) {
            Ok(built) => BuildOutcome::Built(built),
            Err(error) => BuildOutcome::Failed(self.job.remember(error)),
        }
    }

    fn store(&mut self, compiled: Compiled) -> Result<Built, BuildError> {
        let (tree, package) = (self.job.tree, &self.job.request.package);
        tree.require(package)?;
        let work = Workspace::new(tree, package, &self.job.kernel).map_err(io_error("create", &tree.work_dir()))?;
        let log_path = work.product.join("log/make.log");
        let result = self.take(&work, compiled, &log_path);
        if result.is_err() {
            self.job.log = Some(read_log(&log_path));
        }
        self.job.keep(&work, &self.plain.conf, self.key.clone(), result?)
    }

    /// Puts the compiled modules where they would be if it had been compiled by itself, and takes them from there.
    fn take(&self, work: &Workspace, compiled: Compiled, log_path: &Path) -> Result<Vec<RecordedModule>, BuildError> {
        let log = self.job.start_log(log_path).map_err(io_error("write", log_path))?;
        io::Write::write_all(&mut &log, compiled.log.as_bytes()).map_err(io_error("write", log_path))?;
        for (name, bytes) in self.module_names().iter().zip(compiled.modules) {
            let path = work.build.join(format!("{name}.ko"));
            fs::write(&path, bytes).map_err(io_error("write", &path))?;
        }
        let place = Place::of(self.job.tree, &self.job.request.kernel, work);
        let sandbox = BuildSandbox::of(&self.job, place, &self.plain.conf, work);
        self.job.take_modules(work, &self.plain.conf, &sandbox)
    }
}

/// The directory of one make; removed with the value.
struct Directory {
    dir: PathBuf,
    /// The module directory that kbuild is called with.
    top: PathBuf,
    /// The directories of the packages in it. Their names cannot be guessed: a source cannot name a neighbour's file.
    packages: Vec<String>,
}

impl Directory {
    fn new(tree: &Tree, members: &[Member<'_>]) -> io::Result<Directory> {
        let work = tree.work_dir();
        fs::create_dir_all(&work)?;
        let open = || fs::Permissions::from_mode(0o755);
        let dir = tempfile::Builder::new()
            .prefix("together-")
            .permissions(open())
            .tempdir_in(&work)?
            .keep();
        let mut made = Directory {
            top: dir.join("build"),
            dir,
            packages: Vec::new(),
        };
        fs::create_dir(&made.top)?;
        let mut kbuild = "obj-m :=".to_owned();
        for member in members {
            // Of one length, so that none is the beginning of another one.
            let dir = tempfile::Builder::new()
                .prefix("p")
                .rand_bytes(16)
                .permissions(open())
                .tempdir_in(&made.top)?
                .keep();
            member.write_to(&dir)?;
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            kbuild += &format!(" {name}/");
            made.packages.push(name);
        }
        fs::write(made.top.join("Kbuild"), kbuild + "\n")?;
        Ok(made)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = take::remove_tree(&self.dir);
    }
}

/// Compiles all `members` by one make. The error says why they have to be compiled one by one.
fn compile(shared: &Shared<'_>, members: &[Member<'_>]) -> Result<Vec<Compiled>, String> {
    let Some(first) = members.first() else {
        return Ok(Vec::new());
    };
    let text = |error: io::Error| error.to_string();
    let work = Directory::new(shared.tree, members).map_err(text)?;
    let place = Place::of_compiler();
    if let Some(user) = place.user() {
        chown_tree(&work.top, user).map_err(text)?;
    }
    let target = &first.job.request.kernel;
    let line = make_line(first, &work.top);
    for member in members {
        member.job.step(Step::Prepare, "");
        member.job.step(Step::Make, &line);
    }
    let modules: Vec<PathBuf> = members
        .iter()
        .zip(&work.packages)
        .flat_map(|(member, dir)| {
            let names = member.module_names().into_iter();
            names.map(move |name| Path::new(dir).join(format!("{name}.ko")))
        })
        .collect();
    let maps: Vec<String> = members
        .iter()
        .zip(&work.packages)
        .map(|(member, dir)| member.job.prefix_map(&work.top.join(dir)))
        .collect();
    let log_path = work.dir.join("make.log");
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(text)?;
    let command = make_and_strip(&line, work.top.clone(), &modules, target);
    let ended = confine_together(&first.job, &place, &work.top, &maps.join(" "), command)
        .run_logged(&log)
        .map_err(text)?;
    if ended.timed_out || ended.exceeded.is_some() {
        return Err("one make over all of them exceeded a limit".to_owned());
    }
    if !ended.status.success() {
        return Err("one make over all of them failed".to_owned());
    }
    let top = take::open_dir(&work.top).map_err(text)?;
    require_no_exports(&top)?;
    let logs = log::divide(&read_log(&log_path), &work.top, &work.packages);
    members
        .iter()
        .zip(&work.packages)
        .zip(logs)
        .map(|((member, dir), log)| {
            Ok(Compiled {
                modules: take_modules(member, &top, dir)?,
                log: format!("\nBuilding module(s)\n# command: {line}\n{log}"),
            })
        })
        .collect()
}

/// The command that compiles all packages below `top`. The output of each compiler is kept together.
fn make_line(first: &Member<'_>, top: &Path) -> String {
    let release = &first.job.kernel.release;
    let is_clang = first.job.request.kernel.config().is_enabled("CONFIG_CC_IS_CLANG");
    format!(
        "make KERNELRELEASE={release}{} --output-sync=target -C {} M={}",
        if is_clang { " LLVM=1" } else { "" },
        first.ctx.kernel_source_dir.display(),
        top.display()
    )
}

/// One modpost sees what all packages export: another one could have used that without needing the package.
fn require_no_exports(top: &impl std::os::fd::AsFd) -> Result<(), String> {
    for path in take::find(top, "Module.symvers", MAX_SYMVERS) {
        let len = take::open(top, &path)
            .and_then(|file| file.metadata())
            .map(|meta| meta.len());
        if len.ok() != Some(0) {
            return Err("they export symbols".to_owned());
        }
    }
    Ok(())
}

/// The modules that the conf of `member` promises, from its directory `dir` below `top`.
fn take_modules(member: &Member<'_>, top: &impl std::os::fd::AsFd, dir: &str) -> Result<Vec<Vec<u8>>, String> {
    let take = |name: String| {
        let path = Path::new(dir).join(format!("{name}.ko"));
        let bytes = take::read(top, &path, MAX_MODULE_LEN)
            .map_err(|error| format!("{name}.ko of {} cannot be taken: {error}", member.job.request.package))?;
        match ModuleInfo::parse(&bytes) {
            Ok(info) if info.name.replace('-', "_") == name.replace('-', "_") => Ok(bytes),
            _ => Err(format!(
                "{name}.ko of {} is not that module",
                member.job.request.package
            )),
        }
    };
    member.module_names().into_iter().map(take).collect()
}
