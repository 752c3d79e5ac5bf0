//! An rpm package with the source in /usr/src, and scripts that call `dkms` as packages of Fedora and openSUSE do.

use rpm::{BuildConfig, CompressionWithLevel, Dependency, FileOptions, PackageBuilder, Scriptlet};

use super::error::ExportError;
use super::source::{Made, Needs, Settings, Source};
use super::{modaliases, names};
use crate::ingest::Entry;

/// The kernel that runs, or in an image that has another one, all kernels with headers. rpm goes on where a build fails, as it does
/// for every script of this kind, and the hooks of kernels try again.
const POST: &str = "\
kernels=$(uname -r)
if [ ! -e \"/lib/modules/$kernels/build\" ]; then
  kernels=
  for build in /lib/modules/*/build; do
    [ ! -e \"$build\" ] || kernels=\"$kernels $(basename \"$(dirname \"$build\")\")\"
  done
fi
dkms add -m @name@ -v @version@ --rpm_safe_upgrade || :
for kernel in $kernels; do
  dkms build -m @name@ -v @version@ -k \"$kernel\" && dkms install -m @name@ -v @version@ -k \"$kernel\" || :
done
";

/// With `--rpm_safe_upgrade` nothing is removed where the same version was added in the same transaction, by [`POST`] of a newer release.
const PREUN: &str = "dkms remove -m @name@ -v @version@ --all --rpm_safe_upgrade || :\n";

/// How one .rpm is named, and what its users read first.
pub(super) struct Named<'a> {
    pub(super) package: &'a str,
    pub(super) version: &'a str,
    pub(super) release: &'a str,
    pub(super) arch: &'a str,
    pub(super) summary: String,
    /// Lines.
    pub(super) description: Vec<String>,
}

/// A package with what all of ours have: the same settings, and a changelog that says from which source it was made.
pub(super) fn builder(source: &Source<'_>, settings: &Settings, named: &Named<'_>) -> PackageBuilder {
    let config = BuildConfig::v4()
        .compression(CompressionWithLevel::Xz(6))
        .source_date(settings.time_s);
    let Named {
        package,
        version,
        release,
        arch,
        ..
    } = named;
    let mut builder = PackageBuilder::new(package, version, source.license(), arch, &named.summary);
    builder
        .using_config(config)
        .release(*release)
        .description(named.description.join("\n"))
        .packager(settings.maintainer())
        .group("System Environment/Kernel")
        .build_host("localhost")
        .requires(Dependency::rpmlib("PayloadIsXz", "5.2-1"))
        .add_changelog_entry(
            format!("{} - {version}-{release}", settings.maintainer()),
            format!(
                "- {} {}, made by dkms-repo from the source with the SHA-256\n  {}",
                source.manifest.name, source.manifest.version, source.manifest.bundle.sha256
            ),
            settings.time_s,
        );
    if let Some(homepage) = source.homepage() {
        builder.url(homepage);
    }
    builder
}

/// Makes the package.
pub(super) fn make(source: &Source<'_>, settings: &Settings) -> Result<Made, ExportError> {
    source.check()?;
    let package = names::rpm(&source.manifest.name);
    let version = names::rpm_version(&source.manifest.version);
    let needs = source.needs(names::rpm);
    let bytes =
        build(source, settings, &package, &version, &needs).map_err(|error| source.not_written(".rpm", error))?;
    let version = format!("{version}-{}", settings.revision);
    Ok(Made {
        file_name: format!("{package}-{version}.noarch.rpm"),
        notes: needs.notes(),
        package,
        version,
        bytes,
    })
}

fn build(
    source: &Source<'_>,
    settings: &Settings,
    package: &str,
    version: &str,
    needs: &Needs,
) -> Result<Vec<u8>, rpm::Error> {
    let script = |text: &str| {
        let text = text
            .replace("@name@", &source.manifest.name)
            .replace("@version@", source.manifest.dkms_version());
        Scriptlet::new(text).prog(vec!["/bin/sh"])
    };
    let named = Named {
        package,
        version,
        release: &settings.revision,
        arch: "noarch",
        summary: names::capitalized(&names::one_line(&source.summary())),
        description: source.description(),
    };
    let mut builder = builder(source, settings, &named);
    builder
        .post_install_script(script(POST))
        .pre_uninstall_script(script(PREUN))
        .requires(Dependency::any("dkms"))
        .requires(Dependency::script_post("dkms"))
        .requires(Dependency::script_preun("dkms"))
        .requires(Dependency::script_post("/bin/sh"))
        .requires(Dependency::script_preun("/bin/sh"));
    for name in &needs.known {
        builder.requires(Dependency::any(name));
    }
    for name in &needs.unknown {
        builder.recommends(Dependency::any(name));
    }
    for name in modaliases::rpm(source.manifest.patterns()) {
        builder.provides(Dependency::any(&name));
        builder.supplements(Dependency::any(&name));
    }
    let top = format!("/{}", source.directory());
    builder.with_dir_entry(FileOptions::dir(&top))?;
    for (path, entry) in source.tree.entries() {
        let path = format!("{top}/{path}");
        match entry {
            Entry::Directory => builder.with_dir_entry(FileOptions::dir(path))?,
            Entry::File { bytes, executable } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                builder.with_file_contents(bytes.as_slice(), FileOptions::new(path).permissions(mode))?
            }
            Entry::Link(target) => builder.with_symlink(FileOptions::symlink(path, target))?,
        };
    }
    let mut bytes = Vec::new();
    builder.build()?.write(&mut bytes)?;
    Ok(bytes)
}
