//! Devices that modules drive which are built into a kernel that does not run.
//!
//! A kernel lists the devices of its loadable modules only: aliases of device tables are made for these alone
//! (scripts/mod/file2alias.c; `modules.builtin.modinfo` has the aliases that a source names itself). So a module that is loadable in one kernel
//! and built into the next one seems to be gone there. What it drives is known from a kernel in which it is loadable, and from the devices
//! that it drives now.

use std::collections::BTreeSet;

use dkms_engine::ko::in_kernel;
use dkms_index::modalias::Modalias;

use super::Machine;
use crate::device::{Binding, Device};
use crate::intree::{Claims, InTree, KernelClaim};

/// How many other kernels are asked, the running one first, then the newest.
const KERNELS_MAX: usize = 3;

impl Machine<'_> {
    /// Adds to `claims` those of built-in modules of the kernel `release`, for devices that nothing of it claims.
    pub(super) fn add_built_in(&self, release: &str, in_tree: &InTree, claims: &mut [Claims]) {
        let built_in = in_tree.built_in_modules();
        for other in self.other_kernels(release) {
            let lacking: Vec<usize> = (0..claims.len()).filter(|&n| claims[n].own.is_empty()).collect();
            if lacking.is_empty() {
                return;
            }
            // One that cannot be read says nothing.
            let Ok(Some(other)) = InTree::read(&self.host.root, other) else {
                continue;
            };
            let modaliases: Vec<&Modalias> = lacking.iter().flat_map(|&n| &self.devices[n].modaliases).collect();
            let mut found = other.claims(&modaliases).into_iter();
            for n in lacking {
                let of_device = found.by_ref().take(self.devices[n].modaliases.len());
                let known = of_device.flat_map(|claims| claims.own);
                let known = known.filter(|claim| built_in.contains(&claim.module) && self.is_not_overridden(claim));
                claims[n].own.extend(known);
            }
        }
        if self.here {
            let lacking = self
                .devices
                .iter()
                .zip(claims)
                .filter(|(_, claims)| claims.own.is_empty());
            for (device, claims) in lacking {
                claims.own.extend(bound(device, &built_in));
            }
        }
    }

    fn other_kernels<'k>(&'k self, release: &str) -> impl Iterator<Item = &'k str> {
        let running = self.host.running.as_deref();
        let newest = self.host.releases.iter().rev().map(String::as_str);
        let newest = newest.filter(move |one| Some(*one) != running);
        running
            .into_iter()
            .chain(newest)
            .filter(move |one| *one != release)
            .take(KERNELS_MAX)
    }
}

/// The claim of the module that is bound to a device of this machine now, where the other kernel has it built in.
fn bound(device: &Device, built_in: &BTreeSet<String>) -> Option<KernelClaim> {
    let Binding::Bound { driver, module } = &device.binding else {
        return None;
    };
    // A driver that is built in may have no directory as a module: then it mostly has the module's name.
    let module = in_kernel(module.as_ref().unwrap_or(driver));
    built_in.contains(&module).then(|| KernelClaim {
        module,
        pattern: device.modaliases.first().map(ToString::to_string).unwrap_or_default(),
    })
}
