//! `remove`: unloads a package's modules, removes it from kernels and from the DKMS tree, and loads the kernel's own modules.

use std::collections::BTreeSet;

use dkms_engine::install::Session;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::tree::Tree;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::nearest::nearest;
use super::view::View;
use super::{initramfs, packages, work};
use crate::apply::{self, Loader, Unloaded};
use crate::device;
use crate::exit::Exit;
use crate::initramfs::Seen;
use crate::report::Document;
use crate::report::progress::{ProgressEvent, print_json, print_text};
use crate::state::records::{Hold, Records};

pub(super) fn run(context: &Context, names: &[String], hold: bool) -> Result<Exit, Failure> {
    let tree = context.tree()?;
    let records = Records::open_to_read(&context.paths)?;
    let mut found = Vec::new();
    for name in names {
        let of_name = find(&tree, &records, name)?;
        if of_name.is_empty() {
            let all: Vec<String> = tree.packages().into_iter().map(|package| package.module).collect();
            return Err(Failure::NotInstalled {
                name: name.clone(),
                nearest: nearest(packages::parse(name).0, &all),
            });
        }
        found.extend(of_name);
    }
    require_unneeded(context, &tree, &found)?;
    if context.options.check {
        return Ok(finish(context, &found, "would remove", context.exit(true)));
    }
    let _run = context.writer()?;
    let records = Records::open(&context.paths)?;
    let work = work::begin(context, &tree, &records)?;
    let seen = Seen::of(&tree);
    let worker = work.worker();
    let mut session = worker.removal_session();
    let mut unloaded = Unloaded::default();
    for package in &found {
        let kernels = kernels(context, &session, package);
        unloaded.add(unload_running(context, &tree, package, &kernels)?);
        worker.remove(&mut session, package, &kernels, "")?;
    }
    session.finish().map_err(Failure::Depmod)?;
    if hold {
        for package in &found {
            records.hold(&Hold {
                package: package.module.clone(),
                reason: "removed with --hold".to_owned(),
                at: context.now,
            })?;
        }
    }
    apply::load_kernel_drivers(&worker.loader, &unloaded.modaliases);
    let exit = if unloaded.in_use {
        Exit::Pending
    } else {
        context.exit(true)
    };
    drop(work);
    initramfs::renew(context, &tree, &seen);
    if !hold {
        warn_of_return(context, &found, &records);
    }
    Ok(finish(context, &found, "removed", exit))
}

/// Makes sure that no package that stays was built with one that goes: its modules would not load any more.
fn require_unneeded(context: &Context, tree: &Tree, found: &[DkmsId]) -> Result<(), Failure> {
    let wanted = &context.options.kernel;
    let all = wanted.is_empty() || wanted.iter().any(|name| name == "all");
    for kernel in tree.installed_kernels() {
        if !all && !wanted.contains(&kernel.release) {
            continue;
        }
        for package in found.iter().filter(|package| tree.is_installed(package, &kernel)) {
            let mut by = tree.dependents(&package.module, &kernel);
            by.retain(|dependent| !found.contains(dependent));
            if !by.is_empty() {
                return Err(Failure::Needed {
                    package: package.clone(),
                    by,
                });
            }
        }
    }
    Ok(())
}

/// Says which of the packages the next `--auto` would install again, as far as that is known without a network.
fn warn_of_return(context: &Context, removed: &[DkmsId], records: &Records) {
    for name in wanted_again(context, removed, records).unwrap_or_default() {
        context.reporter.report(ProgressEvent::Warning {
            text: format!("the next `dkms-fetch --auto` installs {name} again: a device of this machine asks for it"),
            hint: Some(format!("dkms-fetch hold {name}; or remove with --hold")),
        });
    }
}

fn wanted_again(context: &Context, removed: &[DkmsId], records: &Records) -> Result<BTreeSet<String>, Failure> {
    let index = context.any_index();
    if index.repositories().next().is_none() {
        return Ok(BTreeSet::new());
    }
    let (devices, here) = context.devices()?;
    let rules = context.rules(&index, records)?;
    let view = View::open(context, &devices, here, &index, records)?;
    let plans = view.surveys.iter().map(|survey| view.machine.plan(survey, &rules));
    let names = plans.flat_map(|plan| plan.steps).map(|step| step.tree_name);
    Ok(names
        .filter(|name| removed.iter().any(|one| one.module == *name))
        .collect())
}

/// Says what was done, or would be.
fn finish(context: &Context, packages: &[DkmsId], done: &str, exit: Exit) -> Exit {
    if context.options.json {
        let named = |p: &DkmsId| json!({"package": p.module, "dkms_version": p.version});
        let packages: Vec<_> = packages.iter().map(named).collect();
        let body = json!({ "check": context.options.check, "packages": packages });
        print_json(&Document::new("remove", exit, body));
    } else {
        packages
            .iter()
            .for_each(|package| print_text(format_args!("{done} {package}")));
    }
    exit
}

/// The versions in the tree that a person means: by the tree's version or the index's.
fn find(tree: &Tree, records: &Records, text: &str) -> Result<Vec<DkmsId>, Failure> {
    let (mut name, wanted) = packages::parse(text);
    let all = tree.packages();
    // As Debian calls its package.
    if !all.iter().any(|package| package.module == name) {
        name = name.strip_suffix("-dkms").unwrap_or(name);
    }
    let installed = records.installed()?;
    let is_meant = |package: &DkmsId| {
        let noted = |version: &str| {
            let mut of_ours = installed
                .iter()
                .filter(|i| i.package == name && i.dkms_version == package.version);
            of_ours.any(|i| i.version == version)
        };
        package.module == name && wanted.is_none_or(|wanted| wanted == package.version || noted(wanted))
    };
    Ok(all.into_iter().filter(is_meant).collect())
}

/// The kernels that a package is to be removed from.
fn kernels(context: &Context, session: &Session<'_>, package: &DkmsId) -> Vec<KernelId> {
    let wanted = &context.options.kernel;
    let all = wanted.is_empty() || wanted.iter().any(|name| name == "all");
    let mut kernels = session.kernels_of(package);
    kernels.retain(|kernel| all || wanted.contains(&kernel.release));
    kernels
}

/// Takes a package's modules out of the running kernel, if it is removed from that one. In an image there is none.
fn unload_running(context: &Context, tree: &Tree, package: &DkmsId, kernels: &[KernelId]) -> Result<Unloaded, Failure> {
    let is_running = |kernel: &&KernelId| context.host.running.as_ref() == Some(&kernel.release);
    let Some(kernel) = kernels.iter().find(is_running) else {
        return Ok(Unloaded::default());
    };
    if tree.installed_version(&package.module, kernel).as_ref() != Some(&package.version) {
        return Ok(Unloaded::default());
    }
    unload(context, tree, package, kernel)
}

/// Takes the modules of a build out of the running kernel, which is this one.
pub(super) fn unload(context: &Context, tree: &Tree, package: &DkmsId, kernel: &KernelId) -> Result<Unloaded, Failure> {
    let modules = tree.recorded_modules(package, kernel);
    let modules: Vec<String> = modules.into_iter().map(|module| module.name).collect();
    let devices = device::scan()?;
    Ok(apply::unload(
        &Loader::default(),
        context.root(),
        &modules,
        &devices,
        &context.reporter,
    ))
}
