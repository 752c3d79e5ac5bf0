//! `check-kernel`: which devices that work now will have no driver under another kernel. To be asked before a reboot.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use crate::candidate::OfferId;
use crate::device::{Binding, Device};
use crate::exit::Exit;
use crate::report::Document;
use crate::report::progress::{print_json, print_text};
use crate::state::records::Records;
use crate::survey::Machine;
use crate::verdict::Verdict;

/// A device that loses its driver.
#[derive(Serialize)]
struct Lost {
    path: String,
    title: String,
    /// What drives it under the kernel that has a driver.
    driver: String,
    /// The kernel that has a driver.
    works_with: String,
    /// A package that can be installed for the kernel that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<OfferId>,
}

impl Lost {
    fn sentence(&self, release: &str) -> String {
        let Self {
            title,
            driver,
            works_with,
            ..
        } = self;
        let way_out = match &self.available {
            Some(package) => format!("`dkms-fetch --auto --kernel {release}` installs {package}"),
            None => format!("keep booting {works_with}"),
        };
        format!("kernel {release} has no driver for {title} ({driver}); {way_out}")
    }
}

pub(super) fn run(context: &Context, release: &str) -> Result<Exit, Failure> {
    let known = &context.host.releases;
    let unknown = || Failure::UnknownKernel {
        release: release.to_owned(),
        dir: context.root().join("/lib/modules"),
        known: known.clone(),
    };
    if !known.iter().any(|one| one == release) {
        return Err(unknown());
    }
    let (devices, here) = context.devices()?;
    let index = context.any_index();
    let records = Records::open_to_read(&context.paths)?;
    let rules = context.rules(&index, &records)?;
    let installed = records.installed()?;
    let tree = context.tree()?;
    // All kernels are looked at in the same way, as if none were running.
    let machine = Machine::look_up(&context.host, &devices, false, &context.config.repositories, &index)?;
    let survey = machine.survey(release, &tree, &installed)?;
    if !survey.has_modules {
        return Err(unknown());
    }
    let plan = machine.plan(&survey, &rules);
    let mut lost: BTreeMap<usize, Lost> = BTreeMap::new();
    for other in others(context, release) {
        let before = machine.plan(&machine.survey(other, &tree, &installed)?, &rules);
        let verdicts = before.decisions.iter().zip(&plan.decisions);
        for (n, (device, (before, after))) in devices.iter().zip(verdicts).enumerate() {
            if works(device, here) && before.verdict.is_served() && !after.verdict.is_served() {
                lost.entry(n).or_insert_with(|| Lost {
                    path: device.path.clone(),
                    title: device.title(),
                    driver: before.verdict.detail(),
                    works_with: other.clone(),
                    available: match &after.verdict {
                        Verdict::Installable { package } => Some(package.clone()),
                        _ => None,
                    },
                });
            }
        }
    }
    let exit = if lost.is_empty() {
        Exit::Converged
    } else {
        Exit::Unserved
    };
    if context.options.json {
        let body = json!({ "kernel": release, "lost": lost.into_values().collect::<Vec<_>>() });
        print_json(&Document::new("check-kernel", exit, body));
        return Ok(exit);
    }
    // A device can have several interfaces, and a machine several equal devices.
    let sentences: BTreeSet<String> = lost.values().map(|lost| lost.sentence(release)).collect();
    sentences.iter().for_each(print_text);
    if sentences.is_empty() {
        print_text(format_args!(
            "kernel {release} has a driver for every device that has one now"
        ));
    }
    Ok(exit)
}

/// The kernels to compare with: the running one; where none runs or that is the one asked about, each other one, the newest first.
fn others<'c>(context: &'c Context, release: &str) -> Vec<&'c String> {
    match &context.host.running {
        Some(running) if running != release => vec![running],
        _ => context
            .host
            .releases
            .iter()
            .rev()
            .filter(|one| *one != release)
            .collect(),
    }
}

/// Processors. Their driver is built in; modules that claim them set frequencies, and a kernel can do that without a module.
const PROCESSORS: [&str; 2] = ["acpi:ACPI0007:", "acpi:LNXCPU:"];

/// Whether the device has a driver of its own now, as far as that is known: of a machine that is not here it is not.
fn works(device: &Device, here: bool) -> bool {
    let mut names = device.modaliases.iter().map(ToString::to_string);
    if names.any(|name| PROCESSORS.iter().any(|processor| name.starts_with(processor))) {
        return false;
    }
    match device.binding {
        Binding::NeverBinds => false,
        Binding::Bound { .. } => true,
        Binding::Unbound | Binding::Unknown => !here,
    }
}
