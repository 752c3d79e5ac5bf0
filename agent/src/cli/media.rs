//! `media make`: what machines without a network need, on a medium.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dkms_engine::root::Root;
use dkms_index::trust::TrustedMetadata;
use dkms_index::version;
use serde::Serialize;
use url::Url;

use super::args::MediaCommand;
use super::block_on;
use super::context::Context;
use super::failure::Failure;
use super::named_file;
use super::sync;
use crate::candidate::{self, Facts, Offer, OfferId, PackageKey, Rejection, Rules};
use crate::config::Repository;
use crate::device::{self, Device};
use crate::exit::Exit;
use crate::fetch::Store;
use crate::medium::{self, MediumError, Recorder};
use crate::report::progress::{ProgressEvent, print_json, print_text};
use crate::report::{Document, count};
use crate::state::Paths;
use crate::state::index::Index;
use crate::survey::{Machine, Offers, Survey};
use crate::sync::{Network, Session, SyncError};
use crate::toolchain::{self, ToolchainError};
use crate::transport::Transport;

/// A source on the medium.
#[derive(Serialize)]
struct Carried {
    #[serde(flatten)]
    package: OfferId,
    sha256: String,
    length: u64,
}

/// A repository on the medium.
#[derive(Serialize)]
struct Part {
    name: String,
    /// Its directory below the medium.
    directory: String,
    /// When its signatures expire: after that a machine takes nothing from it, unless its owner allows that.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    packages: Vec<Carried>,
}

/// The final document of `media make`.
#[derive(Serialize)]
struct Made {
    out: String,
    label: &'static str,
    devices: usize,
    kernels: Vec<String>,
    repositories: Vec<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    toolchain: Option<ToolchainPart>,
}

/// What builds need, on the medium.
#[derive(Serialize)]
struct ToolchainPart {
    /// `NAME VERSION` of each.
    packages: Vec<String>,
    /// Their length in bytes.
    length: u64,
}

pub(super) fn run(context: &Context, command: &MediaCommand) -> Result<Exit, Failure> {
    let MediaCommand::Make {
        this_machine,
        out,
        repo,
        toolchain,
    } = command;
    let (named, kernels) = (&context.options.devices, &context.options.kernel);
    if named.is_none() && !this_machine {
        return Err(MediumError::NoDevices.into());
    }
    if named.is_some() && *this_machine {
        return Err(MediumError::TwoMachines.into());
    }
    if named.is_some() && kernels.is_empty() {
        return Err(MediumError::NoKernel.into());
    }
    context.require_repository()?;
    let repositories = chosen(context, repo)?;
    named_file::require_directory(out)?;
    let is_image = out.extension().is_some_and(|extension| extension == "iso");
    if is_image {
        medium::require_image_tool()?;
    }
    let (devices, _) = context.devices()?;
    // The kernels of another machine need not be here.
    let kernels = if kernels.is_empty() {
        context.kernels()?
    } else {
        kernels.clone()
    };
    let dir = if is_image { unfinished(out) } else { out.clone() };
    let transport = sync::transport(context);
    let order = Order {
        context,
        transport: &transport,
        devices: &devices,
        kernels: &kernels,
        dir: &dir,
    };
    let parts = block_on(async {
        let mut parts = Vec::new();
        for repository in repositories {
            parts.push(order.carry(repository).await?);
        }
        Ok(parts)
    })?;
    let toolchain = toolchain
        .then(|| carry_toolchain(context, &kernels, &dir))
        .transpose()?;
    if is_image && !context.options.check {
        medium::make_image(&dir, out)?;
        // The image is there; a directory that stays needs only space.
        let _ = std::fs::remove_dir_all(&dir);
    }
    let made = Made {
        out: out.display().to_string(),
        label: medium::LABEL,
        devices: devices.len(),
        kernels,
        repositories: parts,
        toolchain,
    };
    Ok(finish(context, made))
}

/// Puts what builds need on the medium.
fn carry_toolchain(context: &Context, kernels: &[String], dir: &Path) -> Result<ToolchainPart, Failure> {
    let names = toolchain::for_kernels(context.root(), kernels);
    if names.is_empty() {
        return Err(ToolchainError::NoApt.into());
    }
    let scratch = tempfile::tempdir().map_err(Failure::Scratch)?;
    let to = if context.options.check { scratch.path() } else { dir };
    context.reporter.report(ProgressEvent::ToolchainFetching {
        packages: names.clone(),
    });
    let installation = toolchain::medium::carry(context.root(), context.options.offline, &names, to)?;
    Ok(ToolchainPart {
        packages: installation.packages.iter().map(ToString::to_string).collect(),
        length: installation.download_bytes,
    })
}

/// Where an image is prepared: a run that was interrupted goes on there.
fn unfinished(image: &Path) -> PathBuf {
    let mut name = OsString::from(image);
    name.push(".unfinished");
    name.into()
}

/// The repositories of these names; all where none is named.
fn chosen<'a>(context: &'a Context, names: &[String]) -> Result<Vec<&'a Repository>, Failure> {
    let all = &context.config.repositories;
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let find = |name: &String| {
        let found = all.iter().find(|one| one.name.as_str() == name);
        found.ok_or_else(|| Failure::UnknownRepository {
            name: name.clone(),
            known: all.iter().map(|one| one.name.to_string()).collect(),
        })
    };
    names.iter().map(find).collect()
}

/// What is to be carried.
struct Order<'a> {
    context: &'a Context,
    transport: &'a Transport,
    devices: &'a [Device],
    kernels: &'a [String],
    dir: &'a Path,
}

impl Order<'_> {
    /// Puts what is wanted of a repository on the medium, and reads it back.
    async fn carry(&self, repository: &Repository) -> Result<Part, Failure> {
        let context = self.context;
        context.reporter.report(ProgressEvent::Syncing {
            repository: repository.name.to_string(),
        });
        let scratch = tempfile::tempdir().map_err(Failure::Scratch)?;
        let paths = Paths::of(&Root::at(scratch.path()));
        let dir = self.dir.join(repository.name.as_str());
        let recorder = match context.options.check {
            true => None,
            false => Some(Recorder::open(&dir)?),
        };
        let session = Session::new(repository, &paths, self.transport, context.network()).recording(recorder.as_ref());
        session.record_roots().await?;
        let mut metadata = self.sync(&session).await?;
        let index = Index::open(&paths, [&repository.name]);
        let offers = self.choose(repository, &index)?;
        let mut packages = Vec::new();
        for offer in &offers {
            let manifest = session.manifest(&mut metadata, &offer.record.manifest).await?;
            let length = manifest.manifest().bundle.length;
            let package = &offer.id;
            if let Some(recorder) = &recorder {
                context.reporter.report(ProgressEvent::Fetching {
                    package: package.clone(),
                    length,
                });
                let mut progress = |received: u64| context.reporter.received(package, received, length);
                let store = Store::at(recorder.bundles());
                let bundle = store.bundle(&manifest, &session, &mut progress).await?;
                recorder.note(bundle.path());
                context.reporter.report(ProgressEvent::Fetched {
                    package: package.clone(),
                });
            }
            packages.push(Carried {
                package: package.clone(),
                sha256: manifest.manifest().bundle.sha256.clone(),
                length,
            });
        }
        if let Some(recorder) = recorder {
            recorder.finish()?;
            self.read_back(repository, &dir, &offers).await?;
        }
        let summaries = index.summaries()?;
        Ok(Part {
            name: repository.name.to_string(),
            directory: repository.name.to_string(),
            expires: summaries.first().and_then(|one| one.expires).map(|at| at.to_string()),
            packages,
        })
    }

    async fn sync(&self, session: &Session<'_>) -> Result<TrustedMetadata, SyncError> {
        let expiry = self.context.config.policy.expiry();
        let refreshed = session.refresh(self.context.now, expiry).await?;
        session.update_index(&refreshed.metadata).await?;
        Ok(refreshed.metadata)
    }

    /// Takes everything from the medium once, as a machine without a network will.
    async fn read_back(&self, repository: &Repository, dir: &Path, offers: &[Arc<Offer>]) -> Result<(), Failure> {
        let unusable = |why: String| MediumError::Unusable {
            path: dir.to_owned(),
            why,
        };
        let absolute = dir.canonicalize().map_err(|error| unusable(error.to_string()))?;
        let url = Url::from_directory_path(absolute).map_err(|()| unusable("it has no address".to_owned()))?;
        let from_medium = Repository {
            urls: vec![url],
            ..repository.clone()
        };
        let scratch = tempfile::tempdir().map_err(Failure::Scratch)?;
        let paths = Paths::of(&Root::at(scratch.path()));
        let session = Session::new(&from_medium, &paths, self.transport, Network::Offline);
        let read = async {
            let mut metadata = self.sync(&session).await?;
            for offer in offers {
                let manifest = session.manifest(&mut metadata, &offer.record.manifest).await?;
                // Its hash is taken where it lies.
                let store = Store::at(dir.join("bundles/sha256"));
                store.bundle(&manifest, &session, &mut |_| {}).await?;
            }
            Ok::<(), crate::fetch::FetchError>(())
        };
        read.await.map_err(|error| unusable(dkms_support::chain(&error)).into())
    }

    /// The packages that may be installed on the machine, and those that they are built with.
    fn choose(&self, repository: &Repository, index: &Index) -> Result<Vec<Arc<Offer>>, Failure> {
        let context = self.context;
        let repositories = std::slice::from_ref(repository);
        let mut machine = Machine::look_up(&context.host, self.devices, false, repositories, index)?;
        if context.options.devices.is_some() {
            // What this machine is says nothing about the other one.
            machine.dmi = device::dmi(self.devices).cloned();
        }
        // What the owner of the other machine denies, holds and allows is known there alone.
        let rules = Rules {
            revocations: index
                .revocations()?
                .into_iter()
                .map(|(name, list)| (name.to_string(), list))
                .collect(),
            ..Rules::default()
        };
        let tree = context.tree()?;
        let mut found: BTreeMap<OfferId, Arc<Offer>> = BTreeMap::new();
        for release in self.kernels {
            let survey = machine.survey(release, &tree, &[])?;
            found.extend(wanted(&machine, &survey, &rules));
        }
        let start: Vec<Arc<Offer>> = found.values().cloned().collect();
        let needed = Offers::new(index, repositories).dependencies_of(&start)?;
        for offer in needed.into_values().flatten() {
            found.entry(offer.id.clone()).or_insert(offer);
        }
        Ok(found.into_values().collect())
    }
}

/// What may be installed for one kernel: of each package the newest version that may be, and newer ones of which only the other
/// machine knows whether it may have them.
fn wanted(machine: &Machine<'_>, survey: &Survey, rules: &Rules) -> BTreeMap<OfferId, Arc<Offer>> {
    let facts = machine.facts(survey, rules);
    let mut by_package: BTreeMap<PackageKey, Vec<Arc<Offer>>> = BTreeMap::new();
    for (matches, claims) in machine.matches.iter().zip(&survey.claims) {
        if survey.has_modules && !claims.own.is_empty() {
            // The kernel has a driver of its own.
            continue;
        }
        for (offer, _) in matches {
            let versions = by_package.entry(offer.id.key()).or_default();
            if !versions.contains(offer) {
                versions.push(Arc::clone(offer));
            }
        }
    }
    let mut found = BTreeMap::new();
    for mut versions in by_package.into_values() {
        versions.sort_by(|a, b| version::compare(&b.id.version, &a.id.version));
        for offer in versions {
            let is_certain = match admission(&offer, facts) {
                Some(is_certain) => is_certain,
                None => continue,
            };
            found.insert(offer.id.clone(), offer);
            if is_certain {
                break;
            }
        }
    }
    found
}

/// Whether a package may be installed for certain, or perhaps; `None` where it may not.
fn admission(offer: &Offer, facts: Facts<'_>) -> Option<bool> {
    match candidate::admit(offer, facts) {
        Ok(_) => Some(true),
        Err(Rejection::RootScripts { .. } | Rejection::NotYetRolledOut | Rejection::ReplacesKernelModule { .. }) => {
            Some(false)
        }
        Err(_) => None,
    }
}

fn finish(context: &Context, made: Made) -> Exit {
    let exit = Exit::Converged;
    if context.options.json {
        print_json(&Document::new("media", exit, made));
        return exit;
    }
    for part in &made.repositories {
        let bytes: u64 = part.packages.iter().map(|one| one.length).sum();
        let until = part
            .expires
            .as_ref()
            .map(|at| format!(", valid until {at}"))
            .unwrap_or_default();
        print_text(format_args!(
            "repository {}: {} of {bytes} bytes{until}",
            part.name,
            count(part.packages.len(), "source"),
        ));
        for one in &part.packages {
            print_text(format_args!("  {}", one.package));
        }
    }
    if let Some(part) = &made.toolchain {
        print_text(format_args!(
            "toolchain: {} of {} bytes",
            count(part.packages.len(), "package"),
            part.length
        ));
    }
    let verb = if context.options.check { "would write" } else { "wrote" };
    print_text(format_args!(
        "{verb} {}; on the machine: dkms-fetch --auto --medium DIRECTORY",
        made.out
    ));
    exit
}
