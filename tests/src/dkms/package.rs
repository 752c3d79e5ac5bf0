//! Debian's own *-dkms packages, installed by both programs: by Debian's without a sandbox, by ours in one, with modules of the same bytes.

use std::path::Path;
use std::process::Command;

use super::upstream_conf::{by_debian, sources_of};
use super::{Difference, Documented, Machine, Scenario};
use crate::inputs;

const PREFIX: &str = "package ";

/// True for the name of a story about one of these packages.
#[must_use]
pub fn is_story(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// What became of one package on two machines.
#[derive(Clone, Debug)]
pub struct Played {
    /// The story's name: `package NAME/VERSION`.
    pub story: String,
    /// Whether both programs installed it, for each kernel that was asked for.
    pub installed_by_both: Vec<bool>,
    /// Where they differ.
    pub differences: Vec<Difference>,
}

/// Adds, builds and installs the sources of a Debian package by both programs, for the first one or both of the inputs' kernels,
/// and takes them away again.
///
/// # Panics
/// When the package cannot be unpacked.
#[must_use]
pub fn play(deb: &Path, kernels: usize, known: &Documented) -> Vec<Played> {
    let unpacked = crate::sources::open_tempdir();
    let sources = sources_of(deb, unpacked.path());
    assert!(!sources.is_empty(), "{} has no dkms.conf below /usr/src", deb.display());
    sources
        .iter()
        .map(|(dir, name, version)| play_source(dir, (name, version), kernels, known))
        .collect()
}

fn play_source(dir: &Path, (name, version): (&str, &str), kernels: usize, known: &Documented) -> Played {
    let story = format!("{PREFIX}{name}/{version}");
    let installs: Vec<String> = (1..=kernels)
        .map(|number| format!("install {name}/{version} -k K{number}"))
        .collect();
    let remove = format!("remove {name}/{version} --all");
    let mut steps: Vec<&str> = installs
        .iter()
        .flat_map(|install| [install.as_str(), "status"])
        .collect();
    steps.extend([remove.as_str(), "status"]);
    let set_up = |machine: &Machine| {
        copy(dir, &machine.path("src"));
        machine.compare_bytes(name, version);
        for kernel in inputs::kernels().iter().take(kernels) {
            put_kernels_own(machine, dir, (name, version), kernel);
        }
    };
    let played = Scenario {
        name: &story,
        set_up: &set_up,
        steps: &steps,
    }
    .play_on_both(known);
    let is_installed = |install: &String| {
        let both = played.codes.iter().find(|(step, _)| step == install);
        both.is_some_and(|(_, codes)| *codes == [0, 0])
    };
    Played {
        installed_by_both: installs.iter().map(is_installed).collect(),
        differences: played.differences,
        story,
    }
}

fn copy(from: &Path, into: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(into).status();
    assert!(
        done.as_ref().is_ok_and(std::process::ExitStatus::success),
        "cp -a {} {}: {done:?}",
        from.display(),
        into.display()
    );
}

/// Gives the machine the kernel's own modules of the names that the package builds: what both have to weigh theirs against.
fn put_kernels_own(machine: &Machine, dir: &Path, package: (&str, &str), kernel: &str) {
    // A conf that Debian's refuses is refused again in the story.
    let values = by_debian(dir, package, kernel).unwrap_or_default();
    let names: Vec<&String> = values
        .iter()
        .filter(|(name, _)| name.starts_with("dest_module_name["))
        .map(|(_, value)| value)
        .collect();
    let tree = inputs::kernel_root(kernel).join("lib/modules").join(kernel);
    for entry in walkdir::WalkDir::new(&tree).into_iter().flatten() {
        let file = entry.file_name().to_string_lossy();
        if names.iter().any(|name| {
            file.strip_prefix(name.as_str())
                .is_some_and(|rest| rest.starts_with(".ko"))
        }) {
            let inside = entry.path().strip_prefix(&tree).unwrap_or(entry.path());
            let bytes = std::fs::read(entry.path()).unwrap_or_else(|e| panic!("{}: {e}", entry.path().display()));
            machine.write(&format!("modules/{kernel}/{}", inside.display()), bytes);
        }
    }
}
