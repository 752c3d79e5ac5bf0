//! A small module package, made by code.

use std::process::Command;
use std::sync::OnceLock;

use super::Machine;
use crate::inputs;

const SOURCE: &str = r#"// SPDX-License-Identifier: MIT
#include <linux/module.h>
static int __init hello_start(void) { return 0; }
static void __exit hello_stop(void) { }
module_init(hello_start);
module_exit(hello_stop);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("does nothing");
MODULE_VERSION(HELLO_VERSION);
MODULE_ALIAS("pci:v0000F00Dd0000CAFEsv*sd*bc*sc*i*");
"#;

/// A package of one module.
#[derive(Clone, Debug)]
pub struct Hello {
    /// PACKAGE_NAME and, unless `conf` says otherwise, the module's name.
    pub name: &'static str,
    /// PACKAGE_VERSION.
    pub version: &'static str,
    /// Whether the compiler runs. If not, MAKE copies a module compiled once for the whole test run.
    pub compiled: bool,
    /// More lines for dkms.conf; later ones win.
    pub conf: &'static str,
}

impl Hello {
    /// A package whose build only copies.
    #[must_use]
    pub const fn quick(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            compiled: false,
            conf: "",
        }
    }

    /// The same with more lines in its dkms.conf.
    #[must_use]
    pub const fn with(self, conf: &'static str) -> Self {
        Self { conf, ..self }
    }

    /// The text of its dkms.conf.
    #[must_use]
    pub fn conf_text(&self) -> String {
        let make = if self.compiled {
            ""
        } else {
            "MAKE[0]=\"'cp' prebuilt/$kernelver hello.ko\"\n"
        };
        let Self {
            name, version, conf, ..
        } = self;
        format!(
            "PACKAGE_NAME={name}\nPACKAGE_VERSION={version}\nBUILT_MODULE_NAME[0]=hello\nDEST_MODULE_NAME[0]={name}\n\
             DEST_MODULE_LOCATION[0]=/kernel/drivers/misc\nAUTOINSTALL=yes\n{make}{conf}\n"
        )
    }

    /// Writes the package's files to `to` on the machine.
    pub fn write_to(&self, machine: &Machine, to: &str) {
        machine.write(&format!("{to}/dkms.conf"), self.conf_text());
        machine.write(&format!("{to}/hello.c"), SOURCE);
        machine.write(&format!("{to}/Makefile"), makefile(self.version));
        if !self.compiled {
            for release in inputs::kernels() {
                machine.write(&format!("{to}/prebuilt/{release}"), prebuilt(&release));
            }
        }
    }

    /// Writes the package to `/usr/src/NAME-VERSION`.
    pub fn put(&self, machine: &Machine) {
        self.write_to(machine, &format!("src/{}-{}", self.name, self.version));
    }
}

fn makefile(version: &str) -> String {
    format!("obj-m := hello.o\nccflags-y := '-DHELLO_VERSION=\"{version}\"'\n")
}

/// hello.ko, version 1, for a kernel of the inputs; compiled once by plain make.
///
/// # Panics
/// When make fails.
#[must_use]
pub fn prebuilt(release: &str) -> &'static [u8] {
    static BUILT: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        inputs::kernels()
            .into_iter()
            .map(|release| (release.clone(), compile(&release)))
            .collect()
    });
    let found = built.iter().find(|(name, _)| name == release);
    &found
        .unwrap_or_else(|| panic!("{release} is not a kernel of the inputs"))
        .1
}

fn compile(release: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("temp dir: {e}"));
    for (name, text) in [("hello.c", SOURCE.to_owned()), ("Makefile", makefile("1"))] {
        std::fs::write(dir.path().join(name), text).unwrap_or_else(|e| panic!("write {name}: {e}"));
    }
    let done = Command::new("make")
        .args(["-s", "-C"])
        .arg(inputs::headers(release))
        .arg(format!("M={}", dir.path().display()))
        .output();
    let done = done.unwrap_or_else(|e| panic!("make: {e}"));
    assert!(
        done.status.success(),
        "make for {release}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    std::fs::read(dir.path().join("hello.ko")).unwrap_or_else(|e| panic!("hello.ko for {release}: {e}"))
}
