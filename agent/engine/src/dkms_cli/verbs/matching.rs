//! `match`: install for one kernel what is installed for another.

use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::request::Kernels;
use crate::dkms_cli::session::Session;
use crate::kbuild::MissingDepends;
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
    let jobs: Vec<Job> = kernels
        .iter()
        .flat_map(|kernel| {
            packages.iter().map(|package| Job {
                package: package.clone(),
                kernel: kernel.clone(),
                anew: false,
                missing_depends: MissingDepends::Ignore,
            })
        })
        .collect();
    let mut run = Run::new(session, &lock);
    let exit = run
        .build_and_install(&jobs)
        .iter()
        .fold(Exit::OK, |exit, done| exit.and(done.exit));
    let followed = run.follow();
    exit.and(followed).and(run.finish())
}
