//! Loading what was installed into the running kernel, and looking whether the devices are bound then.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dkms_engine::install::{InstallOptions, Session as InstallSession};
use dkms_engine::package::KernelId;

use super::{Attempt, End, Fault, Setback, Worker, tree_id};
use crate::candidate::Rules;
use crate::device::Binding;
use crate::report::progress::Happening;
use crate::state::StateError;
use crate::survey::{Machine, Survey, standing};

/// How long a driver may take to bind after its module is loaded.
const BIND_TIMEOUT: Duration = Duration::from_secs(5);
const BIND_POLL: Duration = Duration::from_millis(50);

/// What came of loading.
enum Loaded {
    /// Loaded, and every device it is for is bound.
    Bound,
    /// It waits for something that only a person or a reboot can do.
    Pending(String),
    /// It does no good here.
    Useless(String),
}

impl Worker<'_> {
    /// Loads every package that was installed. One that does not bind is taken away again and put in quarantine; the next
    /// run gives the next candidate its turn.
    pub(super) fn load(
        &self,
        machine: &Machine<'_>,
        survey: &mut Survey,
        rules: &mut Rules,
        attempts: &mut [Attempt],
    ) -> Result<(), StateError> {
        let mut useless = false;
        for attempt in attempts.iter_mut() {
            let End::Installed { loaded, pending, .. } = &mut attempt.end else {
                continue;
            };
            match self.load_one(machine, &attempt.offer.record.modules, &attempt.serves) {
                Loaded::Bound => *loaded = true,
                Loaded::Pending(why) => *pending = Some(why),
                Loaded::Useless(reason) => {
                    useless = true;
                    let setback = Setback::of(Fault::Package, reason);
                    self.take_back(attempt, survey)?;
                    attempt.end = End::Failed(setback);
                    self.remember(attempt, survey, rules)?;
                }
            }
        }
        if useless {
            survey.standing = standing(self.tree, &survey.kernel, &self.records.installed()?);
        }
        Ok(())
    }

    fn load_one(&self, machine: &Machine<'_>, modules: &[String], serves: &[usize]) -> Loaded {
        for module in modules {
            self.reporter.tell(Happening::Loading { module: module.clone() });
            if let Err(said) = modprobe(module) {
                let refused = said.contains("Key was rejected") || said.contains("Required key not available");
                return if refused && machine.host.signatures.required() {
                    Loaded::Pending(format!(
                        "{module} is signed by a key that this machine does not know yet"
                    ))
                } else {
                    Loaded::Useless(format!("the kernel does not load {module}: {said}"))
                };
            }
        }
        let unbound = |n: &&usize| {
            let device = &machine.devices[**n];
            device.binding != Binding::NeverBinds && !is_bound(&machine.host.root.join(format!("/sys{}", device.path)))
        };
        let deadline = Instant::now() + BIND_TIMEOUT;
        loop {
            let Some(&missing) = serves.iter().find(unbound) else {
                return Loaded::Bound;
            };
            if Instant::now() >= deadline {
                let device = machine.devices[missing].title();
                return Loaded::Useless(format!("it was loaded and did not bind to {device}"));
            }
            std::thread::sleep(BIND_POLL);
        }
    }

    /// Uninstalls a package that does no good.
    fn take_back(&self, attempt: &Attempt, survey: &Survey) -> Result<(), StateError> {
        let kernel = KernelId::new(&survey.kernel.release, &survey.kernel.arch);
        if let (Some(package), Some(kernel)) = (tree_id(&attempt.offer), kernel) {
            for module in attempt.offer.record.modules.iter().rev() {
                // In use by something else: it stays until the next boot, which will not find it any more.
                let _ = run("modprobe", &["-r", "--", module]);
            }
            let options = InstallOptions {
                run_scripts: self.scripts_allowed,
                ..InstallOptions::default()
            };
            let mut session = InstallSession::new(self.tree, self.lock, options, self.reporter);
            let gone = session.uninstall(&package, &kernel).map_err(|e| e.to_string());
            let told = session
                .finish()
                .map_err(|errors| errors.iter().map(ToString::to_string).collect::<String>());
            for error in [gone.err(), told.err()].into_iter().flatten() {
                self.reporter.tell(Happening::Warning {
                    text: format!("failed to {error}"),
                    hint: None,
                });
            }
        }
        self.records
            .note_removed(&attempt.offer.id.name, &survey.kernel.release)?;
        Ok(())
    }
}

fn is_bound(syspath: &Path) -> bool {
    syspath.join("driver").exists() || syspath.join("physical_node/driver").exists()
}

/// Loads a module with what it needs.
fn modprobe(module: &str) -> Result<(), String> {
    run("modprobe", &["--", module])
}

/// Runs one of the kernel's own programs with nothing in its environment but where programs are.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said
        .lines()
        .last()
        .unwrap_or("no word of why")
        .trim()
        .chars()
        .take(300)
        .collect())
}
