//! `rollback`: brings back what was installed after an earlier entry of the history.
//!
//! What has to be fetched and built comes first: where that fails, nothing else is changed. The rest happens in one session with one depmod.
//! Each package changes in one transaction, and the goal is recorded before the first one, so that a run that is killed is gone on with.

use std::sync::Arc;

use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::tree::Tree;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::sync::{self, Opened};
use super::view::View;
use super::{initramfs, remove, runtime, work};
use crate::apply::{self, Done, Goal, Unloaded, Worker};
use crate::candidate::Offer;
use crate::device::Device;
use crate::exit::Exit;
use crate::initramfs::Seen;
use crate::plan;
use crate::report::Document;
use crate::report::progress::{ProgressEvent, print_json, print_note, print_text};
use crate::state::index::Index;
use crate::state::records::{InstallRecord, Records, Reversal};
use crate::survey::Offers;

/// One step back.
pub(super) struct Step {
    reversal: Reversal,
    kernel: KernelId,
    means: Means,
}

/// How a step is made.
enum Means {
    /// The package is removed.
    Remove,
    /// The tree has the build that is to be installed.
    KeptBuild,
    /// The source comes from a repository or from the cache, and is built.
    Fetch(Arc<Offer>),
    /// The build is gone, and no repository offers this version any more.
    Gone,
}

pub(super) fn run(context: &Context, entry: Option<u32>) -> Result<Exit, Failure> {
    let check = context.options.check;
    let _lock = if check { None } else { Some(context.writer()?) };
    let records = if check {
        Records::open_to_read(&context.paths)?
    } else {
        Records::open(&context.paths)?
    };
    let Some(entry) = goal(&records, entry)? else {
        if context.options.json {
            return Ok(finish(context, 0, &[], Exit::Converged));
        }
        print_note("no run has changed what is installed");
        return Ok(Exit::Converged);
    };
    let tree = context.tree()?;
    if check {
        let steps = steps(context, &tree, &records, entry)?;
        require_all(&steps)?;
        return Ok(finish(context, entry, &steps, context.exit(!steps.is_empty())));
    }
    let work = work::begin(context, &tree, &records)?;
    let steps = steps(context, &tree, &records, entry)?;
    require_all(&steps)?;
    if steps.is_empty() {
        records.end_rollback()?;
        return Ok(finish(context, entry, &steps, Exit::Converged));
    }
    records.begin_rollback(entry, context.now)?;
    let worker = work.worker();
    let fetched = fetch(context, &worker, &tree, &records, &steps, entry)?;
    let exit = match work::exit_of_work(&fetched) {
        Exit::Converged | Exit::Pending => {
            let seen = Seen::of(&tree);
            let in_use = carry_out(context, &worker, &tree, &records, &steps, &why(entry))?;
            initramfs::renew(context, &tree, &seen);
            match work::exit_of_work(&fetched) {
                Exit::Converged if !in_use => context.exit(!steps.is_empty()),
                _ => Exit::Pending,
            }
        }
        // A driver that is left out would leave a device without one: nothing else goes.
        failed => {
            records.end_rollback()?;
            context.reporter.report(ProgressEvent::Warning {
                text: "a version that was installed then could not be built: nothing else was changed".to_owned(),
                hint: None,
            });
            return Ok(finish(context, entry, &[], failed));
        }
    };
    Ok(finish(context, entry, &steps, exit))
}

/// Ends a rollback that was killed, as far as nothing has to be fetched. Mostly there is none.
pub(super) fn resume(context: &Context, records: &Records) -> Result<(), Failure> {
    let Some(entry) = records.unfinished_rollback()? else {
        return Ok(());
    };
    let tree = context.tree()?;
    let work = work::begin(context, &tree, records)?;
    let mut steps = steps(context, &tree, records, entry)?;
    for step in &steps {
        if let (Means::Fetch(_) | Means::Gone, Some(to)) = (&step.means, &step.reversal.to) {
            warn_of_missing(context, to, &format!("dkms-fetch rollback {entry}"));
        }
    }
    steps.retain(|step| matches!(step.means, Means::Remove | Means::KeptBuild));
    let seen = Seen::of(&tree);
    carry_out(context, &work.worker(), &tree, records, &steps, &why(entry))?;
    initramfs::renew(context, &tree, &seen);
    Ok(())
}

/// Undoes what was on trial, if too many boots have ended early. Mostly nothing is to be undone. What keeps the machine from starting goes
/// also where the version before it is not built any more.
pub(super) fn undo_trial(context: &Context, records: &Records) -> Result<Vec<Step>, Failure> {
    let root = context.root();
    let Some(undo) = apply::undo(root) else {
        return Ok(Vec::new());
    };
    let tree = context.tree()?;
    let work = work::begin(context, &tree, records)?;
    let mut steps = steps(context, &tree, records, undo.entry)?;
    steps.retain(|step| step.kernel.release == undo.kernel && undo.packages.contains(&step.reversal.package));
    for step in &mut steps {
        if let Means::Fetch(_) | Means::Gone = step.means {
            if let Some(to) = step.reversal.to.take() {
                warn_of_missing(context, &to, &format!("dkms-fetch install {}={}", to.name, to.version));
            }
            step.means = Means::Remove;
        }
    }
    let why = format!(
        "boots with kernel {} have ended before {} was reached",
        undo.kernel, undo.target
    );
    let seen = Seen::of(&tree);
    carry_out(context, &work.worker(), &tree, records, &steps, &why)?;
    apply::end_undo(root).map_err(Failure::writing(&root.join("/etc/modprobe.d")))?;
    // Generators copy the directory: by now it does not keep modules back any more.
    initramfs::renew(context, &tree, &seen);
    Ok(steps)
}

fn warn_of_missing(context: &Context, to: &InstallRecord, hint: &str) {
    context.reporter.report(ProgressEvent::Warning {
        text: format!(
            "{} {} is not brought back for kernel {}: it is not built any more",
            to.name, to.version, to.kernel
        ),
        hint: Some(hint.to_owned()),
    });
}

/// The entry to go back to; none where nothing was done that could be undone.
fn goal(records: &Records, entry: Option<u32>) -> Result<Option<u32>, Failure> {
    let reach = records.reach()?;
    match entry {
        Some(entry) if entry < reach.first || entry > reach.last => Err(Failure::UnknownEntry {
            entry,
            first: reach.first,
            last: reach.last,
        }),
        Some(entry) => Ok(Some(entry)),
        None => match records.unfinished_rollback()? {
            Some(entry) => Ok(Some(entry)),
            None => Ok(records.before_last_run()?),
        },
    }
}

/// The steps for the kernels that are asked for.
fn steps(context: &Context, tree: &Tree, records: &Records, entry: u32) -> Result<Vec<Step>, Failure> {
    let wanted = &context.options.kernel;
    let all = wanted.is_empty() || wanted.iter().any(|name| name == "all");
    let index = context.any_index();
    let mut steps = Vec::new();
    for reversal in records.reversals(entry)? {
        if !all && !wanted.contains(&reversal.kernel) {
            continue;
        }
        // The kernel was removed since.
        if reversal.to.is_some() && !tree.modules_dir(&reversal.kernel).is_dir() {
            continue;
        }
        let Some(kernel) = kernel_of(context, tree, &reversal) else {
            continue;
        };
        let means = match &reversal.to {
            None => Means::Remove,
            Some(to) if apply::has_build(tree, records, to, &kernel)? => Means::KeptBuild,
            Some(to) => offer(context, &index, to)?.map_or(Means::Gone, Means::Fetch),
        };
        steps.push(Step {
            reversal,
            kernel,
            means,
        });
    }
    Ok(steps)
}

/// The kernel with its architecture, which builds in the tree have, and this machine.
fn kernel_of(context: &Context, tree: &Tree, reversal: &Reversal) -> Option<KernelId> {
    let built = [&reversal.from, &reversal.to].into_iter().flatten().find_map(|one| {
        let package = DkmsId::new(&one.package, &one.dkms_version)?;
        let mut built = tree.built_kernels(&package).into_iter();
        built.find(|kernel| kernel.release == reversal.kernel)
    });
    built.or_else(|| KernelId::new(&reversal.kernel, &context.host.arch))
}

/// The very bundle that was installed, if a repository has it.
fn offer(context: &Context, index: &Index, to: &InstallRecord) -> Result<Option<Arc<Offer>>, Failure> {
    let offers = Offers::new(index, &context.config.repositories).named(&to.name)?;
    Ok(offers
        .into_iter()
        .find(|offer| offer.record.bundle.sha256 == to.bundle_sha256 && offer.id.key().is_same(&to.key())))
}

/// # Errors
/// When something cannot be brought back: then nothing is changed.
fn require_all(steps: &[Step]) -> Result<(), Failure> {
    let gone = |step: &&Step| matches!(step.means, Means::Gone);
    match steps.iter().find(gone).and_then(|step| step.reversal.to.as_ref()) {
        Some(to) => Err(Failure::VersionGone {
            package: to.name.clone(),
            version: to.version.clone(),
            kernel: to.kernel.clone(),
        }),
        None => Ok(()),
    }
}

/// Fetches, builds and installs what the tree does not have any more.
fn fetch(
    context: &Context,
    worker: &Worker<'_>,
    tree: &Tree,
    records: &Records,
    steps: &[Step],
    entry: u32,
) -> Result<Done, Failure> {
    let mut done = Done::default();
    let offers: Vec<(&Step, &Arc<Offer>)> = steps
        .iter()
        .filter_map(|step| match &step.means {
            Means::Fetch(offer) => Some((step, offer)),
            _ => None,
        })
        .collect();
    if offers.is_empty() {
        return Ok(done);
    }
    context.require_sandbox()?;
    let transport = sync::transport(context);
    let runtime = runtime()?;
    let mut opened: Vec<Opened<'_>> = runtime.run(sync::open(context, &transport))??;
    let index = context.index()?;
    let (devices, here) = devices(context);
    let view = View::open(context, &devices, here, &index, records)?;
    for (step, offer) in offers {
        worker.set_aside(None, step.reversal.to.as_ref(), &why(entry))?;
        let mut rules = context.rules(&index, records)?;
        rules.held.retain(|name| *name != offer.id.name);
        let installed = records.installed()?;
        let mut survey = view.machine.survey(&step.kernel.release, tree, &installed)?;
        let facts = view.machine.facts(&survey, &rules);
        let wanted = [Arc::clone(offer)];
        let dependencies = Offers::new(&index, &context.config.repositories).dependencies_of(&wanted)?;
        let plan = plan::plan_for(&wanted, &dependencies, &survey.installed, facts).map_err(Failure::Refused)?;
        let mut obtain = work::obtain(context, &mut opened);
        let goal = Goal::Named(&plan);
        let ended = worker.converge(&goal, &view.machine, &mut survey, &mut rules, &mut obtain, &runtime)?;
        done.attempts.extend(ended.attempts);
    }
    Ok(done)
}

fn devices(context: &Context) -> (Vec<Device>, bool) {
    if context.root().is_host() {
        context.devices().unwrap_or_default()
    } else {
        (Vec::new(), false)
    }
}

/// Removes and installs what needs nothing from outside, and ends the rollback. Returns whether the running kernel keeps a module.
fn carry_out(
    context: &Context,
    worker: &Worker<'_>,
    tree: &Tree,
    records: &Records,
    steps: &[Step],
    why: &str,
) -> Result<bool, Failure> {
    let mut session = worker.removal_session();
    let mut unloaded = Unloaded::default();
    let mut put_back = Vec::new();
    for Step {
        reversal,
        kernel,
        means,
    } in steps
    {
        let kernels = std::slice::from_ref(kernel);
        let (from, to) = (reversal.from.as_ref(), reversal.to.as_ref());
        worker.set_aside(from, to, why)?;
        let installed = from.and_then(|from| DkmsId::new(&from.package, &from.dkms_version));
        if let Some(package) = &installed {
            unloaded.add(unload(context, tree, package, kernel)?);
        }
        match (means, to) {
            (Means::Remove, _) => {
                if let Some(package) = &installed {
                    worker.remove(&mut session, package, kernels, why)?;
                }
            }
            (Means::KeptBuild, Some(to)) => worker.put_back(&mut session, to, kernel, why)?,
            _ => {}
        }
        if let Some(to) = to {
            if let Some(from) = from {
                worker.drop_replaced(&mut session, from, to, kernel)?;
            }
            put_back.extend(DkmsId::new(&to.package, &to.dkms_version).map(|package| (package, kernel)));
        }
    }
    session.finish().map_err(Failure::Depmod)?;
    records.end_rollback()?;
    for (package, kernel) in put_back {
        let modules = tree.recorded_modules(&package, kernel);
        let names: Vec<String> = modules.into_iter().map(|module| module.name).collect();
        apply::load_again(&worker.loader, &names, &unloaded, &context.reporter);
    }
    apply::load_kernel_drivers(&worker.loader, &unloaded.modaliases);
    Ok(unloaded.in_use)
}

/// Takes the modules of what is replaced or removed out of the running kernel. A build that was fetched is in their place already.
fn unload(context: &Context, tree: &Tree, package: &DkmsId, kernel: &KernelId) -> Result<Unloaded, Failure> {
    if context.host.running.as_ref() != Some(&kernel.release) {
        return Ok(Unloaded::default());
    }
    remove::unload(context, tree, package, kernel)
}

fn why(entry: u32) -> String {
    format!("taken back to entry {entry} of the history")
}

/// What a step changes, for JSON.
pub(super) fn document(step: &Step) -> Value {
    let version = |one: &Option<InstallRecord>| one.as_ref().map(|one| one.version.clone());
    json!({
        "package": step.reversal.package,
        "kernel": step.reversal.kernel,
        "from": version(&step.reversal.from),
        "to": version(&step.reversal.to),
        "means": match step.means {
            Means::Remove => "remove",
            Means::KeptBuild => "kept-build",
            Means::Fetch(_) => "fetch",
            Means::Gone => "gone",
        },
    })
}

/// What a step changes, for people.
pub(super) fn sentence(step: &Step, is_done: bool) -> String {
    let Reversal {
        package,
        kernel,
        from,
        to,
    } = &step.reversal;
    let version = |one: &InstallRecord| one.version.clone();
    let (from, to) = (from.as_ref().map(version), to.as_ref().map(version));
    let said = |done: &'static str, would: &'static str| if is_done { done } else { would };
    match (from, to) {
        (Some(from), None) => {
            let what = said("removed", "would remove");
            format!("{what} {package} {from} from kernel {kernel}")
        }
        (from, Some(to)) => {
            let what = said("installed", "would install");
            let place = from.map_or_else(String::new, |from| format!(" in place of {from}"));
            format!("{what} {package} {to}{place} for kernel {kernel}")
        }
        (None, None) => String::new(),
    }
}

fn finish(context: &Context, entry: u32, steps: &[Step], exit: Exit) -> Exit {
    let check = context.options.check;
    if context.options.json {
        let steps: Vec<Value> = steps.iter().map(document).collect();
        let body = json!({ "check": check, "entry": entry, "steps": steps });
        print_json(&Document::new("rollback", exit, body));
        return exit;
    }
    for step in steps {
        print_text(sentence(step, !check));
    }
    if steps.is_empty() && exit == Exit::Converged {
        print_note(format_args!("nothing to do: this is the state after entry {entry}"));
    }
    exit
}
