//! What a package is allowed on this machine: which scripts may run as root, and what its built modules may claim. The
//! signed manifest lists both; the scripts must be allowed by the policy too.

use std::collections::BTreeSet;

use dkms_engine::conf::{ConfContext, evaluate};
use dkms_engine::excerpt;
use dkms_engine::install::InstallOptions;
use dkms_engine::ko::ModuleInfo;
use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::script::{ScriptConsent, ScriptKind};
use dkms_index::document::manifest::Manifest;
use dkms_support::chain;

use super::{Cause, Failure, Obtained, Worker, aliases, recipe};
use crate::candidate::OfferId;
use crate::config::Policy;
use crate::disk_full::is_disk_full;
use crate::report::progress::ProgressEvent;
use crate::state::records::{Entry, InstallRecord};

/// Installs without scripts, until they are allowed for one package after another.
pub(super) fn no_scripts_yet() -> InstallOptions {
    InstallOptions {
        scripts: ScriptConsent::Named(Default::default()),
        ..InstallOptions::default()
    }
}

/// The scripts of a package that may run as root: those that its manifest lists, where the policy names the package.
pub(super) fn scripts(name: &str, listed: &[String], policy: &Policy) -> BTreeSet<ScriptKind> {
    if policy.allows_root_scripts(name) {
        recipe::root_scripts(listed)
    } else {
        BTreeSet::new()
    }
}

/// The scripts that may run when a package is removed. One that root added by hand, without this program, may run all of its.
pub(super) fn scripts_at_removal(
    package: &DkmsId,
    installed: &[InstallRecord],
    policy: &Policy,
) -> BTreeSet<ScriptKind> {
    let is_this = |record: &&InstallRecord| record.package == package.module && record.dkms_version == package.version;
    let mut ours = installed.iter().filter(is_this).peekable();
    if ours.peek().is_none() {
        return ScriptKind::AS_ROOT.into_iter().collect();
    }
    ours.flat_map(|record| scripts(&record.name, &record.root_scripts, policy))
        .collect()
}

/// Refuses a source whose dkms.conf says on this machine what its manifest does not. The administrator's own override files are
/// left out.
pub(super) fn check_recipe(
    worker: &Worker<'_>,
    offer: &OfferId,
    package: &DkmsId,
    kernel: &KernelId,
    obtained: &Obtained,
) -> Result<(), Failure> {
    // Evaluated under its own name, also where another package has that name in the tree.
    let own = DkmsId {
        module: offer.name.clone(),
        ..package.clone()
    };
    let context = ConfContext {
        overrides_dir: "/dev/null".into(),
        ..worker.tree.context(&own, kernel)
    };
    let conf = evaluate(obtained.source.path(), &context).map_err(|error| {
        let cause = if is_disk_full(&error) {
            Cause::NoSpace
        } else {
            Cause::Package
        };
        Failure {
            excerpt: excerpt::of(&error),
            hint: error.hint(),
            ..Failure::of(cause, chain(&error))
        }
    })?;
    match recipe::disagreements(&conf, &obtained.manifest).as_slice() {
        [] => Ok(()),
        found => Err(refused(
            offer,
            format!(
                "its dkms.conf {}, which its signed manifest does not say",
                found.join(" and ")
            ),
        )),
    }
}

/// Refuses a build with modules or aliases that the role of the manifest may not sign. Those that it may sign and the manifest does
/// not list are reported, and recorded in the history.
pub(super) fn check_modules(
    worker: &Worker<'_>,
    offer: &OfferId,
    package: &DkmsId,
    kernel: &KernelId,
    manifest: &Manifest,
) -> Result<(), Failure> {
    let modules = worker.tree.recorded_modules(package, kernel);
    let names = modules.iter().map(|module| module.name.as_str());
    if let Some(name) = recipe::unlisted(names, manifest).next() {
        let reason = format!("its build made a module {name}, which its signed manifest does not list");
        return Err(refused(offer, reason));
    }
    let mut infos = Vec::new();
    for module in &modules {
        let path = worker.tree.built_dir(package, kernel).join("module").join(&module.file);
        let info = ModuleInfo::read(&path).map_err(|error| Failure {
            hint: error.hint(),
            ..Failure::of(Cause::Machine, chain(&error))
        })?;
        infos.push((module.name.as_str(), info));
    }
    let built = infos
        .iter()
        .flat_map(|(name, info)| info.aliases.iter().map(|alias| (*name, alias.as_str())));
    let found = aliases::unlisted(manifest, built);
    if let Some(first) = found.outside.first() {
        let reason = format!(
            "its module {} claims {}, which its signed manifest does not list and a role of {} may not sign",
            first.module,
            aliases::some_of(&found.outside),
            manifest.scope
        );
        return Err(refused(offer, reason));
    }
    if !found.within.is_empty() {
        report(worker, offer, kernel, &found);
    }
    Ok(())
}

/// The device tables of a source differ by kernel, and the publisher did not see those of this one.
fn report(worker: &Worker<'_>, offer: &OfferId, kernel: &KernelId, found: &aliases::Unlisted) {
    let text = format!(
        "built for {}, {offer} also claims {}, which its signed manifest does not list",
        kernel.release,
        aliases::some_of(&found.within)
    );
    let logged = worker.records.log(&Entry {
        at: worker.now,
        run: worker.run.clone(),
        action: "unlisted-aliases".to_owned(),
        package: offer.name.clone(),
        scope: offer.scope.clone(),
        version: offer.version.clone(),
        kernel: kernel.release.clone(),
        outcome: "allowed".to_owned(),
        detail: found
            .within
            .iter()
            .map(|alias| alias.text.as_str())
            .collect::<Vec<_>>()
            .join(" "),
    });
    let hint = format!(
        "tell the publisher of {}: dkms-repo scan --kernel {}",
        offer.repository, kernel.release
    );
    worker
        .reporter
        .report(ProgressEvent::Warning { text, hint: Some(hint) });
    if let Err(error) = logged {
        worker.reporter.report(ProgressEvent::Warning {
            text: chain(&error),
            hint: error.hint(),
        });
    }
}

/// The package is not what its manifest promises. Nothing of it is installed, and it is put in quarantine.
pub(super) fn refused(offer: &OfferId, reason: String) -> Failure {
    Failure {
        hint: Some(format!(
            "tell the publisher of {}; nothing of it was installed; `dkms-fetch unhold {}` lifts its quarantine",
            offer.repository, offer.name
        )),
        ..Failure::of(Cause::Refused, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_run_where_manifest_and_policy_agree() {
        let policy = Policy {
            allow_root_scripts: vec!["ed*".to_owned()],
            ..Policy::default()
        };
        let check = |name: &str, listed: &[&str], expected: &[ScriptKind]| {
            let listed: Vec<String> = listed.iter().map(|&l| l.to_owned()).collect();
            let found: Vec<ScriptKind> = scripts(name, &listed, &policy).into_iter().collect();
            assert_eq!(found, expected, "{name} {listed:?}");
        };
        check(
            "edu",
            &["post_add", "pre_install"],
            &[ScriptKind::PostAdd, ScriptKind::PreInstall],
        );
        check("edu", &[], &[]);
        check("edu", &["rm -rf /"], &[]);
        check("other", &["post_add"], &[]);
    }

    #[test]
    fn a_removal_runs_what_the_manifest_listed() {
        let policy = Policy {
            allow_root_scripts: vec!["edu".to_owned()],
            ..Policy::default()
        };
        let record = |package: &str| InstallRecord {
            package: package.to_owned(),
            name: package.to_owned(),
            scope: "curated".to_owned(),
            kernel: "6.1".to_owned(),
            version: "1.0-2".to_owned(),
            dkms_version: "1.0".to_owned(),
            repository: "r".to_owned(),
            bundle_sha256: String::new(),
            root_scripts: vec!["post_remove".to_owned()],
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let installed = [record("edu"), record("other")];
        let check = |name: &str, version: &str, expected: &[ScriptKind]| {
            let package = DkmsId::new(name, version).unwrap();
            let found: Vec<ScriptKind> = scripts_at_removal(&package, &installed, &policy).into_iter().collect();
            assert_eq!(found, expected, "{package}");
        };
        check("edu", "1.0", &[ScriptKind::PostRemove]);
        check("other", "1.0", &[]);
        check("by-hand", "1.0", &ScriptKind::AS_ROOT);
    }
}
