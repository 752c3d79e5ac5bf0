//! What several subcommands look at: the devices of a machine, surveyed for each target kernel.

use dkms_engine::tree::Tree;

use super::context::Context;
use super::failure::Failure;
use crate::candidate::Rules;
use crate::device::Device;
use crate::plan::{self, KeptInstall, Plan};
use crate::report::progress::ProgressEvent;
use crate::report::{
    DeviceReport, InstallStatus, KernelReport, PackageReport, RemovalReport, RemovalStatus, Report, RepositoryReport,
    SCHEMA, VERSION, Warning,
};
use crate::state::index::Index;
use crate::state::records::Records;
use crate::survey::{Machine, Survey};

/// A machine as it is now.
pub(super) struct View<'a> {
    pub(super) machine: Machine<'a>,
    pub(super) tree: Tree,
    /// One for each target kernel.
    pub(super) surveys: Vec<Survey>,
}

impl<'a> View<'a> {
    /// Looks the devices up and surveys the target kernels.
    pub(super) fn open(
        context: &'a Context,
        devices: &'a [Device],
        here: bool,
        index: &Index,
        records: &Records,
    ) -> Result<Self, Failure> {
        let machine = Machine::look_up(&context.host, devices, here, &context.config.repositories, index)?;
        let tree = context.tree()?;
        let installed = records.installed()?;
        let surveys = context.kernels()?;
        let surveys = surveys
            .iter()
            .map(|release| machine.survey(release, &tree, &installed))
            .collect::<Result<_, _>>()?;
        Ok(Self { machine, tree, surveys })
    }

    /// An empty report with what is known of the repositories.
    pub(super) fn report(&self, context: &Context, command: &'static str, index: &Index) -> Result<Report, Failure> {
        let summaries = index.summaries()?;
        let repositories = self.machine.repositories.iter().map(|repository| {
            let summary = summaries.iter().find(|summary| summary.repository == repository.name);
            RepositoryReport {
                name: repository.name.to_string(),
                packages: summary.map_or(0, |summary| summary.packages),
                expires: summary.and_then(|summary| summary.expires).map(|at| at.to_string()),
            }
        });
        Ok(Report {
            schema: SCHEMA,
            document: "report",
            version: VERSION,
            time: context.now,
            duration_ms: 0,
            command,
            root: self.machine.host.root.path().display().to_string(),
            changed: false,
            exit: 0,
            repositories: repositories.collect(),
            kernels: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// Every device with its verdict, every package of the plan as planned.
    pub(super) fn kernel(&self, survey: &Survey, plan: &Plan) -> KernelReport {
        let devices = self.machine.devices.iter().zip(&plan.decisions);
        KernelReport {
            release: survey.kernel.release.clone(),
            arch: survey.kernel.arch.clone(),
            devices: devices
                .map(|(device, decision)| DeviceReport::of(device.clone(), decision.verdict.clone()))
                .collect(),
            packages: plan
                .steps
                .iter()
                .map(|step| PackageReport {
                    package: step.offer.id.clone(),
                    dkms_version: step.offer.record.dkms_version().to_owned(),
                    summary: step.offer.record.summary.clone(),
                    serves: step
                        .serves
                        .iter()
                        .map(|&n| self.machine.devices[n].path.clone())
                        .collect(),
                    outcome: InstallStatus::Planned,
                })
                .collect(),
            removals: plan
                .revoked
                .removals
                .iter()
                .map(|removal| RemovalReport {
                    package: removal.package.clone(),
                    dkms_version: removal.dkms_version.clone(),
                    revoked: removal.reason.clone(),
                    outcome: RemovalStatus::Planned,
                })
                .collect(),
        }
    }

    /// Warns about what limits the answers for a kernel, and about revoked packages that are kept.
    pub(super) fn warn_about(&self, context: &Context, survey: &Survey, rules: &Rules, report: &mut Report) {
        let mut warnings = Vec::new();
        if !survey.has_modules {
            let text = format!(
                "the modules of kernel {} are not in {}: which devices it drives by itself is not known",
                survey.kernel.release,
                self.machine.host.root.join("/lib/modules").display()
            );
            warnings.push(Warning { text, hint: None });
        }
        let revoked = plan::find_revoked(&survey.installed, rules);
        warnings.extend(revoked.kept.iter().map(kept_warning));
        for Warning { text, hint } in warnings.iter().cloned() {
            context.reporter.report(ProgressEvent::Warning { text, hint });
        }
        report.warnings.extend(warnings);
    }
}

/// The warning about a revoked package that is kept.
fn kept_warning(kept: &KeptInstall) -> Warning {
    let KeptInstall {
        package,
        revoked_by,
        reason,
        held,
    } = kept;
    let (why, hint) = if *held {
        let hint = format!("dkms-fetch unhold {} && dkms-fetch --auto", package.name);
        ("it is held on this machine", hint)
    } else {
        let hint = format!("dkms remove {}/{} --all", package.name, package.version);
        ("it was not installed by dkms-fetch", hint)
    };
    Warning {
        text: format!("{package} was revoked by {revoked_by} ({reason}) and stays: {why}"),
        hint: Some(hint),
    }
}
