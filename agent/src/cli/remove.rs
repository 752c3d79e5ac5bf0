//! `remove`: from the running kernel, the kernels on disk and the DKMS tree; the kernel's own modules come back.

use dkms_engine::install::{InstallOptions, Session};
use dkms_engine::package::{KernelId, PackageId};
use dkms_engine::tree::Tree;

use super::context::Context;
use super::failure::Failure;
use super::{packages, work};
use crate::apply::{self, Unloaded};
use crate::device;
use crate::exit::Exit;
use crate::state::records::{Entry, Records};

pub(super) fn run(context: &Context, names: &[String]) -> Result<Exit, Failure> {
    let tree = context.tree()?;
    let records = Records::open_to_read(&context.paths)?;
    let mut found = Vec::new();
    for name in names {
        let of_name = find(&tree, &records, name)?;
        if of_name.is_empty() {
            return Err(Failure::NotInstalled { name: name.clone() });
        }
        found.extend(of_name);
    }
    if context.options.check {
        found
            .iter()
            .for_each(|package| anstream::println!("would remove {package}"));
        return Ok(changed(context));
    }
    let _run = context.writer()?;
    let records = Records::open(&context.paths)?;
    let work = work::begin(context, &tree, &records)?;
    let options = InstallOptions {
        run_scripts: true,
        ..InstallOptions::default()
    };
    let mut session = Session::new(&tree, work.lock(), options, &context.reporter);
    let mut unloaded = Unloaded::default();
    for package in &found {
        let kernels = kernels(context, &session, package);
        let one = unload_running(context, &tree, package, &kernels)?;
        unloaded.orphans.extend(one.orphans);
        unloaded.stays |= one.stays;
        remove(context, &records, &mut session, &tree, package, &kernels)?;
    }
    session.finish().map_err(Failure::Depmod)?;
    apply::adopt(&unloaded.orphans);
    if unloaded.stays {
        return Ok(Exit::Pending);
    }
    Ok(changed(context))
}

fn changed(context: &Context) -> Exit {
    if context.options.detailed_exitcode {
        Exit::Changed
    } else {
        Exit::Converged
    }
}

/// The versions in the tree that a person means: by the tree's version or the index's.
fn find(tree: &Tree, records: &Records, text: &str) -> Result<Vec<PackageId>, Failure> {
    let (name, wanted) = packages::parse(text);
    let installed = records.installed()?;
    let is_meant = |package: &PackageId| {
        let noted = |version: &str| {
            let mut of_ours = installed
                .iter()
                .filter(|i| i.package == name && i.dkms_version == package.version);
            of_ours.any(|i| i.version == version)
        };
        package.module == name && wanted.is_none_or(|wanted| wanted == package.version || noted(wanted))
    };
    Ok(tree.packages().into_iter().filter(is_meant).collect())
}

/// The kernels that a package is to be removed from.
fn kernels(context: &Context, session: &Session<'_>, package: &PackageId) -> Vec<KernelId> {
    let wanted = &context.options.kernel;
    let all = wanted.is_empty() || wanted.iter().any(|name| name == "all");
    let mut kernels = session.kernels_of(package);
    kernels.retain(|kernel| all || wanted.contains(&kernel.release));
    kernels
}

/// Takes a package's modules out of the running kernel, if it is removed from that one. In an image there is none.
fn unload_running(
    context: &Context,
    tree: &Tree,
    package: &PackageId,
    kernels: &[KernelId],
) -> Result<Unloaded, Failure> {
    let is_running = |kernel: &&KernelId| context.host.running.as_ref() == Some(&kernel.release);
    let Some(kernel) = kernels.iter().find(is_running) else {
        return Ok(Unloaded::default());
    };
    if tree.installed_version(&package.module, kernel).as_ref() != Some(&package.version) {
        return Ok(Unloaded::default());
    }
    let modules = tree.recorded_modules(package, kernel);
    let modules: Vec<String> = modules.into_iter().map(|module| module.name).collect();
    let devices = device::scan()?;
    Ok(apply::unload(context.root(), &modules, &devices, &context.reporter))
}

fn remove(
    context: &Context,
    records: &Records,
    session: &mut Session<'_>,
    tree: &Tree,
    package: &PackageId,
    kernels: &[KernelId],
) -> Result<(), Failure> {
    let is_ours = records
        .installed()?
        .iter()
        .any(|i| i.package == package.module && i.dkms_version == package.version);
    // The source that we put there goes with the package; anybody else's stays, as with dkms.
    if session.remove(package, kernels)? && is_ours {
        let source = tree.source_tree().join(package.dashed());
        std::fs::remove_dir_all(&source).map_err(|error| Failure::RemoveSource {
            path: source,
            source: error,
        })?;
    }
    for kernel in kernels {
        records.note_removed(&package.module, &kernel.release)?;
        records.log(&Entry {
            at: context.now,
            run: context.run(),
            action: "remove".to_owned(),
            package: package.module.clone(),
            version: package.version.clone(),
            kernel: kernel.release.clone(),
            outcome: "done".to_owned(),
            detail: String::new(),
        })?;
    }
    Ok(())
}
