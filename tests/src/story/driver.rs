//! Sources of small drivers.

use std::fs;
use std::path::Path;

use crate::synthetic::Synthetic;

/// What there is to a driver's source.
#[derive(Clone, Copy, PartialEq)]
pub enum Source {
    /// It compiles.
    Good,
    /// It does not compile.
    Broken,
    /// It compiles, when [`super::Story::go_on`] lets it.
    Waits,
    /// It compiles, and has a file of a megabyte that cannot be compressed.
    Big,
}

/// Writes the source of a driver for the device `product` of the maker 1234.
pub(super) fn write(dir: &Path, name: &str, version: &str, product: u16, source: Source) {
    fs::create_dir_all(dir).expect("a directory");
    let put = |file: &str, text: String| fs::write(dir.join(file), text).expect("a file");
    put(
        "dkms.conf",
        format!(
            "PACKAGE_NAME=\"{name}\"\nPACKAGE_VERSION=\"{version}\"\nBUILT_MODULE_NAME[0]=\"{name}\"\n\
             DEST_MODULE_LOCATION[0]=\"/updates/dkms\"\nAUTOINSTALL=\"yes\"\n"
        ),
    );
    let mut makefile = format!("obj-m := {name}.o\n");
    let mut broken = "";
    match source {
        Source::Good => {}
        Source::Broken => broken = "#error this does not compile\n",
        Source::Waits => {
            put("wait", String::new());
            makefile
                .push_str("waited := $(shell touch $(src)/started; while [ -e $(src)/wait ]; do sleep 0.02; done)\n");
        }
        Source::Big => {
            let mut dice = Synthetic::new(1);
            let noise: Vec<u64> = (0..1 << 17).map(|_| dice.below(u64::MAX)).collect();
            let noise: Vec<u8> = noise.into_iter().flat_map(u64::to_le_bytes).collect();
            fs::write(dir.join("noise.bin"), noise).expect("a file");
        }
    }
    put("Makefile", makefile);
    put(
        &format!("{name}.c"),
        format!(
            "#include <linux/module.h>\n#include <linux/pci.h>\n{broken}\
             static const struct pci_device_id ids[] = {{ {{ PCI_DEVICE(0x1234, 0x{product:04x}) }}, {{ }} }};\n\
             MODULE_DEVICE_TABLE(pci, ids);\n\
             static int probe(struct pci_dev *d, const struct pci_device_id *i) {{ return 0; }}\n\
             static struct pci_driver drv = {{ .name = \"{name}\", .id_table = ids, .probe = probe }};\n\
             module_pci_driver(drv);\nMODULE_LICENSE(\"GPL\");\nMODULE_VERSION(\"{version}\");\n"
        ),
    );
}
