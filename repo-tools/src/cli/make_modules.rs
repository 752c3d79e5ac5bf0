//! `dkms-repo mkkmp` and `mkdriverdisk`: packages of modules that are built already, for the kernels that are named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dkms_engine::kbuild::BuildOptions;
use serde_json::json;
use tempfile::TempDir;

use super::kernels::{self, KernelArgs};
use super::make::{self, What, Written, find, is_path, tree_of, unpacked};
use super::progress::Progress;
use super::{Context, Failure, print};
use crate::export::{self, Compiled, DriverDisk, Kernels, Made, ModuleDir, Settings, Source};
use crate::files::FileError;
use crate::ingest::SourceTree;
use crate::stage::{Stage, StagedPackage};

/// Makes kernel module packages of SUSE (KMP) of package versions: NAME-kmp-FLAVOR, with the modules built for each kernel.
///
/// They are built as `scan` does, for kernels whose releases have SUSE's form, such as 6.4.0-150600.21-default. The devices are in
/// Supplements, as modalias(kernel-FLAVOR:PATTERN), so that zypper chooses the package for a machine that has one. The symbols that the
/// modules need of the kernel are Requires, as ksym(FLAVOR:SYMBOL), so that it is used for each kernel that has them.
///
/// Neither modules nor packages are signed. Nothing of it is published.
#[derive(Debug, clap::Args)]
pub(super) struct KmpArgs {
    #[command(flatten)]
    build: Build,
    /// Where the packages go.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Where modules are on the machines: /lib/modules before SLE 16 and Leap 16, /usr/lib/modules from then on and on Tumbleweed.
    #[arg(long, value_name = "DIR", value_enum, default_value_t)]
    module_dir: ModuleDir,
}

/// Makes a driver disk for the installer of Fedora, RHEL and their relatives, of package versions: packages kmod-NAME with the modules built
/// for each kernel.
///
/// The installer takes it from a file system with the label OEMDRV by itself, or from the address that inst.dd or Kickstart's driverdisk
/// names. It loads the modules whose kernel it has, and installs their packages on the machine. The kernel is that of the installer: name it by
/// --kernel, with its headers (kernel-devel) below --root.
///
/// Neither modules nor packages are signed. Nothing of it is published. It takes createrepo_c, and for an image xorriso, genisoimage or mkisofs.
#[derive(Debug, clap::Args)]
pub(super) struct DriverDiskArgs {
    #[command(flatten)]
    build: Build,
    /// The disk: a new directory, to be copied to a file system with the label OEMDRV, or FILE.iso, an image that has it.
    #[arg(long, value_name = "DIR|FILE.iso")]
    out: PathBuf,
    /// What the installer says of the disk; default: the packages with their versions.
    #[arg(long, value_name = "TEXT", value_parser = one_line)]
    description: Option<String>,
    /// Offer the modules to later kernels, too: those of RHEL's minor release, whose symbols stay the same.
    #[arg(long)]
    later_kernels: bool,
}

#[derive(Debug, clap::Args)]
struct Build {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    kernels: KernelArgs,
    /// Number of parallel jobs; default: number of processors.
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
}

fn one_line(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.contains(char::is_control) {
        return Err("a description is one line of text".to_owned());
    }
    Ok(text.to_owned())
}

/// Makes KMPs.
pub(super) fn run_kmp(args: &KmpArgs, context: &Context) -> Result<(), Failure> {
    let settings = args.build.what.settings(context)?;
    let made = args.build.make(context, |source, compiled| {
        export::kmp(source, compiled, args.module_dir, &settings)
    })?;
    make::write(made.into_iter().map(|one| one.written), &args.out, context)
}

/// Makes a driver disk.
pub(super) fn run_driver_disk(args: &DriverDiskArgs, context: &Context) -> Result<(), Failure> {
    let settings: Settings = args.build.what.settings(context)?;
    // Before minutes of builds.
    DriverDisk::check(&args.out)?;
    let kernels = if args.later_kernels {
        Kernels::AndLater
    } else {
        Kernels::One
    };
    let made = args.build.make(context, |source, compiled| {
        export::kmod(source, compiled, kernels, &settings)
    })?;
    let description = args.description.clone().unwrap_or_else(|| {
        let names: BTreeSet<String> = made
            .iter()
            .map(|one| format!("{} {}", one.written.name, one.written.version))
            .collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    });
    let rows: Vec<serde_json::Value> = made
        .iter()
        .map(|one| {
            one.written
                .row(Path::new(&DriverDisk::place(&one.arch, &one.written.made)))
        })
        .collect();
    made.iter().for_each(|one| one.written.tell());
    let packages: Vec<(String, Made)> = made.into_iter().map(|one| (one.arch, one.written.made)).collect();
    let disk = DriverDisk {
        description: &description,
        packages: &packages,
    };
    disk.write(&args.out, &settings)?;
    if context.json {
        print::json(&json!({ "out": args.out, "description": description, "packages": rows }));
    } else {
        print::line(&args.out.display().to_string());
    }
    Ok(())
}

/// A package that was made of a build.
struct One {
    arch: String,
    written: Written,
}

impl Build {
    /// Builds all packages for all kernels, then packs each: one that cannot be built leaves nothing behind.
    fn make(
        &self,
        context: &Context,
        pack: impl Fn(&Source<'_>, &Compiled) -> Result<Made, export::ExportError>,
    ) -> Result<Vec<One>, Failure> {
        self.what.require_sandbox(context)?;
        let parts = [Part::outside(&self.what, context)?, Part::own(&self.what, context)?];
        let (root, _in_use) = self
            .kernels
            .build_root(&context.repo_dir().join(kernels::DIR), context.now)?;
        let mut options = BuildOptions::new(context.now);
        options.sign = false;
        options.jobs = self.jobs.unwrap_or(options.jobs);
        let total = parts.iter().map(|part| part.sources.len()).sum::<usize>() * root.kernels().len();
        let progress = Progress::new(total, if total == 1 { "build" } else { "builds" });
        let mut compiled = Vec::new();
        for part in parts.iter().filter(|part| !part.sources.is_empty()) {
            let wanted: Vec<usize> = part.sources.keys().copied().collect();
            let staged = (&part.stage, part.staged.as_slice());
            let of_part = export::compile(&root, staged, &wanted, &options, &|event| progress.take(event))?;
            compiled.extend(
                of_part
                    .into_iter()
                    .map(|((package, _), compiled)| (part, package, compiled)),
            );
        }
        progress.finish();

        let none = BTreeSet::new();
        let mut made = Vec::new();
        for (part, package, compiled) in compiled {
            let manifest = &part.staged[package].manifest;
            let source = Source {
                manifest,
                tree: &part.sources[&package],
                known: &none,
            };
            let written = Written {
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                kernel: Some(compiled.kernel.release.clone()),
                made: pack(&source, &compiled)?,
            };
            made.push(One {
                arch: compiled.kernel.arch,
                written,
            });
        }
        Ok(made)
    }
}

/// Packages of one staging area.
struct Part {
    stage: Stage,
    staged: Vec<StagedPackage>,
    /// The verified sources of those that are asked for, by index.
    sources: BTreeMap<usize, SourceTree>,
    /// The directory of a staging area that is not a repository's.
    _dir: Option<TempDir>,
}

impl Part {
    /// Those of the repository.
    fn own(what: &What, context: &Context) -> Result<Self, Failure> {
        let staged = what.staged(context)?;
        let mut sources = BTreeMap::new();
        for package in what.packages.iter().filter(|package| !is_path(package)) {
            let index = find(package, &staged)?;
            sources.insert(index, tree_of(&staged[index].manifest, context)?);
        }
        let stage = match sources.is_empty() {
            true => Stage::at(context.repo_dir()),
            false => Stage::of(&context.repository()?),
        };
        Ok(Self {
            stage,
            staged,
            sources,
            _dir: None,
        })
    }

    /// Those that are named by a path, in a staging area of their own.
    fn outside(what: &What, context: &Context) -> Result<Self, Failure> {
        let temporary = std::env::temp_dir();
        let dir = TempDir::new().map_err(FileError::on("create a directory in", &temporary))?;
        let stage = Stage::at(dir.path());
        let mut staged: Vec<StagedPackage> = Vec::new();
        let mut sources = BTreeMap::new();
        for package in what.packages.iter().filter(|package| is_path(package)) {
            let path = Path::new(package);
            let prepared = what.prepare(path, context)?;
            let format = prepared.package.manifest.bundle.format;
            stage.put_bundle(prepared.bundle.bytes.as_slice(), format)?;
            sources.insert(staged.len(), unpacked(&prepared.bundle.bytes, path)?);
            staged.push(prepared.package);
        }
        Ok(Self {
            stage,
            staged,
            sources,
            _dir: Some(dir),
        })
    }
}
