//! A kernel module package of SUSE: built modules for one flavor of its kernels. What it provides and needs is what the scripts of SUSE's rpm
//! find in modules; its scripts leave the work to those that SUSE's machines have.
//!
//! Names, dependencies and the version with the kernel in it are those of `kernel-module-subpackage` in SUSE's kernel-source, and of
//! `find-provides.ksyms`, `find-requires.ksyms` and `find-supplements.ksyms` in rpm-config-SUSE.

use rpm::{Dependency, FileOptions, Scriptlet};

use super::compiled::Compiled;
use super::error::ExportError;
use super::rpm::{Named, builder};
use super::source::{Made, Settings, Source};
use super::{modaliases, names};

/// SUSE's own script of this phase; where it is not there, which is before SLE 15 SP3, the part of it that counts.
const SCRIPT: &str = "\
script=/usr/lib/module-init-tools/kernel-scriptlets/kmp-@phase@
if [ -x \"$script\" ]; then
  \"$script\" --name '@package@' --version '@version@' --release '@release@' \\
    --kernelrelease '@kernel@' --flavor '@flavor@' --usrmerged '@merged@' \"$@\"
@otherwise@fi
";

const OTHERWISE_POST: &str = "\
elif [ -x /usr/lib/module-init-tools/weak-modules2 ]; then
  /usr/lib/module-init-tools/weak-modules2 --add-kmp '@package@-@version@-@release@'
elif [ -d '@dir@/@kernel@-@flavor@' ]; then
  depmod -a '@kernel@-@flavor@'
";

const OTHERWISE_POSTUN: &str = "\
elif [ -x /usr/lib/module-init-tools/weak-modules2 ]; then
  printf '%s\\n' @files@ |
    /usr/lib/module-init-tools/weak-modules2 --remove-kmp '@package@-@version@-@release@'
elif [ -d '@dir@/@kernel@-@flavor@' ]; then
  depmod -a '@kernel@-@flavor@'
";

/// Where modules are on the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ModuleDir {
    /// /lib/modules: SLE and Leap up to 15.
    #[default]
    #[value(name = "/lib/modules")]
    Lib,
    /// /usr/lib/modules: Tumbleweed, SLE and Leap 16.
    #[value(name = "/usr/lib/modules")]
    UsrLib,
}

impl ModuleDir {
    fn path(self) -> &'static str {
        match self {
            Self::Lib => "/lib/modules",
            Self::UsrLib => "/usr/lib/modules",
        }
    }
}

/// Makes the package.
pub(super) fn make(
    source: &Source<'_>,
    compiled: &Compiled,
    dir: ModuleDir,
    settings: &Settings,
) -> Result<Made, ExportError> {
    source.check()?;
    let release = &compiled.kernel.release;
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let (kernel, flavor) = release
        .rsplit_once('-')
        .filter(|(kernel, flavor)| is_word(flavor) && kernel.contains('-'))
        .ok_or_else(|| ExportError::NoFlavor {
            release: release.clone(),
        })?;
    let kmp = Kmp {
        base: names::rpm_of_modules(&source.manifest.name),
        own_version: names::rpm_version(&source.manifest.version),
        mark: format!("k{}", kernel.replace('-', "_")),
        kernel,
        flavor,
        dir,
    };
    let (package, version) = (kmp.package(), kmp.version());
    let bytes = kmp
        .build(source, compiled, settings)
        .map_err(|error| source.not_written(".rpm", error))?;
    let version = format!("{version}-{}", settings.revision);
    let arch = names::rpm_arch(&compiled.kernel.arch);
    let mut notes = Vec::new();
    if compiled.patterns().is_empty() {
        notes.push("its modules claim no device: no package manager chooses it by itself".to_owned());
    }
    if compiled.imports().is_empty() {
        notes.push(format!(
            "the modules have no checksums of symbols (CONFIG_MODVERSIONS): it needs just the kernel {release}"
        ));
    }
    Ok(Made {
        file_name: format!("{package}-{version}.{arch}.rpm"),
        package,
        version,
        bytes,
        notes,
    })
}

/// The names that the package has in its own metadata.
struct Kmp<'a> {
    base: String,
    own_version: String,
    /// The kernel as a part of versions.
    mark: String,
    kernel: &'a str,
    flavor: &'a str,
    dir: ModuleDir,
}

impl Kmp<'_> {
    fn package(&self) -> String {
        format!("{}-kmp-{}", self.base, self.flavor)
    }

    /// That of the source, with the kernel behind it: packages for several kernels can be installed at once.
    fn version(&self) -> String {
        format!("{}_{}", self.own_version, self.mark)
    }

    fn path_of(&self, file: &str) -> String {
        format!("{}/{}-{}/updates/{file}", self.dir.path(), self.kernel, self.flavor)
    }

    fn script(&self, phase: &str, otherwise: &str, settings: &Settings, compiled: &Compiled) -> Scriptlet {
        let files: Vec<String> = compiled
            .modules
            .iter()
            .map(|module| format!("'{}'", self.path_of(&module.file)))
            .collect();
        let text = SCRIPT
            .replace("@otherwise@", otherwise)
            .replace("@phase@", phase)
            .replace("@package@", &self.package())
            .replace("@version@", &self.version())
            .replace("@release@", &settings.revision)
            .replace("@kernel@", self.kernel)
            .replace("@flavor@", self.flavor)
            .replace("@merged@", if self.dir == ModuleDir::UsrLib { "1" } else { "0" })
            .replace("@dir@", self.dir.path())
            .replace("@files@", &files.join(" "));
        Scriptlet::new(text).prog(vec!["/bin/sh"])
    }

    fn build(&self, source: &Source<'_>, compiled: &Compiled, settings: &Settings) -> Result<Vec<u8>, rpm::Error> {
        let (package, version) = (self.package(), self.version());
        let named = Named {
            package: &package,
            version: &version,
            release: &settings.revision,
            arch: names::rpm_arch(&compiled.kernel.arch),
            summary: source.summary_of_modules(),
            description: source.description_of_modules(compiled),
        };
        let Self { base, mark, flavor, .. } = self;
        let mut builder = builder(source, settings, &named);
        let script = |phase: &str, otherwise: &str| self.script(phase, otherwise, settings, compiled);
        builder
            .pre_install_script(script("pre", ""))
            .post_install_script(script("post", OTHERWISE_POST))
            .pre_uninstall_script(script("preun", ""))
            .post_uninstall_script(script("postun", OTHERWISE_POSTUN))
            .post_trans_script(script("posttrans", ""))
            .provides(Dependency::eq(format!("{base}-kmp"), &version))
            .provides(Dependency::eq(format!("{base}-kmp"), &self.own_version))
            .provides(Dependency::any("multiversion(kernel)"))
            .provides(Dependency::any(format!("{package}-{mark}")))
            .conflicts(Dependency::any(format!("{package}-{mark}")))
            .enhances(Dependency::any(format!("kernel-{flavor}")))
            .requires(Dependency::any("suse-module-tools"))
            .requires(Dependency::script_post("suse-module-tools"))
            .requires(Dependency::script_post("/bin/sh"))
            .requires(Dependency::script_preun("/bin/sh"))
            .requires(Dependency::script_postun("/bin/sh"))
            .requires(Dependency::script_pre("/bin/sh"));
        for name in compiled.kmods() {
            builder.provides(Dependency::any(name));
        }
        for (symbol, crc) in &compiled.exports {
            builder.provides(Dependency::eq(format!("ksym({flavor}:{symbol})"), format!("{crc:x}")));
        }
        let imports = compiled.imports();
        for (symbol, crc) in &imports {
            builder.requires(Dependency::eq(format!("ksym({flavor}:{symbol})"), format!("{crc:x}")));
        }
        if imports.is_empty() {
            builder.requires(Dependency::eq("kernel-uname-r", &compiled.kernel.release));
        }
        for name in modaliases::suse(flavor, compiled.patterns()) {
            builder.supplements(Dependency::any(name));
        }
        for module in &compiled.modules {
            let path = self.path_of(&module.file);
            builder.with_file_contents(module.bytes.as_slice(), FileOptions::new(path).permissions(0o644))?;
        }
        let mut bytes = Vec::new();
        builder.build()?.write(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rpm::Package;

    use super::super::compiled::example;
    use super::super::tests::{manifest, settings};
    use super::*;
    use crate::ingest::SourceTree;

    fn made(compiled: &Compiled, dir: ModuleDir) -> Result<Made, ExportError> {
        let (manifest, tree, known) = (
            manifest(),
            SourceTree::from_files([("dkms.conf", "")]).expect("a source"),
            BTreeSet::new(),
        );
        let source = Source {
            manifest: &manifest,
            tree: &tree,
            known: &known,
        };
        make(&source, compiled, dir, &settings())
    }

    #[test]
    fn symbols_of_a_module_are_provided_and_those_of_others_needed() {
        let compiled = example(
            "6.4.0-150600.21-default",
            &[("own", 0xab)],
            &[("own", 0xab), ("printk", 0x0123_4567)],
            &["pci:v00001234d*"],
        );
        let made = made(&compiled, ModuleDir::UsrLib).expect("made");
        assert_eq!(made.package, "odd-kmp-default");
        assert_eq!(made.version, "1.0_k6.4.0_150600.21-1");
        assert_eq!(made.file_name, "odd-kmp-default-1.0_k6.4.0_150600.21-1.x86_64.rpm");
        assert!(made.notes.is_empty(), "{:?}", made.notes);
        let package = Package::parse(&mut made.bytes.as_slice()).expect("an rpm");
        let all = |dependencies: Vec<Dependency>| {
            let text = |one: Dependency| format!("{} {}", one.name, one.version);
            dependencies.into_iter().map(text).collect::<BTreeSet<_>>()
        };
        let provides = all(package.metadata.get_provides().expect("readable"));
        assert!(provides.contains("ksym(default:own) ab"), "{provides:?}");
        let requires = all(package.metadata.get_requires().expect("readable"));
        assert!(requires.contains("ksym(default:printk) 1234567"), "{requires:?}");
        assert!(!requires.iter().any(|one| one.contains("own")), "{requires:?}");
        let files = package.metadata.get_file_paths().expect("readable");
        let expected = "/usr/lib/modules/6.4.0-150600.21-default/updates/odd-driver.ko.xz";
        assert_eq!(files, [std::path::Path::new(expected)]);
    }

    #[test]
    fn without_checksums_it_needs_the_kernel_itself() {
        let compiled = example("6.4.0-1-default", &[], &[], &["odd"]);
        let made = made(&compiled, ModuleDir::Lib).expect("made");
        assert_eq!(made.notes.len(), 2, "{:?}", made.notes);
        let package = Package::parse(&mut made.bytes.as_slice()).expect("an rpm");
        let requires = package.metadata.get_requires().expect("readable");
        let kernel = requires
            .iter()
            .find(|one| one.name == "kernel-uname-r")
            .expect("needed");
        assert_eq!(kernel.version, "6.4.0-1-default");
    }

    #[test]
    fn kernels_of_others_have_no_flavor() {
        for release in ["6.8.0", "6.8.0-default", "5.14.0-70.el9.x86_64", "6.8.0-1-"] {
            let made = made(&example(release, &[], &[], &[]), ModuleDir::Lib);
            assert!(matches!(made, Err(ExportError::NoFlavor { .. })), "{release}");
        }
    }
}
