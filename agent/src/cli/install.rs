//! `install`: packages by name, whether or not a device asks for them.

use super::auto::show_packages;
use super::context::Context;
use super::failure::Failure;
use super::sync::{self, Opened};
use super::view::View;
use super::{initramfs, packages, recover, runtime, toolchain, work};
use crate::apply::{Done, End, Goal};
use crate::device::Device;
use crate::exit::Exit;
use crate::initramfs::Seen;
use crate::plan;
use crate::report::progress::print_json;
use crate::state::records::Records;
use crate::survey::Offers;

/// The devices that must not lose a driver that works. A package is named by its name, so that it is installed also where devices cannot
/// be listed; those of this machine say nothing about an image.
fn devices(context: &Context) -> (Vec<Device>, bool) {
    if context.options.devices.is_none() && !context.root().is_host() {
        return (Vec::new(), false);
    }
    context.devices().unwrap_or_default()
}

pub(super) fn run(context: &Context, names: &[String], reload: bool) -> Result<Exit, Failure> {
    context.require_repository()?;
    let check = context.options.check;
    let _lock = if check { None } else { Some(context.writer()?) };
    if !check {
        context.require_sandbox()?;
    }
    let records = if check {
        Records::open_to_read(&context.paths)?
    } else {
        Records::open(&context.paths)?
    };
    if !check {
        recover::take_back(context, &records)?;
    }
    let transport = sync::transport(context);
    let runtime = runtime()?;
    let mut opened: Vec<Opened<'_>> = if check {
        Vec::new()
    } else {
        runtime.run(sync::open(context, &transport))??
    };
    let index = context.index()?;
    if index.repositories().next().is_none() {
        return Err(super::nothing_cached(context));
    }
    let mut rules = context.rules(&index, &records)?;
    // A package that is named is installed also when it is held or quarantined.
    let named = |name: &str| names.iter().any(|text| packages::parse(text).0 == name);
    rules.held.retain(|name| !named(name));
    rules.quarantine.retain(|entry| !named(&entry.package));
    let (devices, here) = devices(context);
    let mut view = View::open(context, &devices, here, &index, &records)?;
    let mut report = view.report(context, "install", &index)?;
    let mut all = Done::default();
    let mut surveys = std::mem::take(&mut view.surveys);
    let unprovided = if check {
        toolchain::Unprovided::default()
    } else {
        toolchain::provide(context, &view, &records, &mut surveys, |_| true)?
    };
    let seen = Seen::of(&view.tree);
    let work = if check {
        None
    } else {
        Some(work::begin(context, &view.tree, &records)?)
    };
    for survey in &mut surveys {
        let facts = view.machine.facts(survey, &rules);
        let offers = names
            .iter()
            .map(|name| packages::find(context, &index, name, Some(facts)))
            .collect::<Result<Vec<_>, _>>()?;
        let dependencies = Offers::new(&index, &context.config.repositories).dependencies_of(&offers)?;
        let mut plan = plan::plan_for(&offers, &dependencies, &survey.installed, facts).map_err(Failure::Refused)?;
        let is_there = |step: &plan::Step| {
            let id = &step.offer.id;
            survey.installed.iter().any(|installed| {
                installed.is_package(id)
                    && installed.dkms_version == step.offer.record.dkms_version()
                    && installed.source.as_ref().is_none_or(|source| source == id)
            })
        };
        if plan.steps.iter().all(is_there) {
            plan.steps.clear();
        }
        let mut kernel = view.kernel(survey, &plan);
        if let Some(work) = &work {
            let mut obtain = work::obtain(context, &mut opened);
            let goal = Goal::Named(&plan);
            let worker = work.worker();
            let mut done = worker.converge(&goal, &view.machine, survey, &mut rules, &mut obtain, &runtime)?;
            if context.host.running.as_ref() == Some(&survey.kernel.release) {
                for attempt in &mut done.attempts {
                    let waits = worker.pending_update(&view.machine, survey, attempt, reload)?;
                    if let End::Installed { pending, .. } = &mut attempt.end {
                        *pending = waits;
                    }
                }
            }
            work::add_outcomes(&mut kernel, context, &view.machine, &done);
            all.attempts.extend(done.attempts);
        }
        report.kernels.push(kernel);
    }
    drop(work);
    if !check {
        initramfs::renew(context, &view.tree, &seen);
        toolchain::take_away(context);
    }
    report.changed = report.kernels.iter().any(|kernel| !kernel.packages.is_empty());
    let releases = report.kernels.iter().map(|kernel| kernel.release.as_str());
    let exit = match unprovided.exit(releases, work::exit_of_work(&all)) {
        Exit::Converged if context.options.detailed_exitcode && report.changed => Exit::Changed,
        exit => exit,
    };
    report.exit = exit.code();
    report.duration_ms = context.elapsed_ms();
    if context.options.json {
        print_json(&report);
    } else {
        show_packages(&report);
    }
    Ok(exit)
}
