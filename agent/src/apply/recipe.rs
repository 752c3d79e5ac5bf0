//! Whether a package's dkms.conf, evaluated on this machine, says what its signed manifest says. A dkms.conf is a program: its result
//! here can differ from that on the publisher's machine. Pure functions over values.

use std::collections::BTreeSet;

use dkms_engine::conf::DkmsConf;
use dkms_engine::ko::in_kernel;
use dkms_engine::script::ScriptKind;
use dkms_index::document::manifest::Manifest;

/// All that the conf says and the manifest does not, each as the end of a sentence that begins with "its dkms.conf".
///
/// A manifest holds what the conf says for any kernel, so the conf may say less for this one.
pub(super) fn disagreements(conf: &DkmsConf, manifest: &Manifest) -> Vec<String> {
    let mut found = Vec::new();
    if conf.package_name != manifest.name || conf.package_version != manifest.dkms_version() {
        found.push(format!("calls it {} {}", conf.package_name, conf.package_version));
    }
    let allowed = root_scripts(&manifest.recipe.root_scripts);
    let scripts = ScriptKind::AS_ROOT
        .into_iter()
        .filter(|kind| kind.line(&conf.scripts).is_some() && !allowed.contains(kind));
    found.extend(scripts.map(|kind| format!("runs {} as root", kind.directive())));
    let needed = conf
        .build_depends
        .iter()
        .filter(|name| !manifest.recipe.build_depends.contains(name));
    found.extend(needed.map(|name| format!("needs {name}")));
    let module_names = conf.modules.iter().map(|module| module.dest_name.as_str());
    found.extend(unlisted(module_names, manifest).map(|name| format!("installs a module {name}")));
    found
}

/// The modules of these names that the manifest does not list. The kernel takes `-` for `_`.
pub(super) fn unlisted<'a>(names: impl Iterator<Item = &'a str>, manifest: &Manifest) -> impl Iterator<Item = &'a str> {
    let listed: BTreeSet<String> = manifest.modules.iter().map(|module| in_kernel(&module.name)).collect();
    names.filter(move |name| !listed.contains(&in_kernel(name)))
}

/// The scripts of these directives.
pub(super) fn root_scripts(directives: &[String]) -> BTreeSet<ScriptKind> {
    let kinds = directives.iter().filter_map(|name| ScriptKind::of_directive(name));
    kinds.collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    use dkms_engine::conf::{ConfContext, evaluate};
    use serde_json::json;

    /// A manifest of the package `edu` 1.0.
    pub(crate) fn manifest(scope: &str, modules: serde_json::Value, recipe: serde_json::Value) -> Manifest {
        serde_json::from_value(json!({
            "schema": 1, "name": "edu", "version": "1.0-2", "dkms_version": "1.0", "scope": scope,
            "bundle": {"sha256": "0".repeat(64), "length": 1, "format": "tar-zst"},
            "modules": modules, "recipe": recipe,
        }))
        .unwrap()
    }

    /// What a conf with these lines says that is not in the manifest.
    fn check(lines: &str, recipe: serde_json::Value, expected: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let conf = format!(
            "PACKAGE_NAME=edu\nPACKAGE_VERSION=1.0\nBUILT_MODULE_NAME[0]=edu-core\nDEST_MODULE_LOCATION[0]=/extra\n{lines}"
        );
        std::fs::write(dir.path().join("dkms.conf"), conf).unwrap();
        let conf = evaluate(dir.path(), &ConfContext::without_kernel("6.1.0", "x86_64")).unwrap();
        let manifest = manifest("curated", json!([{"name": "edu_core"}, {"name": "edu_more"}]), recipe);
        assert_eq!(disagreements(&conf, &manifest), expected, "{lines}");
    }

    #[test]
    fn what_the_manifest_does_not_list_is_found() {
        let none = || json!({});
        check("", none(), &[]);
        check("PRE_BUILD=x\nPOST_BUILD=x\n", none(), &[]);
        check("POST_ADD='x y'\n", none(), &["runs POST_ADD as root"]);
        let listed = || json!({"root_scripts": ["post_add", "pre_install", "post_install", "post_remove"]});
        check(
            "POST_ADD=x\nPRE_INSTALL=x\nPOST_INSTALL=x\nPOST_REMOVE=x\n",
            listed(),
            &[],
        );
        check("", listed(), &[]);
        check(
            "PRE_INSTALL=x\nPOST_REMOVE=x\n",
            json!({"root_scripts": ["pre_install"]}),
            &["runs POST_REMOVE as root"],
        );
        check("BUILD_DEPENDS=a\n", json!({"build_depends": ["a", "b"]}), &[]);
        check("BUILD_DEPENDS='a c'\n", json!({"build_depends": ["a"]}), &["needs c"]);
        check("DEST_MODULE_NAME[0]=e1000e\n", none(), &["installs a module e1000e"]);
        check("DEST_MODULE_NAME[0]=edu-more\n", none(), &[]);
        check("PACKAGE_VERSION=2.0\n", none(), &["calls it edu 2.0"]);
    }
}
