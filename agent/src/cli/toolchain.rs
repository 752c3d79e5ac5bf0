//! Lets a run install what a build lacks, where the policy or the command line says so.

use std::cell::OnceCell;

use dkms_engine::distribution::PackageManager;

use super::context::Context;
use super::failure::Failure;
use super::view::View;
use crate::apply;
use crate::config::Toolchain;
use crate::exit::Exit;
use crate::report::progress::ProgressEvent;
use crate::state::records::Records;
use crate::survey::Survey;
use crate::toolchain::{self, Installation, Manager, ToolchainError};

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
    let managers = Managers::of(context);
    let can_install = |survey: &Survey| apply::read_only(context.root(), &survey.kernel.release).is_none();
    for survey in surveys.iter_mut().filter(|one| needs_build(one) && can_install(one)) {
        for _ in 0..PASSES {
            let installed = match planned(context, &managers, survey) {
                Ok(Some((manager, installation))) => {
                    toolchain::install(manager, &installation, &context.paths.toolchain())
                }
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
        && let Err(error) = planned(context, &Managers::of(context), survey)
    {
        warn(context, &error);
    }
}

/// Takes away what was installed, this time or before, unless it is to stay.
pub(super) fn take_away(context: &Context) {
    if context.config.policy.toolchain_keep != Some(false) {
        return;
    }
    let removed = |manager: PackageManager, packages| {
        context.reporter.report(ProgressEvent::ToolchainRemoved {
            manager: manager.name(),
            packages,
        });
    };
    let note = context.paths.toolchain();
    if let Err(error) = toolchain::take_away(context.root(), context.options.offline, &note, removed) {
        warn(context, &error);
    }
}

/// Who may install something.
struct Managers<'a> {
    /// An apt for what a medium has; it is asked first.
    on_medium: Option<Manager<'a>>,
    /// That of the machine, looked for where something is to be installed: most runs have nothing to build.
    own: OnceCell<Option<Manager<'a>>>,
}

impl<'a> Managers<'a> {
    fn of(context: &'a Context) -> Self {
        let medium = context.options.medium.as_ref();
        let on_medium = medium.map(|dir| toolchain::medium::of_medium(context.root(), dir));
        let on_medium = on_medium.transpose().unwrap_or_else(|error| {
            warn(context, &error);
            None
        });
        Self {
            on_medium: on_medium.flatten(),
            own: OnceCell::new(),
        }
    }
}

/// What has to be installed for a kernel, which is told; none where nothing is missing, or the manager has nothing for it.
fn planned<'a>(
    context: &'a Context,
    managers: &'a Managers<'a>,
    survey: &Survey,
) -> Result<Option<(&'a Manager<'a>, Installation)>, ToolchainError> {
    let names = toolchain::missing(survey, context.root());
    if names.is_empty() {
        return Ok(None);
    }
    let plan = |manager: &Manager<'_>| {
        let may_update = !context.options.check || manager.is_private();
        manager.plan(&names, &survey.kernel.release, may_update)
    };
    if let Some(manager) = &managers.on_medium {
        match plan(manager) {
            Ok(installation) => return Ok(told(context, manager, installation)),
            // The medium is of no use; the machine's own manager may be.
            Err(error) => warn(context, &error),
        }
    }
    let own = || Manager::of(context.root(), context.options.offline);
    let manager = managers.own.get_or_init(own).as_ref();
    let manager = manager.ok_or(ToolchainError::NoManager)?;
    Ok(told(context, manager, plan(manager)?))
}

/// Tells what is installed, unless that is nothing.
fn told<'a>(
    context: &Context,
    manager: &'a Manager<'a>,
    installation: Installation,
) -> Option<(&'a Manager<'a>, Installation)> {
    if installation.packages.is_empty() {
        return None;
    }
    context.reporter.report(ProgressEvent::Toolchain {
        check: context.options.check,
        manager: manager.kind().name(),
        packages: installation.packages.iter().map(ToString::to_string).collect(),
        download_bytes: installation.download_bytes,
        disk_bytes: installation.disk_bytes,
    });
    Some((manager, installation))
}

fn warn(context: &Context, error: &ToolchainError) {
    context.reporter.report(ProgressEvent::Warning {
        text: error.to_string(),
        hint: error.hint(),
    });
}
