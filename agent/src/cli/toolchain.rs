//! Lets a run install what a build lacks, where the policy or the command line says so.

use super::context::Context;
use super::failure::Failure;
use super::view::View;
use crate::config::Toolchain;
use crate::exit::Exit;
use crate::report::progress::ProgressEvent;
use crate::state::records::Records;
use crate::survey::Survey;
use crate::toolchain::{self, Apt, Installation, ToolchainError};

/// The headers may name a compiler that was not known before they were there.
const PASSES: usize = 2;

/// The kernels for which the package manager failed: no network, or another run of it.
#[derive(Debug, Default)]
pub(super) struct Unprovided(Vec<String>);

impl Unprovided {
    /// The exit code for one of `releases`: builds that failed for want of what another run may get are to be tried again.
    pub(super) fn exit<'a>(&self, mut releases: impl Iterator<Item = &'a str>, exit: Exit) -> Exit {
        let lacks = |release: &str| self.0.iter().any(|one| one == release);
        match exit {
            Exit::BuildsFailed if releases.any(lacks) => Exit::TryAgain,
            exit => exit,
        }
    }
}

/// Whether this run may install something. The policy's `never` goes before the command line.
pub(super) fn is_wanted(context: &Context) -> bool {
    let policy = context.config.policy.toolchain;
    policy != Some(Toolchain::Never)
        && context
            .options
            .install_toolchain
            .unwrap_or(policy == Some(Toolchain::Install))
}

/// Installs what builds for these kernels lack, and looks at the kernels again. What cannot be installed is told; the builds say then what is
/// missing. Not to be called with the tree's lock: packages of kernels call `dkms`.
pub(super) fn provide(
    context: &Context,
    view: &View<'_>,
    records: &Records,
    surveys: &mut [Survey],
    needs_build: impl Fn(&Survey) -> bool,
) -> Result<Unprovided, Failure> {
    let mut unprovided = Unprovided::default();
    if !is_wanted(context) {
        return Ok(unprovided);
    }
    let apts = apts(context);
    for survey in surveys.iter_mut().filter(|survey| needs_build(survey)) {
        for _ in 0..PASSES {
            let installed = match planned(context, &apts, survey) {
                Ok(Some((apt, installation))) => toolchain::install(apt, &installation, &context.paths.toolchain()),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            if let Err(error) = installed {
                warn(context, &error);
                if matches!(error, ToolchainError::Failed { .. }) {
                    unprovided.0.push(survey.kernel.release.clone());
                }
                break;
            }
            let release = survey.kernel.release.clone();
            *survey = view.machine.survey(&release, &view.tree, &records.installed()?)?;
        }
    }
    Ok(unprovided)
}

/// Shows what would be installed.
pub(super) fn preview(context: &Context, survey: &Survey) {
    if is_wanted(context)
        && let Err(error) = planned(context, &apts(context), survey)
    {
        warn(context, &error);
    }
}

/// Takes away what was installed, this time or before, unless it is to stay.
pub(super) fn take_away(context: &Context) {
    if context.config.policy.toolchain_keep != Some(false) {
        return;
    }
    match toolchain::take_away(&apt(context), &context.paths.toolchain()) {
        Ok(removed) if removed.is_empty() => {}
        Ok(removed) => context
            .reporter
            .report(ProgressEvent::ToolchainRemoved { packages: removed }),
        Err(error) => warn(context, &error),
    }
}

fn apt(context: &Context) -> Apt<'_> {
    Apt::of(context.root(), context.options.offline)
}

/// The apt of the machine, after one for what a medium has.
fn apts(context: &Context) -> Vec<Apt<'_>> {
    let medium = context.options.medium.as_ref();
    let on_medium = medium.map(|dir| toolchain::medium::of_medium(context.root(), dir));
    let on_medium = on_medium.transpose().unwrap_or_else(|error| {
        warn(context, &error);
        None
    });
    on_medium.flatten().into_iter().chain([apt(context)]).collect()
}

/// What has to be installed for a kernel, which is told; none where nothing is missing, or apt has nothing for it.
fn planned<'a>(
    context: &Context,
    apts: &'a [Apt<'a>],
    survey: &Survey,
) -> Result<Option<(&'a Apt<'a>, Installation)>, ToolchainError> {
    let names = toolchain::missing(survey, context.root());
    if names.is_empty() {
        return Ok(None);
    }
    let check = context.options.check;
    let mut last = None;
    for apt in apts {
        let installation = match toolchain::plan(apt, &names, &survey.kernel.release, !check || apt.is_private()) {
            Ok(installation) if installation.packages.is_empty() => return Ok(None),
            Ok(installation) => installation,
            Err(error) => {
                // The medium is of no use; the machine's own apt may be.
                last.replace(error).iter().for_each(|error| warn(context, error));
                continue;
            }
        };
        let packages = installation.packages.iter();
        context.reporter.report(ProgressEvent::Toolchain {
            check,
            packages: packages.map(|one| format!("{} {}", one.name, one.version)).collect(),
            download_bytes: installation.download_bytes,
            disk_bytes: installation.disk_bytes,
        });
        return Ok(Some((apt, installation)));
    }
    last.map_or(Ok(None), Err)
}

fn warn(context: &Context, error: &ToolchainError) {
    context.reporter.report(ProgressEvent::Warning {
        text: error.to_string(),
        hint: error.hint(),
    });
}
