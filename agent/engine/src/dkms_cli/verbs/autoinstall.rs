//! `autoinstall`: for each kernel, the newest version of every package with AUTOINSTALL, each after those it depends on.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::conf::{ConfContext, evaluate};
use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::order::{Order, Wanted, order};
use crate::dkms_cli::request::Kernels;
use crate::dkms_cli::session::Session;
use crate::kbuild::{Freshness, MissingDepends, freshness};
use crate::kernel::KernelTarget;
use crate::package::{DkmsId, KernelId};
use crate::tree::{BuildKey, BuildRecord, Filter, TreeLock};

use super::build::Job;
use super::run::Run;

/// `autoinstall`.
pub(in crate::dkms_cli) fn run(session: &Session, kernels: &Kernels) -> Exit {
    if session.root.join("/etc/dkms/no-autoinstall").exists() {
        session
            .screen
            .say("nothing is installed by itself: /etc/dkms/no-autoinstall is there");
        return Exit::OK;
    }
    let kernels = match session.kernels_or_complain(kernels, None) {
        Ok(kernels) => kernels,
        Err(exit) => return exit,
    };
    // Nothing to do is the usual case; it needs no lock.
    let plans: Vec<Plan> = kernels.into_iter().map(|kernel| Plan::make(session, kernel)).collect();
    if plans.iter().all(Plan::is_empty) {
        return Exit::OK;
    }
    match session.lock() {
        Ok(lock) => {
            for (plan, restamped) in plans
                .iter()
                .flat_map(|plan| plan.restamped.iter().map(move |restamped| (plan, restamped)))
            {
                let Restamped { package, record, key } = restamped;
                record.renew(&session.tree, &lock, package, &plan.kernel, key.clone());
            }
            carry_out(session, &lock, &plans)
        }
        Err(exit) => exit,
    }
}

/// What is to be done for one kernel.
struct Plan {
    kernel: KernelId,
    order: Order,
    /// BUILD_DEPENDS of each package.
    depends: BTreeMap<DkmsId, Vec<String>>,
    /// Packages that are built again when a package that they depend on was: BUILD_DEPENDS_REBUILD.
    followers: BTreeSet<DkmsId>,
    /// Packages that are installed and up to date, but depend on something that is built now.
    in_place: BTreeSet<DkmsId>,
    /// The number of packages whose conf cannot be used.
    broken: usize,
    /// Builds that are up to date, though file times have changed.
    restamped: Vec<Restamped>,
}

/// An up-to-date build, and its key with the new stamps: with them the next run need not compare contents.
struct Restamped {
    package: DkmsId,
    record: BuildRecord,
    key: BuildKey,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.order == Order::default() && self.broken == 0 && self.restamped.is_empty()
    }

    fn make(session: &Session, kernel: KernelId) -> Plan {
        let place = Place::of(session, &kernel);
        let weak = weakly_installed(session, &kernel);
        let (mut wanted, mut satisfied, mut known, mut broken) = (Vec::new(), BTreeSet::new(), BTreeSet::new(), 0);
        let (mut in_place, mut followers) = (Vec::new(), BTreeSet::new());
        let packages = session.tree.packages();
        for versions in packages.chunk_by(|a, b| a.module == b.module) {
            let module = versions[0].module.clone();
            known.insert(module.clone());
            let installed = session.tree.installed_version(&module, &kernel);
            if weak.contains(&module) || installed.is_some() {
                satisfied.insert(module.clone());
            }
            if weak.contains(&module) {
                continue;
            }
            match place.choose(versions, installed.as_deref()) {
                Choice::Install(package) => {
                    satisfied.remove(&module);
                    wanted.push(package);
                }
                Choice::InPlace { wanted, follows } => {
                    followers.extend(follows.then(|| wanted.package.clone()));
                    in_place.push(wanted);
                }
                Choice::Nothing => {}
                Choice::Broken => broken += 1,
            }
        }
        let in_place = move_dependents(&mut wanted, in_place);
        in_place.iter().for_each(|package| {
            satisfied.remove(&package.module);
        });
        let depends = wanted
            .iter()
            .map(|wanted| (wanted.package.clone(), wanted.depends.clone()))
            .collect();
        let restamped = place.restamped.into_inner();
        let order = order(&wanted, |name| satisfied.contains(name), |name| known.contains(name));
        Plan {
            kernel,
            order,
            depends,
            followers,
            in_place,
            broken,
            restamped,
        }
    }
}

/// Moves from `in_place` to `wanted` the packages that depend on a wanted one, which may export other symbols once it is built. Whether
/// they are built again is decided in their wave. Returns the moved packages.
fn move_dependents(wanted: &mut Vec<Wanted>, mut in_place: Vec<Wanted>) -> BTreeSet<DkmsId> {
    let mut moved = BTreeSet::new();
    loop {
        let is_wanted = |name: &String| wanted.iter().any(|other| other.package.module == *name);
        let (next, rest): (Vec<Wanted>, Vec<Wanted>) = in_place
            .into_iter()
            .partition(|package| package.depends.iter().any(is_wanted));
        if next.is_empty() {
            return moved;
        }
        moved.extend(next.iter().map(|next| next.package.clone()));
        wanted.extend(next);
        in_place = rest;
    }
}

enum Choice {
    /// This version has to be built or installed.
    Install(Wanted),
    /// This version is installed, and up to date as long as its dependencies do not change.
    InPlace {
        /// The version.
        wanted: Wanted,
        /// It is built again whenever one of its dependencies was.
        follows: bool,
    },
    /// Nothing is wanted.
    Nothing,
    /// The conf of the newest version cannot be used; that was reported.
    Broken,
}

/// The kernel that a plan is for, with what all packages share.
struct Place<'a> {
    session: &'a Session,
    kernel: &'a KernelId,
    context: ConfContext,
    /// None where the kernel has no headers.
    target: Option<Arc<KernelTarget>>,
    /// See [`Plan::restamped`].
    restamped: RefCell<Vec<Restamped>>,
}

impl<'a> Place<'a> {
    fn of(session: &'a Session, kernel: &'a KernelId) -> Place<'a> {
        Place {
            session,
            kernel,
            context: session.tree.kernel_context(kernel),
            target: session.target(kernel).ok(),
            restamped: RefCell::default(),
        }
    }

    /// Whether a build is up to date. Without headers that cannot be checked, and it counts as up to date.
    fn is_fresh(&self, package: &DkmsId, context: &ConfContext, record: &BuildRecord) -> bool {
        let Some(target) = &self.target else {
            return true;
        };
        match freshness(&self.session.tree, package, target, context, record) {
            Freshness::Fresh => true,
            Freshness::Stale(_) => false,
            Freshness::Restamped(key) => {
                self.restamped.borrow_mut().push(Restamped {
                    package: package.clone(),
                    record: record.clone(),
                    key: *key,
                });
                true
            }
        }
    }

    /// The newest version with AUTOINSTALL, unless that one is installed and up to date. `installed` is the installed version.
    fn choose(&self, versions: &[DkmsId], installed: Option<&str>) -> Choice {
        let tree = &self.session.tree;
        for package in versions.iter().rev() {
            let context = self.context.clone().of_package(&package.module, &package.version);
            let is_marked = installed == Some(package.version.as_str());
            if let Some(record) = tree.record(package, self.kernel) {
                let is_fresh = self.is_fresh(package, &context, &record);
                match (is_fresh, record.autoinstall) {
                    (true, true) => {
                        let is_in_place = is_marked && tree.has_modules_of(package, self.kernel, &record);
                        let wanted = Wanted {
                            package: package.clone(),
                            depends: record.build_depends,
                        };
                        return if is_in_place {
                            let follows = record.build_depends_rebuild;
                            Choice::InPlace { wanted, follows }
                        } else {
                            Choice::Install(wanted)
                        };
                    }
                    (true, false) => continue,
                    (false, _) => {}
                }
            } else if is_marked && tree.is_built(package, self.kernel) {
                // Built by another implementation: there is no record to compare with, so it stays.
                return Choice::Nothing;
            }
            if tree.require(package).is_err() {
                continue;
            }
            match evaluate(&tree.source_dir(package), &context) {
                Ok(conf) if conf.autoinstall => {
                    return Choice::Install(Wanted {
                        package: package.clone(),
                        depends: conf.build_depends,
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    self.session.screen.error(&error, error.hint());
                    return Choice::Broken;
                }
            }
        }
        Choice::Nothing
    }
}

/// The packages that this kernel uses through another kernel's build.
fn weakly_installed(session: &Session, kernel: &KernelId) -> BTreeSet<String> {
    let filter = Filter {
        release: Some(kernel.release.clone()),
        arch: Some(kernel.arch.clone()),
        ..Filter::default()
    };
    session
        .tree
        .weak_status(&filter)
        .into_iter()
        .map(|weak| weak.package.module)
        .collect()
}

/// Carries out the plans of all kernels wave by wave: first the packages without dependencies, on every kernel, and so on.
fn carry_out(session: &Session, lock: &TreeLock, plans: &[Plan]) -> Exit {
    let mut run = Run::new(session, lock);
    let (mut failed, mut built) = (BTreeSet::<(KernelId, String)>::new(), BTreeSet::new());
    let mut is_bad = plans.iter().any(|plan| plan.broken > 0);
    let mut without_headers = false;
    let waves = plans
        .iter()
        .map(|plan| plan.order.waves.len())
        .max()
        .unwrap_or_default();
    for wave in 0..waves {
        let mut jobs = Vec::new();
        for plan in plans {
            for package in plan.order.waves.get(wave).into_iter().flatten() {
                let depends = plan.depends.get(package).map(Vec::as_slice).unwrap_or_default();
                let failed_dependency = depends
                    .iter()
                    .find(|name| failed.contains(&(plan.kernel.clone(), (*name).clone())));
                match failed_dependency {
                    // The build that it depends on still exists.
                    Some(_) if plan.in_place.contains(package) => {}
                    Some(name) => {
                        let subject = package.subject(Some(&plan.kernel));
                        session.screen.complaint(
                            &format!("{subject}: not built, because {name} failed, which it needs"),
                            None,
                        );
                        failed.insert((plan.kernel.clone(), package.module.clone()));
                        is_bad = true;
                    }
                    None => jobs.push(Job {
                        package: package.clone(),
                        kernel: plan.kernel.clone(),
                        anew: plan.followers.contains(package)
                            && depends
                                .iter()
                                .any(|name| built.contains(&(plan.kernel.clone(), name.clone()))),
                        // `order` has checked that.
                        missing_depends: MissingDepends::Ignore,
                    }),
                }
            }
        }
        for done in run.build_and_install(&jobs) {
            // Excluded, or not newer than the kernel's own: skipped, and what depends on it finds the kernel's own or fails itself.
            let is_failure = !matches!(done.exit, Exit::OK | Exit::EXCLUDED | Exit::NOT_INSTALLABLE);
            let job = (done.job.kernel, done.job.package.module);
            if is_failure {
                failed.insert(job);
                match done.exit {
                    Exit::HEADERS => without_headers = true,
                    _ => is_bad = true,
                }
            } else if !done.was_current {
                built.insert(job);
            }
        }
    }
    for plan in plans {
        for (package, missing) in &plan.order.deferred {
            let subject = package.subject(Some(&plan.kernel));
            session.screen.say(&format!(
                "{subject}: left for later, dkms does not know {} yet",
                missing.join(", ")
            ));
        }
        for (package, missing) in &plan.order.impossible {
            let subject = package.subject(Some(&plan.kernel));
            let hint = missing.first().map(|name| format!("dkms status -m {name}"));
            session.screen.complaint(
                &format!("{subject}: needs {}, which is not installed", missing.join(", ")),
                hint,
            );
            is_bad = true;
        }
    }
    let exit = match (is_bad, without_headers) {
        (true, _) => Exit::AUTOINSTALL,
        (false, true) => Exit::HEADERS,
        (false, false) => Exit::OK,
    };
    exit.and(run.finish())
}
