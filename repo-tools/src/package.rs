//! From a source and what is known about it to the two documents that are staged.

use std::collections::{BTreeMap, BTreeSet};

use dkms_engine::conf::DkmsConf;
use dkms_index::document::manifest::{self, Manifest, Module};
use dkms_index::document::record::{BuildFact, PackageRecord, Status};
use dkms_index::document::{BundleRef, Recipe};
use dkms_index::modalias::VendorId;
use dkms_index::pattern::Pattern;

use crate::ingest::Origin;
use crate::publish::state::Published;
use crate::repository::Repository;
use crate::roles;
use crate::stage::StagedPackage;

/// Alias patterns by module name.
pub type Aliases = BTreeMap<String, BTreeSet<String>>;

/// A package that was just taken in and not yet built: its patterns are declared ones only.
///
/// The conditions on kernels stay out of the recipe: a `dkms.conf` may compute them from the kernel it is read for, and
/// there is none yet. [`crate::scan`] adds what all kernels agree on.
pub fn added(
    conf: &DkmsConf,
    origin: &Origin,
    bundle: BundleRef,
    declared: &Aliases,
    vendors: &Vendors,
) -> StagedPackage {
    let version = origin.version.clone().unwrap_or_else(|| conf.package_version.clone());
    let modules = module_names(conf)
        .into_iter()
        .map(|name| Module {
            aliases: Vec::new(),
            declared: sorted(declared.get(&name)),
            other_aliases: Vec::new(),
            name: installed_name(std::slice::from_ref(conf), &name),
        })
        .collect();
    let manifest = Manifest {
        schema: manifest::SCHEMA,
        name: conf.package_name.clone(),
        dkms_version: (version != conf.package_version).then(|| conf.package_version.clone()),
        version,
        scope: String::new(),
        summary: origin.summary.clone(),
        license: origin.license.clone(),
        homepage: origin.homepage.clone(),
        bundle,
        modules,
        recipe: Recipe {
            build_depends: conf.build_depends.clone(),
            root_scripts: root_scripts(conf),
            ..Recipe::default()
        },
        upstream_since: conf.obsolete_by.clone(),
        firmware: Vec::new(),
        conflicts: Vec::new(),
        oem_sets: Vec::new(),
    };
    staged(manifest, Vec::new(), None, vendors)
}

/// Completes a manifest with its scope and derives the index record from it; `before` keeps what only a record says.
pub fn staged(
    mut manifest: Manifest,
    mut builds: Vec<BuildFact>,
    before: Option<PackageRecord>,
    vendors: &Vendors,
) -> StagedPackage {
    manifest.scope = vendors.scope(claims(&manifest));
    builds.sort_by(|a, b| (&a.kernel, &a.arch, &a.compiler).cmp(&(&b.kernel, &b.arch, &b.compiler)));
    let patterns: BTreeSet<&str> = manifest.patterns().collect();
    let (rollout, status) = before.map_or((None, Status::default()), |record| (record.rollout, record.status));
    let record = PackageRecord {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        dkms_version: manifest.dkms_version.clone(),
        manifest: manifest.target_path(),
        summary: manifest.summary.clone(),
        bundle: manifest.bundle.clone(),
        modules: manifest.modules.iter().map(|module| module.name.clone()).collect(),
        patterns: patterns.into_iter().map(str::to_owned).collect(),
        recipe: manifest.recipe.clone(),
        upstream_since: manifest.upstream_since.clone(),
        conflicts: manifest.conflicts.clone(),
        oem_sets: manifest.oem_sets.clone(),
        builds,
        rollout,
        status,
    };
    StagedPackage { manifest, record }
}

/// The vendors' directories that a role is delegated to.
#[derive(Debug, Clone, Default)]
pub struct Vendors(BTreeSet<String>);

impl Vendors {
    /// Those that a repository has delegated. One that was never published has none.
    pub fn of(repository: &Repository) -> Self {
        let delegations = Published::delegations_of(&repository.public_dir());
        let paths = delegations
            .unwrap_or_default()
            .roles
            .into_iter()
            .flat_map(|role| role.paths);
        Self(
            paths
                .filter_map(|path| path.strip_suffix("/*").map(str::to_owned))
                .collect(),
        )
    }

    /// These: `by-id/<bus>-<vendor>`.
    pub fn these<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        Self(scopes.into_iter().map(str::to_owned).collect())
    }

    /// The directory of a manifest with these patterns: the vendor's, when every one of them spells out the same bus and
    /// vendor and that vendor has a role, else the curated one.
    pub fn scope<'a>(&self, patterns: impl Iterator<Item = &'a str>) -> String {
        let vendors: Option<BTreeSet<VendorId>> = patterns
            .map(|pattern| Pattern::parse(pattern).ok().and_then(|parsed| parsed.vendor_id()))
            .collect();
        match vendors.iter().flatten().collect::<Vec<_>>().as_slice() {
            [only] => {
                let scope = roles::scope_of_vendor(**only);
                if self.0.contains(&scope) {
                    scope
                } else {
                    CURATED.to_owned()
                }
            }
            _ => CURATED.to_owned(),
        }
    }
}

/// The directory of manifests that no vendor's role signs.
const CURATED: &str = "curated";

/// All alias patterns of a manifest, built and declared. A client checks that all of them belong to the directory's vendor.
fn claims(manifest: &Manifest) -> impl Iterator<Item = &str> {
    let modules = manifest.modules.iter();
    modules
        .flat_map(|m| m.aliases.iter().chain(&m.declared).chain(&m.other_aliases))
        .map(String::as_str)
}

/// The names of the modules as the kernel will know them, if the build does not show others.
pub fn module_names(conf: &DkmsConf) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for module in &conf.modules {
        let name = module.built_name.replace('-', "_");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The name under which the built module `built` is installed: DEST_MODULE_NAME, by which it is loaded too.
pub fn installed_name(confs: &[DkmsConf], built: &str) -> String {
    let in_kernel = |name: &str| name.replace('-', "_");
    let mut modules = confs.iter().flat_map(|conf| &conf.modules);
    modules
        .find(|module| in_kernel(&module.built_name) == in_kernel(built))
        .map_or_else(|| built.to_owned(), |module| in_kernel(&module.dest_name))
}

/// What all evaluations of one `dkms.conf`, each for another kernel, agree on.
pub fn recipe(confs: &[DkmsConf]) -> Recipe {
    let Some(first) = confs.first() else {
        return Recipe::default();
    };
    let agreed = |value: fn(&DkmsConf) -> &str| {
        let found = value(first);
        (!found.is_empty() && confs.iter().all(|conf| value(conf) == found)).then(|| found.to_owned())
    };
    let config = &first.exclusive.config;
    let same_config = confs.iter().all(|conf| conf.exclusive.config == *config);
    Recipe {
        kernel_min: agreed(|conf| &conf.exclusive.kernel_min),
        kernel_max: agreed(|conf| &conf.exclusive.kernel_max),
        kernel_regex: agreed(|conf| &conf.exclusive.kernel),
        arch_regex: agreed(|conf| &conf.exclusive.arch),
        config: if same_config { config.clone() } else { Vec::new() },
        // A machine refuses what is not listed here, so the values for all kernels are listed.
        build_depends: confs
            .iter()
            .flat_map(|conf| &conf.build_depends)
            .fold(Vec::new(), |mut all, name| {
                if !all.contains(name) {
                    all.push(name.clone());
                }
                all
            }),
        root_scripts: confs
            .iter()
            .flat_map(root_scripts)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
    }
}

/// The directives whose scripts run as root. Those around the build run in its sandbox.
fn root_scripts(conf: &DkmsConf) -> Vec<String> {
    let scripts = &conf.scripts;
    [
        ("post_add", &scripts.post_add),
        ("pre_install", &scripts.pre_install),
        ("post_install", &scripts.post_install),
        ("post_remove", &scripts.post_remove),
    ]
    .into_iter()
    .filter(|(_, script)| script.is_some())
    .map(|(name, _)| name.to_owned())
    .collect()
}

/// The aliases of a module that a device can match.
pub fn device_patterns<'a>(aliases: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let devices = aliases.into_iter().filter(|alias| alias.contains(':'));
    devices.map(str::to_owned).collect()
}

/// The other ones, without a colon: they name file systems, character devices and such.
pub fn other_aliases<'a>(aliases: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let others = aliases.into_iter().filter(|alias| !alias.contains(':'));
    others.map(str::to_owned).collect()
}

pub(crate) fn sorted(patterns: Option<&BTreeSet<String>>) -> Vec<String> {
    patterns.into_iter().flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::Vendors;

    #[test]
    fn a_vendors_directory_holds_that_vendor_only() {
        fn check(patterns: &[&str], expected: &str) {
            let vendors = Vendors::these(["by-id/pci-1172"]);
            assert_eq!(vendors.scope(patterns.iter().copied()), expected, "{patterns:?}");
        }
        check(&["pci:v00001172d00000004sv*sd*bc*sc*i*"], "by-id/pci-1172");
        check(
            &[
                "pci:v00001172d00000004sv*sd*bc*sc*i*",
                "pci:v00001172d00000005sv*sd*bc*sc*i*",
            ],
            "by-id/pci-1172",
        );
        check(
            &[
                "pci:v00001172d00000004sv*sd*bc*sc*i*",
                "pci:v000010ECd00000005sv*sd*bc*sc*i*",
            ],
            "curated",
        );
        check(
            &[
                "pci:v00001172d00000004sv*sd*bc*sc*i*",
                "usb:v1172p*d*dc*dsc*dp*ic*isc*ip*in*",
            ],
            "curated",
        );
        check(&["pci:v*d*sv*sd*bc02sc80i*"], "curated");
        check(&["pci:v000010ECd00000005sv*sd*bc*sc*i*"], "curated");
        check(&["i2c:ddcci"], "curated");
        check(&[], "curated");
    }
}
