//! `match`: install for one kernel what is installed for another.

use crate::conf::{ConfContext, evaluate};
use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::order::{Wanted, order};
use crate::dkms_cli::request::Kernels;
use crate::dkms_cli::session::Session;
use crate::kbuild::MissingDepends;
use crate::package::{DkmsId, KernelId};
use crate::tree::{Filter, State};

use super::build::Job;
use super::run::Run;

/// `match`.
pub(in crate::dkms_cli) fn run(session: &Session, template: &str, kernels: &Kernels, module: Option<&str>) -> Exit {
    let kernels = match session.kernels_or_complain(kernels, None) {
        Ok(kernels) => kernels,
        Err(exit) => return exit,
    };
    let lock = match session.lock() {
        Ok(lock) => lock,
        Err(exit) => return exit,
    };
    if let Some(module) = module.filter(|module| !session.tree.module_dir(module).is_dir()) {
        session.screen.complaint(
            &format!("there is no module {module} in the tree"),
            Some("dkms status".to_owned()),
        );
        return Exit::NOT_ADDED;
    }
    let filter = Filter {
        module: module.map(str::to_owned),
        release: Some(template.to_owned()),
        ..Filter::default()
    };
    let installed = session
        .tree
        .status(&filter)
        .into_iter()
        .filter(|status| status.state == State::Installed);
    let packages: Vec<_> = installed.map(|status| status.package).collect();
    if packages.is_empty() {
        session.screen.say(&format!(
            "nothing is installed for {template}, so there is nothing to match"
        ));
        return Exit::OK;
    }
    let mut run = Run::new(session, &lock);
    let mut exit = Exit::OK;
    for wave in waves(session, &packages, &kernels) {
        let jobs: Vec<Job> = wave.into_iter().map(job).collect();
        for done in run.build_and_install(&jobs) {
            exit = exit.and(done.exit);
        }
    }
    let followed = run.follow();
    exit.and(followed).and(run.finish())
}

fn job((package, kernel): (DkmsId, KernelId)) -> Job {
    Job {
        package,
        kernel,
        anew: false,
        missing_depends: MissingDepends::Ignore,
    }
}

/// The packages for each kernel, in waves: each after those that its BUILD_DEPENDS names. Packages that need each other are in the last
/// wave, and their builds show what they lack.
fn waves(session: &Session, packages: &[DkmsId], kernels: &[KernelId]) -> Vec<Vec<(DkmsId, KernelId)>> {
    let mut waves: Vec<Vec<(DkmsId, KernelId)>> = Vec::new();
    let is_elsewhere = |name: &str| !packages.iter().any(|package| package.module == name);
    for kernel in kernels {
        let context = session.tree.kernel_context(kernel);
        let wanted: Vec<Wanted> = packages
            .iter()
            .map(|package| wanted(session, package, &context))
            .collect();
        let order = order(&wanted, is_elsewhere, |_| true);
        let last: Vec<DkmsId> = order.impossible.into_iter().map(|(package, _)| package).collect();
        for (number, wave) in order.waves.into_iter().chain([last]).enumerate() {
            if waves.len() == number {
                waves.push(Vec::new());
            }
            waves[number].extend(wave.into_iter().map(|package| (package, kernel.clone())));
        }
    }
    waves.retain(|wave| !wave.is_empty());
    waves
}

/// A package with its BUILD_DEPENDS in the context of a kernel. A conf that cannot be evaluated names none: its build reports the error.
fn wanted(session: &Session, package: &DkmsId, context: &ConfContext) -> Wanted {
    let context = context.clone().of_package(&package.module, &package.version);
    let conf = evaluate(&session.tree.source_dir(package), &context);
    Wanted {
        package: package.clone(),
        depends: conf.map(|conf| conf.build_depends).unwrap_or_default(),
    }
}
