//! What Debian's dkms makes of a dkms.conf: its own functions, run without its main program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use dkms_engine::conf::{ConfContext, evaluate};
use dkms_engine::kernel::{KernelOptions, KernelTarget};
use dkms_engine::root::Root;

use crate::inputs;

/// Name and index → value, such as `built_module_name[0]`.
pub type Values = BTreeMap<String, String>;

/// Arguments: the conf, module, version, kernel, architecture, the directory of module trees, Debian's dkms.
const ORACLE: &str = r#"
conf_file=$1 module=$2 module_version=$3 k=$4 a=$5
source <(sed '/^#### Program Starts Here ####/,$d' "$7")
dkms_tree=/var/lib/dkms source_tree=/usr/src install_tree=$6 tmp_location=/tmp current_os=Linux
ksourcedir_fromcli=1 kernel_source_dir=$6/$k/build kernel_config=$6/$k/build/.config
running_distribution=debian parallel_jobs=2 die_is_fatal=yes
declare -a directive_array=()
cd /
read_conf "$k" "$a" "$conf_file" >&2 || exit 1
put() { printf '%s\0%s\0' "$1" "$2"; }
for i in "${!built_module_name[@]}"; do
    for name in built_module_name built_module_location dest_module_name dest_module_location strip; do
        declare -n values=$name
        put "$name[$i]" "${values[$i]}"
    done
done
put make "$make_command"
put patches "${patch_array[*]}"
put excluded "$build_exclude"
put autoinstall "${AUTOINSTALL:+yes}"
put depends "${BUILD_DEPENDS[*]}"
put obsolete_by "$obsolete_by"
for name in post_add pre_build post_build pre_install post_install post_remove; do put $name "${!name}"; done
"#;

/// Debian's values for the dkms.conf in `dir`, or what it said instead.
///
/// # Errors
/// What it printed when it refused the conf.
///
/// # Panics
/// When bash cannot be started.
pub fn by_debian(dir: &Path, package: (&str, &str), release: &str) -> Result<Values, String> {
    let done = Command::new("bash")
        .args(["-c", ORACLE, "oracle"])
        .arg(dir.join("dkms.conf"))
        .args([package.0, package.1, release, std::env::consts::ARCH])
        .args([install_tree(release), inputs::debian_dkms()])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap_or_else(|e| panic!("bash: {e}"));
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&done.stdout);
    let fields: Vec<&str> = text.split_terminator('\0').collect();
    Ok(fields
        .chunks_exact(2)
        .map(|pair| (pair[0].to_owned(), one_line(pair[1])))
        .collect())
}

/// The module trees of the inputs' kernel, where its `build` leads to its headers.
fn install_tree(release: &str) -> PathBuf {
    inputs::kernel_root(release).join("lib/modules")
}

/// Our values for the same.
///
/// # Errors
/// The engine's refusal as text.
///
/// # Panics
/// When the kernel's headers are not there.
pub fn by_ours(dir: &Path, package: (&str, &str), release: &str) -> Result<Values, String> {
    let options = KernelOptions {
        source_dir: Some(inputs::headers(release)),
        ..KernelOptions::default()
    };
    let kernel = KernelTarget::find(&Root::host(), release, &options).unwrap_or_else(|e| panic!("{release}: {e}"));
    let mut context = ConfContext::for_kernel(&kernel).of_package(package.0, package.1);
    context.parallel_jobs = 2;
    // The oracle names the directory as it is called, not where its links lead.
    context.kernel_source_dir = install_tree(release).join(release).join("build");
    context.install_tree = install_tree(release);
    let conf = evaluate(dir, &context).map_err(|error| format!("{error}"))?;
    let mut values = Values::new();
    for (index, module) in conf.modules.iter().enumerate() {
        let strip = if module.strip { "yes" } else { "no" };
        for (name, value) in [
            ("built_module_name", module.built_name.as_str()),
            ("built_module_location", &module.built_location),
            ("dest_module_name", &module.dest_name),
            ("dest_module_location", &module.dest_location),
            ("strip", strip),
        ] {
            values.insert(format!("{name}[{index}]"), one_line(value));
        }
    }
    let build = format!("/var/lib/dkms/{}/{}/build", package.0, package.1);
    let make = conf.make_command(&context.kernel_source_dir, Path::new(&build));
    let excluded = conf.excluded(release, Some(kernel.config()));
    let scripts = &conf.scripts;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    for (name, value) in [
        ("make", make),
        ("patches", conf.patches.join(" ")),
        ("excluded", excluded.map(|_| "yes".to_owned()).unwrap_or_default()),
        (
            "autoinstall",
            if conf.autoinstall {
                "yes".to_owned()
            } else {
                String::new()
            },
        ),
        ("depends", conf.build_depends.join(" ")),
        ("obsolete_by", text(&conf.obsolete_by)),
        ("post_add", text(&scripts.post_add)),
        ("pre_build", text(&scripts.pre_build)),
        ("post_build", text(&scripts.post_build)),
        ("pre_install", text(&scripts.pre_install)),
        ("post_install", text(&scripts.post_install)),
        ("post_remove", text(&scripts.post_remove)),
    ] {
        values.insert(name.to_owned(), one_line(&value));
    }
    Ok(values)
}

/// Blanks do not count: upstream loses them on its way through the shell.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The source directories (with a dkms.conf) of a Debian package, unpacked below `to`: path, name, version.
///
/// # Panics
/// When the package cannot be unpacked.
#[must_use]
pub fn sources_of(deb: &Path, to: &Path) -> Vec<(PathBuf, String, String)> {
    let done = Command::new("dpkg-deb").arg("-x").arg(deb).arg(to).status();
    assert!(
        done.as_ref().is_ok_and(std::process::ExitStatus::success),
        "dpkg-deb -x {}: {done:?}",
        deb.display()
    );
    let below = std::fs::read_dir(to.join("usr/src")).unwrap_or_else(|e| panic!("{}: {e}", deb.display()));
    let mut found = Vec::new();
    for dir in below
        .flatten()
        .map(|entry| entry.path())
        .filter(|dir| dir.join("dkms.conf").is_file())
    {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(dir.join("dkms.conf")).unwrap_or_default();
        let package = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("PACKAGE_NAME="))
            .unwrap_or_default();
        let package = package.trim().trim_matches(['"', '\'']);
        match name.strip_prefix(package).and_then(|rest| rest.strip_prefix('-')) {
            Some(version) => found.push((dir, package.to_owned(), version.to_owned())),
            None => {
                let (package, version) = name.rsplit_once('-').unwrap_or((&name, "0"));
                found.push((dir.clone(), package.to_owned(), version.to_owned()));
            }
        }
    }
    found
}

/// Compares every conf of these packages for both kernels of the inputs: how many were compared, and those that differ.
#[must_use]
pub fn differences(debs: &[PathBuf]) -> (usize, Vec<String>) {
    let (mut compared, mut different) = (0, Vec::new());
    for deb in debs {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("temp dir: {e}"));
        for (source, name, version) in sources_of(deb, dir.path()) {
            for release in inputs::kernels() {
                let package = (name.as_str(), version.as_str());
                let (debian, ours) = (
                    by_debian(&source, package, &release),
                    by_ours(&source, package, &release),
                );
                compared += 1;
                if debian != ours {
                    different.push(format!(
                        "{name}/{version} for {release}\n  debian: {debian:#?}\n  ours: {ours:#?}"
                    ));
                }
            }
        }
    }
    (compared, different)
}
