//! `--auto` and `plan`: installs what the devices need, and shows what would be installed.

use super::context::Context;
use super::devices::show;
use super::failure::Failure;
use super::sync::{self, Opened};
use super::view::View;
use super::{block_on, runtime};
use super::{initramfs, recover, requirement, toolchain, work};
use crate::apply::{self, Done, Goal};
use crate::exit::{self, Exit};
use crate::initramfs::Seen;
use crate::report::progress::{ProgressEvent, print_json, print_styled, print_text};
use crate::report::{Report, Warning, count, table};
use crate::state::records::Records;

/// `plan`, and `--auto --check`: shows what `--auto` would do with the newest index, which is not stored.
pub(super) fn plan(context: &mut Context, command: &'static str) -> Result<Exit, Failure> {
    context.require_repository()?;
    let dir = tempfile::tempdir().map_err(Failure::Scratch)?;
    context.use_scratch(dir.path())?;
    let transport = sync::transport(context);
    block_on(async { sync::open(context, &transport).await.map(drop) })?;
    show_plan(context, command)
}

fn show_plan(context: &Context, command: &'static str) -> Result<Exit, Failure> {
    let (devices, here) = context.devices()?;
    let index = context.index()?;
    if index.repositories().next().is_none() {
        return Err(super::nothing_cached(context));
    }
    let records = Records::open_to_read(&context.paths)?;
    let rules = context.rules(&index, &records)?;
    let view = View::open(context, &devices, here, &index, &records)?;
    let mut report = view.report(context, command, &index)?;
    for survey in &view.surveys {
        view.warn_about(context, survey, &rules, &mut report);
        let plan = view.machine.plan(survey, &rules);
        if !plan.steps.is_empty()
            && let Err(failure) = apply::usable(survey, context.root())
        {
            let (text, hint) = (failure.reason, failure.hint);
            let (warned, hinted) = (text.clone(), hint.clone());
            context.reporter.report(ProgressEvent::Warning { text, hint });
            report.warnings.push(Warning {
                text: warned,
                hint: hinted,
            });
            toolchain::preview(context, survey);
        }
        report.kernels.push(view.kernel(survey, &plan));
    }
    report.changed = report
        .kernels
        .iter()
        .any(|kernel| !kernel.packages.is_empty() || !kernel.removals.is_empty());
    let required = report.kernels.iter();
    let required: Vec<Exit> = required
        .map(|kernel| requirement::apply(context, kernel, Exit::Converged))
        .collect();
    let exit = detailed(context, &report, exit::combined(&required), &view);
    report.exit = exit.code();
    report.duration_ms = context.elapsed_ms();
    if context.options.json {
        print_json(&report);
        return Ok(exit);
    }
    for kernel in &report.kernels {
        show(kernel, false, context.options.wide);
        let packages = kernel.packages.len();
        let what = if packages == 0 {
            "nothing would be installed".to_owned()
        } else {
            format!("{} would be installed", count(packages, "package"))
        };
        print_text(what);
        for removal in &kernel.removals {
            print_styled(table::removal(removal, &kernel.release));
        }
    }
    Ok(exit)
}

/// Installs what the devices need.
pub(super) fn run(context: &mut Context) -> Result<Exit, Failure> {
    if context.options.check {
        return plan(context, "auto");
    }
    let context = &*context;
    context.require_repository()?;
    let _lock = context.writer()?;
    context.require_sandbox()?;
    let (devices, here) = context.devices()?;
    context.kernels()?;
    let records = Records::open(&context.paths)?;
    recover::take_back(context, &records)?;
    let transport = sync::transport(context);
    let runtime = runtime()?;
    let mut opened: Vec<Opened<'_>> = runtime.run(sync::open(context, &transport))??;
    let index = context.index()?;
    let mut rules = context.rules(&index, &records)?;
    let mut view = View::open(context, &devices, here, &index, &records)?;
    let mut report = view.report(context, "auto", &index)?;
    let mut all = Done::default();
    let mut exits = Vec::new();
    let mut surveys = std::mem::take(&mut view.surveys);
    let unprovided = toolchain::provide(context, &view, &records, &mut surveys, |survey| {
        !view.machine.plan(survey, &rules).steps.is_empty()
    })?;
    let work = work::begin(context, &view.tree, &records)?;
    let seen = Seen::of(&view.tree);
    for survey in &mut surveys {
        view.warn_about(context, survey, &rules, &mut report);
        // What was set aside for one kernel may be tried for the next.
        rules.set_aside.clear();
        let mut obtain = work::obtain(context, &mut opened);
        let done = work
            .worker()
            .converge(&Goal::Devices, &view.machine, survey, &mut rules, &mut obtain, &runtime)?;
        work.worker().retire(&view.machine, survey)?;
        survey.see_bindings(&view.machine);
        let plan = view.machine.plan(survey, &rules);
        let mut kernel = view.kernel(survey, &plan);
        work::add_outcomes(&mut kernel, context, &view.machine, &done);
        let release = std::iter::once(kernel.release.as_str());
        let exit = unprovided.exit(release, work::exit(&done, &plan));
        exits.push(requirement::apply(context, &kernel, exit));
        report.kernels.push(kernel);
        all.attempts.extend(done.attempts);
        all.removals.extend(done.removals);
    }
    drop(work);
    initramfs::renew(context, &view.tree, &seen);
    toolchain::take_away(context);
    report.changed = work::is_change(&all);
    let exit = detailed(context, &report, exit::combined(&exits), &view);
    report.exit = exit.code();
    report.duration_ms = context.elapsed_ms();
    finish(context, &report);
    Ok(exit)
}

/// What `--detailed-exitcode` adds to a run that converged.
fn detailed(context: &Context, report: &Report, exit: Exit, view: &View<'_>) -> Exit {
    let matched = view.machine.matches.iter().any(|matches| !matches.is_empty());
    match exit {
        Exit::Converged if context.options.detailed_exitcode && report.changed => Exit::Changed,
        Exit::Converged if context.options.detailed_exitcode && !matched => Exit::NoMatch,
        exit => exit,
    }
}

fn finish(context: &Context, report: &Report) {
    if context.options.json {
        print_json(report);
        return;
    }
    report
        .kernels
        .iter()
        .for_each(|kernel| show(kernel, false, context.options.wide));
    show_packages(report);
}

/// The outcome of each package.
pub(super) fn show_packages(report: &Report) {
    for kernel in &report.kernels {
        for package in &kernel.packages {
            print_styled(table::package(package, &kernel.release));
        }
        for removal in &kernel.removals {
            print_styled(table::removal(removal, &kernel.release));
        }
    }
}
