//! A Debian package as `dh_dkms` makes it: source in /usr/src, a postinst that builds, a prerm that removes.

use std::io;

use super::deb_archive::{self, Tree};
use super::error::ExportError;
use super::source::{Made, Needs, Settings, Source};
use super::{modaliases, names};

/// Builds for the kernels that are there. Debian's dkms and ours have this script.
const POSTINST: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = configure ]; then
  if [ ! -f /usr/lib/dkms/common.postinst ]; then
    echo \"@package@: /usr/lib/dkms/common.postinst is not there; the package dkms is too old or damaged\" >&2
    exit 1
  fi
  /usr/lib/dkms/common.postinst @name@ @version@ /usr/share/@package@ \"\" \"$2\"
fi
";

const PRERM: &str = "\
#!/bin/sh
set -e
case \"$1\" in
  remove|upgrade|deconfigure)
    if [ -n \"$(dkms status -m @name@ -v @version@)\" ]; then
      dkms remove -m @name@ -v @version@ --all
    fi
    ;;
esac
";

/// Makes the package.
pub(super) fn make(source: &Source<'_>, settings: &Settings) -> Result<Made, ExportError> {
    source.check()?;
    let package = names::debian(&source.manifest.name);
    let version = names::debian_version(&source.manifest.version, &settings.revision);
    let needs = source.needs(names::debian);
    let bytes =
        build(source, settings, &package, &version, &needs).map_err(|error| source.not_written(".deb", error))?;
    Ok(Made {
        file_name: format!("{package}_{version}_all.deb"),
        notes: needs.notes(),
        package,
        version,
        bytes,
    })
}

fn build(source: &Source<'_>, settings: &Settings, package: &str, version: &str, needs: &Needs) -> io::Result<Vec<u8>> {
    let time_s = settings.time_s;
    let mut data = Tree::new(time_s);
    let doc = format!("usr/share/doc/{package}");
    let top = source.directory();
    for (path, entry) in source.tree.entries() {
        data.put(&format!("{top}/{path}"), entry)?;
    }
    data.file(&format!("{doc}/copyright"), copyright(source).as_bytes(), false)?;
    let what = format!(
        "{} {}, made by dkms-repo from the source with the SHA-256\n{}.",
        source.manifest.name, source.manifest.version, source.manifest.bundle.sha256
    );
    let changelog = deb_archive::changelog(settings, package, version, &what)?;
    data.file(&format!("{doc}/changelog.Debian.gz"), &changelog, false)?;

    let mut control = Tree::new(time_s);
    let fields = fields(source, settings, package, version, needs, data.kibibytes);
    control.file("control", fields.as_bytes(), false)?;
    for (name, script) in [("postinst", POSTINST), ("prerm", PRERM)] {
        let script = script
            .replace("@package@", package)
            .replace("@name@", &source.manifest.name)
            .replace("@version@", source.manifest.dkms_version());
        control.file(name, script.as_bytes(), true)?;
    }

    deb_archive::package(control, data)
}

fn fields(
    source: &Source<'_>,
    settings: &Settings,
    package: &str,
    version: &str,
    needs: &Needs,
    kibibytes: u64,
) -> String {
    let mut depends = vec!["dkms (>= 2.1.0.0)".to_owned()];
    depends.extend(needs.known.iter().cloned());
    let mut fields = vec![
        ("Package", package.to_owned()),
        ("Version", version.to_owned()),
        ("Architecture", "all".to_owned()),
        ("Maintainer", settings.maintainer()),
        ("Installed-Size", kibibytes.to_string()),
        ("Depends", depends.join(", ")),
    ];
    if !needs.unknown.is_empty() {
        fields.push(("Recommends", needs.unknown.join(", ")));
    }
    fields.extend([("Section", "kernel".to_owned()), ("Priority", "optional".to_owned())]);
    fields.extend(source.homepage().map(|homepage| ("Homepage", homepage.to_owned())));
    let description = format!(
        "{}\n {}",
        names::one_line(&source.summary()),
        source.description().join("\n ")
    );
    fields.push(("Description", description));
    fields.extend(modaliases::ubuntu(source.manifest).map(|list| ("Modaliases", list)));
    deb_archive::fields(&fields)
}

fn copyright(source: &Source<'_>) -> String {
    let mut text = format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: {}\n",
        source.manifest.name
    );
    if let Some(homepage) = source.homepage() {
        text.push_str(&format!("Source: {homepage}\n"));
    }
    text.push_str(&format!(
        "\nFiles: *\nCopyright: the authors named in the files in /{}\nLicense: {}\n The license as its text and the files in /{} say.\n",
        source.directory(),
        source.license(),
        source.directory(),
    ));
    text
}
