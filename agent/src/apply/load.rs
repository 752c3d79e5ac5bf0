//! Loads installed modules into the running kernel, and checks that their devices are bound then.

use std::fs;
use std::time::{Duration, Instant};

use dkms_engine::install::Session as InstallSession;
use dkms_engine::ko::{ModuleInfo, in_kernel};
use dkms_engine::package::{DkmsId, KernelId};
use dkms_support::chain;

use super::load_failure::{Consequence, LoadFailure};
use super::module_view::ModuleView;
use super::{Attempt, Cause, End, Failure, Loader, PendingStep, Worker, trial};
use crate::candidate::Rules;
use crate::device::{Binding, Device};
use crate::report::progress::ProgressEvent;
use crate::state::StateError;
use crate::survey::{Machine, Survey, installed_packages};

const BIND_POLL: Duration = Duration::from_millis(50);

/// When a package is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// depmod has not run since it was installed: modprobe works in a [`ModuleView`].
    BeforeDepmod,
    /// modprobe finds it where it is installed.
    AfterDepmod,
}

/// The result of loading a package.
enum Loaded {
    /// Loaded, and every device it is for is bound.
    Bound,
    /// It waits for something that only a person or a reboot can do.
    Pending(PendingStep),
    /// It is tried again after depmod.
    Later,
    /// Loaded; the device it is for is not there any more.
    Unplugged,
    /// It cannot be loaded, or does not bind.
    Failed(Failure),
}

impl Worker<'_> {
    /// Loads a package that was installed. One that does not bind is uninstalled and put in quarantine, so that the next candidate can
    /// be tried. One that cannot be loaded before depmod stays as it is until [`Worker::load_rest`].
    pub(super) fn load(
        &self,
        machine: &Machine<'_>,
        survey: &Survey,
        rules: &mut Rules,
        session: &mut InstallSession<'_>,
        attempt: &mut Attempt,
        when: When,
    ) -> Result<(), StateError> {
        if !attempt.is_installed() {
            return Ok(());
        }
        let view = match when {
            When::AfterDepmod => None,
            When::BeforeDepmod => match self.view(survey, attempt) {
                Some(view) => Some(view),
                None => return Ok(()),
            },
        };
        let loader = self.loader.within(view.as_ref());
        let outcome = match self.mark_first_load(survey, attempt) {
            Ok(()) => self.load_one(machine, survey, attempt, &loader),
            Err(failure) => Loaded::Failed(failure),
        };
        let End::Installed { loaded, pending, .. } = &mut attempt.end else {
            return Ok(());
        };
        match outcome {
            Loaded::Bound => {
                *loaded = true;
                self.records.note_bound(&attempt.tree_name, &survey.kernel.release)?;
            }
            Loaded::Unplugged => {
                *loaded = true;
                self.reporter.report(ProgressEvent::Warning {
                    text: format!("{} is loaded, and its device was unplugged meanwhile", attempt.offer.id),
                    hint: None,
                });
            }
            Loaded::Later => {}
            Loaded::Pending(step) => {
                self.reporter.report(ProgressEvent::Warning {
                    text: format!("{} is installed and not in use yet: {}", attempt.offer.id, step.reason),
                    hint: step.hint.clone(),
                });
                *pending = Some(step);
            }
            Loaded::Failed(failure) => {
                self.uninstall(attempt, survey, session, &loader, &failure.reason)?;
                attempt.end = End::Failed(failure);
                self.remember(attempt, survey, rules)?;
            }
        }
        if matches!(attempt.end, End::Installed { loaded: true, .. }) {
            let noted = trial::loaded(self.tree.root(), &survey.kernel.release, &attempt.tree_name);
            self.warn_about_trial(noted);
        }
        self.end_first_load(survey, attempt)
    }

    /// What modprobe needs to load a package before depmod; none where it has to wait.
    fn view(&self, survey: &Survey, attempt: &Attempt) -> Option<ModuleView> {
        let kernel = KernelId::new(&survey.kernel.release, &survey.kernel.arch)?;
        // A failure costs only time: the package is loaded after depmod.
        ModuleView::of(self.tree, &attempt.tree_id()?, &kernel).ok().flatten()
    }

    /// Loads what could not be loaded before depmod. Returns whether one failed, so that the next candidate can be tried.
    pub(super) fn load_rest(
        &self,
        machine: &Machine<'_>,
        survey: &mut Survey,
        rules: &mut Rules,
        session: &mut InstallSession<'_>,
        attempts: &mut [Attempt],
    ) -> Result<bool, StateError> {
        let waits = |attempt: &&mut Attempt| {
            let End::Installed { loaded, pending, .. } = &attempt.end else {
                return false;
            };
            !loaded && pending.is_none()
        };
        let mut any_failed = false;
        for attempt in attempts.iter_mut().filter(waits) {
            self.load(machine, survey, rules, session, attempt, When::AfterDepmod)?;
            any_failed |= !attempt.is_installed();
        }
        if any_failed {
            survey.installed = installed_packages(self.tree, &survey.kernel, &self.records.installed()?);
        }
        Ok(any_failed)
    }

    fn load_one(&self, machine: &Machine<'_>, survey: &Survey, attempt: &Attempt, loader: &Loader) -> Loaded {
        let serves = &attempt.serves;
        for module in &attempt.offer.record.modules {
            if self.is_other_build(machine, survey, attempt, module) && !self.unload_other_build(machine, module) {
                return Loaded::Pending(uses_another_build(module));
            }
            self.reporter.report(ProgressEvent::Loading { module: module.clone() });
            if let Err(message) = loader.load(module) {
                return match LoadFailure::of(&message) {
                    // depmod knows more than the view: it may be the view's fault.
                    LoadFailure::Symbols | LoadFailure::NotFound if loader.is_within_view() => Loaded::Later,
                    _ if !serves.is_empty() && serves.iter().all(|&n| !is_there(machine, n)) => {
                        let reason = format!("its device was unplugged while {module} was loaded");
                        Loaded::Failed(Failure::of(Cause::Machine, reason))
                    }
                    load_failure => self.load_failed(machine, survey, module, &load_failure),
                };
            }
        }
        let unbound = |n: &&usize| machine.devices[**n].binding != Binding::NeverBinds && !is_served(machine, **n);
        let deadline = Instant::now() + self.loader.patience;
        loop {
            let Some(&missing) = serves.iter().find(unbound) else {
                return Loaded::Bound;
            };
            if serves.iter().filter(unbound).all(|&n| !is_there(machine, n)) {
                return Loaded::Unplugged;
            }
            if Instant::now() >= deadline {
                let device = machine.devices[missing].title();
                let reason = format!("it was loaded and did not bind to {device}");
                return Loaded::Failed(Failure::of(Cause::Package, reason));
            }
            std::thread::sleep(BIND_POLL);
        }
    }

    /// What follows when the kernel does not load a module.
    fn load_failed(&self, machine: &Machine<'_>, survey: &Survey, module: &str, load_failure: &LoadFailure) -> Loaded {
        let reason = load_failure.reason(module);
        let hint = match load_failure.hint(module, &survey.kernel.release) {
            Some(hint) => hint,
            None => self.enrolment(machine, survey),
        };
        let cause = match load_failure.consequence() {
            Consequence::Pending => {
                return Loaded::Pending(PendingStep {
                    reason,
                    hint: Some(hint),
                });
            }
            Consequence::FailsPackage => Cause::Package,
            Consequence::FailsMachine => Cause::Machine,
        };
        Loaded::Failed(Failure {
            hint: Some(hint),
            ..Failure::of(cause, reason)
        })
    }

    /// What a package that was installed by name waits for: the kernel runs another build of one of its modules. With `reload` that is
    /// replaced where nothing uses it.
    ///
    /// # Errors
    /// When the mark of the first load cannot be removed.
    pub fn pending_update(
        &self,
        machine: &Machine<'_>,
        survey: &Survey,
        attempt: &Attempt,
        reload: bool,
    ) -> Result<Option<PendingStep>, StateError> {
        let modules = &attempt.offer.record.modules;
        let is_old = |module: &&String| self.is_other_build(machine, survey, attempt, module);
        let old: Vec<&String> = modules.iter().filter(is_old).collect();
        if old.is_empty() {
            return Ok(None);
        }
        let replaced = reload && self.reload(survey, attempt, &old)?;
        Ok((!replaced).then(|| PendingStep {
            reason: format!("the running kernel uses the old build of {}", old[0]),
            hint: Some(if reload {
                format!("{} is in use: systemctl reboot", old[0])
            } else {
                format!(
                    "systemctl reboot, or dkms-fetch install --reload {}",
                    attempt.offer.id.name
                )
            }),
        }))
    }

    /// Replaces modules that are loaded by the builds that are installed now, which were never loaded: with the mark of a first load.
    fn reload(&self, survey: &Survey, attempt: &Attempt, modules: &[&String]) -> Result<bool, StateError> {
        if let Err(failure) = self.mark_first_load(survey, attempt) {
            self.reporter.report(ProgressEvent::Warning {
                text: failure.reason,
                hint: failure.hint,
            });
            return Ok(false);
        }
        let is_replaced = modules.iter().rev().all(|module| self.loader.unload(module).is_ok())
            && modules.iter().all(|module| self.loader.load(module).is_ok());
        if is_replaced {
            let noted = trial::loaded(self.tree.root(), &survey.kernel.release, &attempt.tree_name);
            self.warn_about_trial(noted);
        }
        self.end_first_load(survey, attempt)?;
        Ok(is_replaced)
    }

    /// Unloads another build of a module, unless a device is bound to it; returns whether it is unloaded.
    fn unload_other_build(&self, machine: &Machine<'_>, module: &str) -> bool {
        let name = in_kernel(module);
        let is_served =
            |device: &Device| matches!(&device.binding, Binding::Bound { module: Some(m), .. } if *m == name);
        !machine.devices.iter().any(is_served) && self.loader.unload(module).is_ok()
    }

    /// Whether the kernel has loaded another build of a module than the one that is installed: modprobe would do nothing then.
    fn is_other_build(&self, machine: &Machine<'_>, survey: &Survey, attempt: &Attempt, module: &str) -> bool {
        let package = attempt.tree_id();
        package.is_some_and(|package| self.runs_other_build(machine, survey, &package, module))
    }

    pub(super) fn runs_other_build(
        &self,
        machine: &Machine<'_>,
        survey: &Survey,
        package: &DkmsId,
        module: &str,
    ) -> bool {
        let name = in_kernel(module);
        let path = machine.host.root.join(format!("/sys/module/{name}/srcversion"));
        let kernel = KernelId::new(&survey.kernel.release, &survey.kernel.arch);
        let (Ok(loaded), Some(kernel)) = (fs::read_to_string(path), kernel) else {
            return false;
        };
        let modules = self.tree.recorded_modules(package, &kernel);
        let installed = modules
            .iter()
            .filter(|recorded| in_kernel(&recorded.name) == name)
            .find_map(|recorded| {
                ModuleInfo::read(&self.tree.installed_file(recorded, &kernel)?)
                    .ok()?
                    .srcversion
            });
        installed.is_some_and(|installed| installed != loaded.trim())
    }

    /// Removes a package that does not work from this kernel. Its build goes too, because `dkms autoinstall` would install it again, and
    /// its source where no other kernel uses it.
    fn uninstall(
        &self,
        attempt: &Attempt,
        survey: &Survey,
        session: &mut InstallSession<'_>,
        loader: &Loader,
        why: &str,
    ) -> Result<(), StateError> {
        let kernel = KernelId::new(&survey.kernel.release, &survey.kernel.arch);
        if let (Some(package), Some(kernel)) = (attempt.tree_id(), kernel) {
            for module in attempt.offer.record.modules.iter().rev() {
                // A module that is in use stays loaded until the next boot.
                let _ = loader.unload(module);
            }
            if let Err(error) = self.remove(session, &package, std::slice::from_ref(&kernel), why) {
                self.reporter.report(ProgressEvent::Warning {
                    text: chain(&error),
                    hint: error.hint(),
                });
            }
        }
        self.records.note_removed(&attempt.tree_name, &survey.kernel.release)?;
        Ok(())
    }
}

/// Whether a device is still there.
fn is_there(machine: &Machine<'_>, device: usize) -> bool {
    let path = &machine.devices[device].path;
    machine.host.root.join(format!("/sys{path}")).exists()
}

/// Whether a driver is bound to a device now.
pub(super) fn is_served(machine: &Machine<'_>, device: usize) -> bool {
    let path = &machine.devices[device].path;
    let syspath = machine.host.root.join(format!("/sys{path}"));
    syspath.join("driver").exists() || syspath.join("physical_node/driver").exists()
}

/// What a package waits for while the kernel uses another build of its module.
pub(super) fn uses_another_build(module: &str) -> PendingStep {
    PendingStep {
        reason: format!("the running kernel uses another build of {module}"),
        hint: Some("systemctl reboot".to_owned()),
    }
}
