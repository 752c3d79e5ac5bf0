//! Lets a run install what a build lacks, where the policy or the command line says so.

use super::context::Context;
use super::failure::Failure;
use super::view::View;
use crate::config::Toolchain;
use crate::report::progress::ProgressEvent;
use crate::state::records::Records;
use crate::survey::Survey;
use crate::toolchain::{self, Apt, Installation, ToolchainError};

/// The headers may name a compiler that was not known before they were there.
const PASSES: usize = 2;

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
) -> Result<(), Failure> {
    if !is_wanted(context) {
        return Ok(());
    }
    let apt = apt(context);
    for survey in surveys.iter_mut().filter(|survey| needs_build(survey)) {
        for _ in 0..PASSES {
            let installed = match planned(context, &apt, survey) {
                Ok(Some(installation)) => toolchain::install(&apt, &installation, &context.paths.toolchain()),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            if let Err(error) = installed {
                warn(context, &error);
                break;
            }
            let release = survey.kernel.release.clone();
            *survey = view.machine.survey(&release, &view.tree, &records.installed()?)?;
        }
    }
    Ok(())
}

/// Shows what would be installed.
pub(super) fn preview(context: &Context, survey: &Survey) {
    if is_wanted(context)
        && let Err(error) = planned(context, &apt(context), survey)
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

/// What has to be installed for a kernel, which is told; none where nothing is missing, or apt has nothing for it.
fn planned(context: &Context, apt: &Apt<'_>, survey: &Survey) -> Result<Option<Installation>, ToolchainError> {
    let names = toolchain::missing(survey, context.root());
    if names.is_empty() {
        return Ok(None);
    }
    let check = context.options.check;
    let installation = toolchain::plan(apt, &names, &survey.kernel.release, !check)?;
    if installation.packages.is_empty() {
        return Ok(None);
    }
    let packages = installation.packages.iter();
    context.reporter.report(ProgressEvent::Toolchain {
        check,
        packages: packages.map(|one| format!("{} {}", one.name, one.version)).collect(),
        download_bytes: installation.download_bytes,
        disk_bytes: installation.disk_bytes,
    });
    Ok(Some(installation))
}

fn warn(context: &Context, error: &ToolchainError) {
    context.reporter.report(ProgressEvent::Warning {
        text: error.to_string(),
        hint: error.hint(),
    });
}
