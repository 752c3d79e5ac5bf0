//! A package of built modules for Fedora, RHEL and their relatives: what their installer takes from a driver disk, and installs on the machine.
//!
//! Anaconda's `dd_list` looks for `Provides: kernel-modules` with a version that the kernel of the installer fits, and `dd_extract` takes
//! every file `*.ko*` of it, and `lib/firmware`. The modules have to be below /lib/modules by this name, where its script looks for them.

use rpm::{Dependency, FileOptions, Scriptlet};

use super::compiled::Compiled;
use super::error::ExportError;
use super::rpm::{Named, builder};
use super::source::{Made, Settings, Source};
use super::{modaliases, names};

/// The kernels of a stable ABI share modules by links, which weak-modules makes; elsewhere each has its own.
const POST: &str = "\
if [ -d '/lib/modules/@kernel@' ]; then
  depmod -a '@kernel@' || :
fi
if [ -x /usr/sbin/weak-modules ]; then
  printf '%s\\n' @files@ | /usr/sbin/weak-modules --add-modules || :
fi
";

const POSTUN: &str = "\
if [ -d '/lib/modules/@kernel@' ]; then
  depmod -a '@kernel@' || :
fi
if [ -x /usr/sbin/weak-modules ]; then
  printf '%s\\n' @files@ | /usr/sbin/weak-modules --remove-modules || :
fi
";

/// For which kernels modules are offered that were built for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// This one alone.
    One,
    /// This one and all later ones, which have to have the same ABI.
    AndLater,
}

/// Makes the package.
pub(super) fn make(
    source: &Source<'_>,
    compiled: &Compiled,
    kernels: Kernels,
    settings: &Settings,
) -> Result<Made, ExportError> {
    source.check()?;
    let package = format!("kmod-{}", names::rpm_of_modules(&source.manifest.name));
    let version = names::rpm_version(&source.manifest.version);
    // Packages for several kernels are on one disk.
    let release = format!("{}.k{}", settings.revision, compiled.kernel.release.replace('-', "_"));
    let arch = names::rpm_arch(&compiled.kernel.arch);
    let named = Named {
        package: &package,
        version: &version,
        release: &release,
        arch,
        summary: source.summary_of_modules(),
        description: source.description_of_modules(compiled),
    };
    let bytes =
        build(source, compiled, kernels, settings, &named).map_err(|error| source.not_written(".rpm", error))?;
    let version = format!("{version}-{release}");
    Ok(Made {
        file_name: format!("{package}-{version}.{arch}.rpm"),
        package,
        version,
        bytes,
        notes: Vec::new(),
    })
}

fn build(
    source: &Source<'_>,
    compiled: &Compiled,
    kernels: Kernels,
    settings: &Settings,
    named: &Named<'_>,
) -> Result<Vec<u8>, rpm::Error> {
    let kernel = &compiled.kernel.release;
    let dir = format!("/lib/modules/{kernel}/extra/{}", source.manifest.name);
    let path_of = |file: &str| format!("{dir}/{file}");
    let files: Vec<String> = compiled
        .modules
        .iter()
        .map(|module| format!("'{}'", path_of(&module.file)))
        .collect();
    let script = |text: &str| {
        let text = text.replace("@kernel@", kernel).replace("@files@", &files.join(" "));
        Scriptlet::new(text).prog(vec!["/bin/sh"])
    };
    let of_kernel = |name: &str| match kernels {
        Kernels::One => Dependency::eq(name, kernel),
        Kernels::AndLater => Dependency::greater_eq(name, kernel),
    };
    let mut builder = builder(source, settings, named);
    builder
        .post_install_script(script(POST))
        .post_uninstall_script(script(POSTUN))
        .provides(of_kernel("kernel-modules"))
        .requires(of_kernel("kernel-uname-r"))
        .requires(Dependency::script_post("/bin/sh"))
        .requires(Dependency::script_postun("/bin/sh"))
        .requires(Dependency::script_post("kmod"))
        .requires(Dependency::script_postun("kmod"));
    for name in compiled.kmods() {
        builder.provides(Dependency::any(name));
    }
    for (symbol, crc) in &compiled.exports {
        builder.provides(Dependency::eq(format!("ksym({symbol})"), format!("0x{crc:08x}")));
    }
    for name in modaliases::rpm(compiled.patterns()) {
        builder.provides(Dependency::any(&name));
        builder.supplements(Dependency::any(&name));
    }
    // Its own, so that it goes with the package.
    builder.with_dir_entry(FileOptions::dir(&dir))?;
    for module in &compiled.modules {
        let file = FileOptions::new(path_of(&module.file)).permissions(0o644);
        builder.with_file_contents(module.bytes.as_slice(), file)?;
    }
    let mut bytes = Vec::new();
    builder.build()?.write(&mut bytes)?;
    Ok(bytes)
}
