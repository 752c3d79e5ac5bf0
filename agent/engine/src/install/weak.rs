//! weak-modules: kernels of RHEL and SUSE that use each other's modules.

use std::path::PathBuf;
use std::time::Duration;

use crate::command::Confined;
use crate::event::{Event, Sink};
use crate::tree::Tree;

/// Tells weak-modules of modules that came or went. Where there is no such program nothing is done.
pub(super) fn tell(tree: &Tree, what: &str, files: &[PathBuf], sink: &dyn Sink) {
    let places = ["/sbin/weak-modules", "/usr/lib/module-init-tools/weak-modules"];
    let Some(program) = places
        .iter()
        .map(|path| tree.root().join(path))
        .find(|path| path.is_file())
    else {
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
        .args(["--no-initramfs", what])
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
        text: format!("weak-modules {what} failed: {problem}"),
        hint: None,
    });
}
