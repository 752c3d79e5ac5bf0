//! A root with a real kernel.

use std::fs;
use std::path::Path;

use crate::inputs::{self, link_tree};

/// A root with the headers of `kernel`, the lists of its modules and a few of the modules: depmod is quick then.
pub(super) fn make(kernel: &str, root: &Path) {
    let from = inputs::kernel_root(kernel);
    let modules = root.join("lib/modules").join(kernel);
    fs::create_dir_all(&modules).expect("a directory");
    fs::create_dir_all(root.join("usr")).expect("a directory");
    for entry in fs::read_dir(from.join("lib/modules").join(kernel))
        .expect("a kernel")
        .flatten()
    {
        if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
            link_tree(&entry.path(), &modules);
        }
    }
    let ata = format!("lib/modules/{kernel}/kernel/drivers");
    fs::create_dir_all(root.join(&ata)).expect("a directory");
    link_tree(&from.join(&ata).join("ata"), &root.join(&ata));
    for part in ["usr/src", "usr/lib"] {
        if from.join(part).is_dir() {
            link_tree(&from.join(part), &root.join("usr"));
        }
    }
}
