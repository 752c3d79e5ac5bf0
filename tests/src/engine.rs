//! What tests of the engine as a library begin with.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dkms_engine::framework::Framework;
use dkms_engine::kernel::{KernelOptions, KernelTarget};
use dkms_engine::root::Root;
use dkms_engine::tree::Tree;

use crate::inputs;

/// Trees of their own in `dir`, on the running system, and the two kernels of the inputs, whose modules go there too.
///
/// # Panics
/// When they cannot be made, or the headers are not there.
#[must_use]
pub fn tree_and_kernels(dir: &Path) -> (Tree, [Arc<KernelTarget>; 2]) {
    let modules = dir.join("lib/modules");
    let framework = Framework {
        dkms_tree: dir.join("dkms"),
        source_tree: dir.join("src"),
        install_tree: modules.clone(),
        ..Framework::default()
    };
    let kernels = inputs::kernels().map(|release| {
        let options = KernelOptions {
            install_tree: Some(modules.clone()),
            source_dir: Some(inputs::headers(&release)),
            ..KernelOptions::default()
        };
        fs::create_dir_all(modules.join(&release)).expect("dirs");
        Arc::new(KernelTarget::find(&Root::host(), &release, &options).expect("headers"))
    });
    (Tree::new(&Root::host(), &framework), kernels)
}
