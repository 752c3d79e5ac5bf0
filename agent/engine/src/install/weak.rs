//! weak-modules: kernels of RHEL and SUSE that use each other's modules.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::Confined;
use crate::distribution::Distribution;
use crate::event::{Event, Sink};
use crate::tree::Tree;

/// A change of the installed modules that is reported to weak-modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// They were installed.
    Added,
    /// They are about to be removed.
    Removed,
}

/// The program to call with its options. On SUSE its own program comes first.
fn call(tree: &Tree, told: Told, release: &str) -> Option<(PathBuf, Vec<String>)> {
    let distribution = Distribution::of(tree.root());
    if !distribution.has_weak_modules() {
        return None;
    }
    let word = match told {
        Told::Added => "add",
        Told::Removed => "remove",
    };
    let usual = vec!["--no-initramfs".to_owned(), format!("--{word}-modules")];
    let suse = vec![format!("--{word}-kernel-modules"), release.to_owned()];
    let directory = Path::new("/usr/lib/module-init-tools");
    let of_suse = distribution.is_suse().then(|| (directory.join("weak-modules2"), suse));
    let others = ["/sbin/weak-modules".into(), directory.join("weak-modules")];
    let others = others.into_iter().map(|program| (program, usual.clone()));
    of_suse
        .into_iter()
        .chain(others)
        .map(|(program, args)| (tree.root().join(program), args))
        .find(|(program, _)| program.is_file())
}

/// Reports modules that were added or are about to be removed to weak-modules, where kernels have a stable ABI and the program is installed.
pub(super) fn tell(tree: &Tree, told: Told, release: &str, files: &[PathBuf], sink: &dyn Sink) {
    let Some((program, args)) = call(tree, told, release) else {
        return;
    };
    let inside: Vec<String> = files
        .iter()
        .map(|file| {
            tree.root()
                .inside(file)
                .unwrap_or_else(|| file.clone())
                .display()
                .to_string()
                + "\n"
        })
        .collect();
    let program = tree.root().inside(&program).unwrap_or(program);
    let chroot = (!tree.root().is_host()).then(|| tree.root().path());
    let output = Confined::new(program)
        .args(&args)
        .chroot(chroot)
        .stdin(inside.concat())
        .time_limit(Duration::from_secs(600))
        .output(64 << 10);
    let problem = match output {
        Ok(output) if output.ended.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    sink.emit(Event::Warning {
        text: format!("weak-modules {} failed: {problem}", args.join(" ")),
        hint: None,
    });
}
