//! `media make`: what machines without a network need, on a medium.

mod choose;
mod made;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dkms_engine::root::Root;
use dkms_index::trust::TrustedMetadata;
use url::Url;

use super::args::MediaCommand;
use super::block_on;
use super::context::Context;
use super::failure::Failure;
use super::named_file;
use super::sync;
use crate::candidate::Offer;
use crate::config::Repository;
use crate::device::Device;
use crate::exit::Exit;
use crate::fetch::Store;
use crate::medium::{self, MediumError, Recorder};
use crate::report::progress::ProgressEvent;
use crate::state::Paths;
use crate::state::index::Index;
use crate::sync::{Network, Session, SyncError};
use crate::toolchain::{self, ToolchainError};
use crate::transport::Transport;
use choose::Gaps;
use made::{Carried, Made, Part, ToolchainPart};

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
    let (parts, gaps) = block_on(async {
        let mut parts = Vec::new();
        let mut gaps = Gaps::default();
        for repository in repositories {
            parts.push(order.carry(repository, &mut gaps).await?);
        }
        Ok((parts, gaps))
    })?;
    let toolchain = toolchain
        .then(|| carry_toolchain(context, &kernels, &dir))
        .transpose()?;
    if is_image && !context.options.check {
        medium::make_image(&dir, out)?;
        // The image is there; a directory that stays needs only space.
        let _ = std::fs::remove_dir_all(&dir);
    }
    let not_served = gaps.not_served(&context.host.arch, &devices);
    let warnings = made::warnings(context, &parts, &not_served);
    let made = Made {
        out: out.display().to_string(),
        label: medium::LABEL,
        devices: devices.len(),
        kernels,
        repositories: parts,
        toolchain,
        not_served,
        warnings,
    };
    Ok(made::finish(context, made, is_image))
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
    /// Puts what is wanted of a repository on the medium, and reads it back; notes for which devices there is nothing.
    async fn carry(&self, repository: &Repository, gaps: &mut Gaps) -> Result<Part, Failure> {
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
        let offers = self.choose(repository, &index, gaps)?;
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
}
