//! `dkms-repo mkdeb` and `mkrpm`: a package version as a package of a distribution.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dkms_engine::sandbox::Policy;
use dkms_index::document::manifest::Manifest;
use dkms_index::version;
use sha2::{Digest, Sha256};

use super::{Context, Failure, print};
use crate::export::{self, DEFAULT_TIME_S, ExportError, Made, Settings, Source};
use crate::files;
use crate::ingest::{Limits, SourceTree, bundle};
use crate::intake::{Intake, Prepared};
use crate::package::Vendors;
use crate::stage::{Stage, StagedPackage};

/// Makes Debian packages (.deb) of package versions: the source for DKMS, with the devices in the field Modaliases.
///
/// Each gets the name of its package with -dkms behind it. The same source gives the same bytes; SOURCE_DATE_EPOCH sets the time in
/// them.
#[derive(Debug, clap::Args)]
pub(super) struct DebArgs {
    #[command(flatten)]
    args: Args,
}

/// Makes rpm packages of package versions: the source for DKMS, with the devices as modalias(PATTERN) in Provides and Supplements.
///
/// Each gets the name of its package with -dkms behind it. The same source gives the same bytes; SOURCE_DATE_EPOCH sets the time in
/// them. They are not signed: rpmsign does that.
#[derive(Debug, clap::Args)]
pub(super) struct RpmArgs {
    #[command(flatten)]
    args: Args,
}

#[derive(Debug, clap::Args)]
struct Args {
    #[command(flatten)]
    what: What,
    /// Where the packages go.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// What packages are made of, and how they are marked.
#[derive(Debug, clap::Args)]
pub(super) struct What {
    /// What to make a package of: NAME@VERSION, or NAME for its newest version, of those in the repository; or whatever `add` takes,
    /// as a path with a slash, such as ./edu.
    #[arg(required = true, value_name = "PACKAGE")]
    pub(super) packages: Vec<String>,
    /// The revision of the packaging: higher for the same source with other packaging.
    #[arg(long, default_value = "1", value_parser = revision)]
    revision: String,
    /// Who is responsible for the packages, as NAME <ADDRESS>.
    #[arg(long, value_name = "MAINTAINER", env = "MAINTAINER")]
    maintainer: Option<String>,
    /// What to do where a path cannot be confined; overrides the setting in repo.toml.
    #[arg(long, value_name = "POLICY")]
    sandbox: Option<Policy>,
}

pub(super) fn revision(text: &str) -> Result<String, String> {
    if export::is_revision(text) {
        return Ok(text.to_owned());
    }
    Err("a revision has letters, digits and `+.~` only, such as 1 or 2~mine".to_owned())
}

type Maker = fn(&Source<'_>, &Settings) -> Result<Made, ExportError>;

/// Makes .debs.
pub(super) fn run_deb(args: &DebArgs, context: &Context) -> Result<(), Failure> {
    run(&args.args, export::deb, context)
}

/// Makes .rpms.
pub(super) fn run_rpm(args: &RpmArgs, context: &Context) -> Result<(), Failure> {
    run(&args.args, export::rpm, context)
}

fn run(args: &Args, make: Maker, context: &Context) -> Result<(), Failure> {
    let settings = args.what.settings(context)?;
    let staged = args.what.staged(context)?;
    let known: BTreeSet<String> = staged.iter().map(|package| package.manifest.name.clone()).collect();
    // All of them before the first is written: one that cannot be made leaves nothing behind.
    let mut all = Vec::new();
    for package in &args.what.packages {
        let (manifest, tree) = if is_path(package) {
            let path = Path::new(package);
            let prepared = args.what.prepare(path, context)?;
            (prepared.package.manifest, unpacked(&prepared.bundle.bytes, path)?)
        } else {
            let manifest = &staged[find(package, &staged)?].manifest;
            (manifest.clone(), tree_of(manifest, context)?)
        };
        let source = Source {
            manifest: &manifest,
            tree: &tree,
            known: &known,
        };
        let made = make(&source, &settings)?;
        all.push(Written {
            name: manifest.name,
            version: manifest.version,
            kernel: None,
            made,
        });
    }
    write(all, &args.out, context)
}

/// A package that was made, and what of.
pub(super) struct Written {
    /// The package in the repository, or the repository.
    pub(super) name: String,
    /// Its version there.
    pub(super) version: String,
    /// The kernel that its modules are built for, if it has such.
    pub(super) kernel: Option<String>,
    /// The package.
    pub(super) made: Made,
}

impl Written {
    /// Tells people what they should know of it.
    pub(super) fn tell(&self) {
        for note in &self.made.notes {
            print::note(&format!("{}: {note}", self.made.package));
        }
    }

    /// As JSON has it, where it is in `file`.
    pub(super) fn row(&self, file: &Path) -> serde_json::Value {
        let made = &self.made;
        let mut row = serde_json::json!({
            "name": self.name,
            "version": self.version,
            "package": made.package,
            "package_version": made.version,
            "file": file,
            "sha256": hex::encode(Sha256::digest(&made.bytes)),
            "length": made.bytes.len(),
            "notes": made.notes,
        });
        if let Some(kernel) = &self.kernel {
            row["kernel"] = serde_json::json!(kernel);
        }
        row
    }
}

/// Writes packages into a directory, and tells them.
pub(super) fn write(all: impl IntoIterator<Item = Written>, out: &Path, context: &Context) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for written in all {
        let file = out.join(&written.made.file_name);
        files::write_atomic(&file, &written.made.bytes)?;
        written.tell();
        if !context.json {
            print::line(&file.display().to_string());
        }
        rows.push(written.row(&file));
    }
    if context.json {
        print::json(&serde_json::Value::Array(rows));
    }
    Ok(())
}

/// Whether a package is named by a path, and not as one of the repository.
pub(super) fn is_path(package: &str) -> bool {
    package.contains('/') || matches!(package, "." | "..")
}

impl What {
    /// How the packages are marked.
    pub(super) fn settings(&self, context: &Context) -> Result<Settings, Failure> {
        Ok(Settings {
            revision: self.revision.clone(),
            maintainer: maintainer(self.maintainer.as_ref(), context)?,
            time_s: time_s()?,
        })
    }

    /// The packages of the repository, if any is asked for.
    pub(super) fn staged(&self, context: &Context) -> Result<Vec<StagedPackage>, Failure> {
        if self.packages.iter().all(|package| is_path(package)) {
            return Ok(Vec::new());
        }
        Ok(Stage::of(&context.repository()?).list()?)
    }

    /// Checks that packages can be confined here.
    pub(super) fn require_sandbox(&self, context: &Context) -> Result<(), Failure> {
        let policy = match context.repository() {
            Ok(repository) => self.sandbox.unwrap_or(repository.config().sandbox),
            // There is no need for a repository here.
            Err(_) => self.sandbox.unwrap_or_default(),
        };
        super::require_sandbox(policy)
    }

    /// A package that is not in the repository, read as `add` reads it.
    pub(super) fn prepare(&self, path: &Path, context: &Context) -> Result<Prepared, Failure> {
        self.require_sandbox(context)?;
        let prepared = Intake::on_this_machine(Vendors::default()).prepare(path)?;
        for note in &prepared.notes {
            print::note(note);
        }
        Ok(prepared)
    }
}

/// The index of the package `NAME@VERSION`, or of the newest version of `NAME`.
pub(super) fn find(package: &str, staged: &[StagedPackage]) -> Result<usize, Failure> {
    let (name, wanted) = match package.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (package, None),
    };
    let fits = |manifest: &Manifest| manifest.name == name && wanted.is_none_or(|version| manifest.version == version);
    (0..staged.len())
        .filter(|index| fits(&staged[*index].manifest))
        .max_by(|a, b| version::compare(&staged[*a].manifest.version, &staged[*b].manifest.version))
        .ok_or_else(|| {
            Failure::new(format!("{package} is not in the repository"))
                .with_hint("dkms-repo list; a path has a slash in it, such as ./DIRECTORY")
        })
}

/// The source of a package in the repository.
pub(super) fn tree_of(manifest: &Manifest, context: &Context) -> Result<SourceTree, Failure> {
    let file = Stage::of(&context.repository()?).bundle_path(&manifest.bundle);
    let bytes = fs::read(&file).map_err(files::FileError::on("read", &file))?;
    if hex::encode(Sha256::digest(&bytes)) != manifest.bundle.sha256 {
        return Err(Failure::new(format!(
            "{} is not what its name says: its SHA-256 is another one",
            file.display()
        ))
        .with_hint("the file is damaged: add the package again with --force")
        .refused());
    }
    unpacked(&bytes, &file)
}

/// The source in a bundle.
pub(super) fn unpacked(bytes: &[u8], from: &Path) -> Result<SourceTree, Failure> {
    bundle::unpack(bytes, Limits::default())
        .map_err(|problem| Failure::new(format!("{} cannot be unpacked: {problem}", from.display())))
}

/// Who is named as the maintainer where nobody is given: the repository, at this machine.
pub(super) fn maintainer(given: Option<&String>, context: &Context) -> Result<String, Failure> {
    let given = given.cloned().unwrap_or_else(|| {
        let name = context
            .repository()
            .map_or_else(|_| "dkms-repo".to_owned(), |r| r.config().name.clone());
        format!("{name} <dkms-repo@localhost>")
    });
    let has_address = given.contains(" <") && given.ends_with('>') && !given.contains(char::is_control);
    if has_address {
        return Ok(given);
    }
    Err(Failure::new(format!("the maintainer {given:?} has no address")).with_hint("--maintainer 'NAME <ADDRESS>'"))
}

/// The time in the packages.
pub(super) fn time_s() -> Result<u32, Failure> {
    let Some(given) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        return Ok(DEFAULT_TIME_S);
    };
    given.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        Failure::new(format!("SOURCE_DATE_EPOCH is {given:?}, which is no number of seconds"))
            .with_hint("unset it, or set it to the output of `git log -1 --format=%ct`")
    })
}
