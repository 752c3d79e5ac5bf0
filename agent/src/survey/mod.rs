//! The facts that a plan for one kernel is made from: each device with the packages that match it, what the kernel drives by
//! itself, and what is installed. They are read here, once; [`crate::plan`] decides, as often as needed.

mod built_in;
mod offers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dkms_engine::kernel::{KernelError, KernelOptions, KernelTarget};
use dkms_engine::ko::in_kernel;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::tree::{BuildRecord, Tree};
use dkms_index::modalias::Modalias;
use dkms_index::overrides::Overrides;
use dkms_index::pattern::Pattern;

use crate::candidate::{self, Facts, Offer, OfferId, Rules, TargetKernel};
use crate::config::Repository;
use crate::device::{self, Binding, Device};
use crate::host::Host;
use crate::intree::{Claims, InTree, InTreeError, KernelClaim};
use crate::plan::{self, Dependencies, InstalledPackage, Plan, Situation};
use crate::state::StateError;
use crate::state::index::Index;
use crate::state::records::InstallRecord;

pub use offers::Offers;

/// What is the same for every kernel of a machine.
pub struct Machine<'a> {
    /// The machine or image that is served.
    pub host: &'a Host,
    /// Its devices.
    pub devices: &'a [Device],
    /// Whether the devices are this machine's own, seen now.
    pub here: bool,
    /// The repositories, for their priorities.
    pub repositories: &'a [Repository],
    /// The packages that match each device, in the order of the devices.
    pub matches: Vec<Vec<(Arc<Offer>, Pattern)>>,
    /// Packages by name, for the build dependencies of others.
    pub dependencies: Dependencies,
    /// Aliases that are taken out.
    pub overrides: Overrides,
    /// The machine's own modalias.
    pub dmi: Option<Modalias>,
}

/// One kernel of a machine.
pub struct Survey {
    /// The target kernel, as the plan sees it.
    pub kernel: TargetKernel,
    /// The headers to build against; an error where there are none.
    pub target: Result<Arc<KernelTarget>, KernelError>,
    /// Whether this kernel runs here and now, so that what is bound counts and modules can be loaded.
    pub live: bool,
    /// Whether the kernel's own modules are there to be looked at.
    pub has_modules: bool,
    /// The modules for each device: the kernel's own, and those that were installed.
    pub claims: Vec<Claims>,
    /// What is installed for it.
    pub installed: Vec<InstalledPackage>,
    /// What is bound now, where that was looked at again: by the number of the device.
    pub bindings: BTreeMap<usize, Binding>,
}

impl Survey {
    /// Looks again which drivers are bound: modules were loaded and unloaded since.
    pub fn see_bindings(&mut self, machine: &Machine<'_>) {
        if !self.live {
            return;
        }
        for (n, device) in machine.devices.iter().enumerate() {
            if matches!(device.binding, Binding::NeverBinds | Binding::Unknown) {
                continue;
            }
            let syspath = machine.host.root.join(format!("/sys{}", device.path));
            self.bindings.insert(n, device::binding_at(&syspath));
        }
    }
}

impl<'a> Machine<'a> {
    /// Looks all devices up in the index.
    ///
    /// # Errors
    /// When the cached index is damaged.
    pub fn look_up(
        host: &'a Host,
        devices: &'a [Device],
        here: bool,
        repositories: &'a [Repository],
        index: &Index,
    ) -> Result<Self, StateError> {
        let overrides: Overrides = index.overrides()?.into_iter().collect();
        let mut offers = Offers::new(index, repositories);
        let mut matches = Vec::with_capacity(devices.len());
        for device in devices {
            matches.push(offers.matching(device, &overrides)?);
        }
        let dependencies = offers.dependencies(&matches)?;
        let dmi = device::dmi(devices).or(host.dmi.as_ref()).cloned();
        Ok(Self {
            host,
            devices,
            here,
            repositories,
            matches,
            dependencies,
            overrides,
            dmi,
        })
    }

    /// Looks at one kernel.
    ///
    /// # Errors
    /// When its own modules are there and cannot be read.
    pub fn survey(&self, release: &str, tree: &Tree, records: &[InstallRecord]) -> Result<Survey, InTreeError> {
        let root = &self.host.root;
        let target = KernelTarget::find(root, release, &KernelOptions::default()).map(Arc::new);
        let kernel = TargetKernel {
            release: release.to_owned(),
            arch: target
                .as_ref()
                .map_or_else(|_| self.host.arch.clone(), |target| target.arch.clone()),
            config: target.as_ref().ok().map(|target| target.config().clone()),
            compiler: target.as_ref().ok().and_then(|target| self.compiler_for(target)),
            own_modules: BTreeSet::new(),
            modules_in_use: BTreeMap::new(),
        };
        let in_tree = InTree::read(root, release)?;
        let mut claims = match &in_tree {
            Some(in_tree) => self.claims(in_tree),
            None => vec![Claims::default(); self.devices.len()],
        };
        let installed = installed_packages(tree, &kernel, records);
        let live = self.here && self.host.running.as_deref() == Some(release);
        if live {
            self.drop_claims_of_idle_modules(&mut claims);
        } else if let Some(in_tree) = &in_tree {
            self.add_built_in(release, in_tree, &mut claims);
        }
        let kernel = TargetKernel {
            own_modules: in_tree.as_ref().map(InTree::own_modules).unwrap_or_default(),
            modules_in_use: self.modules_in_use(live, &claims, &installed),
            ..kernel
        };
        Ok(Survey {
            kernel,
            target,
            live,
            has_modules: in_tree.is_some(),
            claims,
            installed,
            bindings: BTreeMap::new(),
        })
    }

    /// The compiler that modules for a kernel are built with, as the headers name it. It is asked itself only where that decides something:
    /// where trial builds by several compilers ended differently.
    fn compiler_for(&self, target: &KernelTarget) -> Option<String> {
        let named = target.config().get("CONFIG_CC_VERSION_TEXT").map(str::to_owned);
        let differ = |offer: &Offer| {
            let facts = offer.record.builds.iter();
            let mut outcomes = facts
                .filter(|fact| fact.kernel == target.release && fact.arch == target.arch)
                .map(|fact| fact.outcome);
            outcomes
                .next()
                .is_some_and(|first| outcomes.any(|other| other != first))
        };
        if self.matches.iter().flatten().any(|(offer, _)| differ(offer)) {
            return target.toolchain().present.clone().or(named);
        }
        named
    }

    /// Drops claims of modules that are loaded and not bound to the device: such a module does not drive it.
    fn drop_claims_of_idle_modules(&self, claims: &mut [Claims]) {
        let is_loaded = |module: &str| self.host.root.join(format!("/sys/module/{module}")).exists();
        let unbound = self.devices.iter().zip(claims);
        for (_, claims) in unbound.filter(|(device, _)| device.binding == Binding::Unbound) {
            claims.own.retain(|claim| !is_loaded(&claim.module));
        }
    }

    /// The modules that devices work with, each with one of the devices: those that are bound, or those that claim a device which is
    /// not here. A module that a package has put in place is not the kernel's.
    fn modules_in_use(
        &self,
        live: bool,
        claims: &[Claims],
        installed: &[InstalledPackage],
    ) -> BTreeMap<String, String> {
        let mut in_use = BTreeMap::new();
        for (device, claims) in self.devices.iter().zip(claims) {
            let modules: Vec<&str> = match &device.binding {
                Binding::Bound {
                    module: Some(module), ..
                } if live => vec![module],
                _ if live => Vec::new(),
                _ => claims.own.iter().map(|claim| claim.module.as_str()).collect(),
            };
            for module in modules {
                let module = in_kernel(module);
                if !installed.iter().any(|package| package.modules.contains(&module)) {
                    in_use.entry(module).or_insert_with(|| device.title());
                }
            }
        }
        in_use
    }

    /// The modules for each device, over all modaliases of the device.
    fn claims(&self, in_tree: &InTree) -> Vec<Claims> {
        let modaliases: Vec<&Modalias> = self.devices.iter().flat_map(|device| &device.modaliases).collect();
        let mut found = in_tree.claims(&modaliases).into_iter();
        let of_device = |device: &Device| {
            let mut all = Claims::default();
            for claims in found.by_ref().take(device.modaliases.len()) {
                all.own
                    .extend(claims.own.into_iter().filter(|claim| self.is_not_overridden(claim)));
                all.installed.extend(claims.installed);
            }
            all
        };
        self.devices.iter().map(of_device).collect()
    }

    fn is_not_overridden(&self, claim: &KernelClaim) -> bool {
        let pattern = Pattern::parse(&claim.pattern).ok();
        pattern.is_none_or(|pattern| self.overrides.of_module(&claim.module, &pattern).is_none())
    }

    /// Decides, by the rules as they are now.
    pub fn plan(&self, survey: &Survey, rules: &Rules) -> Plan {
        let facts = self.facts(survey, rules);
        let revoked = plan::find_revoked(&survey.installed, rules);
        let installed = revoked.after_removals(&survey.installed);
        let situations: Vec<Situation> = self
            .devices
            .iter()
            .zip(&self.matches)
            .zip(&survey.claims)
            .enumerate()
            .map(|(n, ((device, matches), claims))| {
                let binding = survey.bindings.get(&n).unwrap_or(&device.binding);
                let assessment = candidate::assess(matches, facts);
                let matching: Vec<&OfferId> = matches.iter().map(|(offer, _)| &offer.id).collect();
                let already_served =
                    plan::already_served(binding, survey.live, claims, &installed, &matching, &assessment);
                Situation {
                    already_served,
                    assessment,
                }
            })
            .collect();
        Plan {
            revoked,
            ..plan::plan(&situations, &self.dependencies, &installed, facts)
        }
    }

    /// The input of the functions that decide.
    pub fn facts<'b>(&'b self, survey: &'b Survey, rules: &'b Rules) -> Facts<'b> {
        Facts {
            kernel: &survey.kernel,
            machine: self.dmi.as_ref(),
            rules,
        }
    }
}

/// What the DKMS tree has installed for a kernel, with its repository where this program installed it.
pub fn installed_packages(tree: &Tree, kernel: &TargetKernel, records: &[InstallRecord]) -> Vec<InstalledPackage> {
    let Some(id) = KernelId::new(&kernel.release, &kernel.arch) else {
        return Vec::new();
    };
    let names: BTreeSet<String> = tree.packages().into_iter().map(|package| package.module).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let version = tree.installed_version(&name, &id)?;
            let package = DkmsId::new(&name, &version)?;
            let build = BuildRecord::read(&tree.built_dir(&package, &id));
            let modules = build.map_or_else(
                || vec![name.clone()],
                |r| r.modules.into_iter().map(|m| m.name).collect(),
            );
            let record = records
                .iter()
                .find(|i| i.package == name && i.dkms_version == version && i.kernel == kernel.release);
            Some(InstalledPackage {
                name: name.clone(),
                dkms_version: version,
                source: record.map(|i| OfferId {
                    name: i.name.clone(),
                    version: i.version.clone(),
                    repository: i.repository.clone(),
                    scope: i.scope.clone(),
                }),
                bundle_sha256: record.map(|i| i.bundle_sha256.clone()).unwrap_or_default(),
                modules: modules.into_iter().map(|m: String| in_kernel(&m)).collect(),
            })
        })
        .collect()
}
