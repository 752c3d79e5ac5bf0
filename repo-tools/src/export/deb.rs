//! A Debian package as `dh_dkms` makes it: source in /usr/src, a postinst that builds, a prerm that removes.

use std::collections::BTreeSet;
use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use liblzma::write::XzEncoder;
use md5::{Digest, Md5};
use tar::EntryType;

use super::error::ExportError;
use super::source::{Made, Needs, Settings, Source};
use super::{modaliases, names};
use crate::ingest::Entry;

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
    let bytes = build(source, settings, &package, &version, &needs).map_err(|error| ExportError::Archive {
        format: ".deb",
        name: source.manifest.name.clone(),
        version: source.manifest.version.clone(),
        source: error.into(),
    })?;
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
    let changelog = gzip(changelog(source, settings, package, version)?.as_bytes())?;
    data.file(&format!("{doc}/changelog.Debian.gz"), &changelog, false)?;

    let mut control = Tree::new(time_s);
    let fields = fields(source, settings, package, version, needs, data.kibibytes);
    control.file("control", fields.as_bytes(), false)?;
    control.file("md5sums", data.md5sums.as_bytes(), false)?;
    for (name, script) in [("postinst", POSTINST), ("prerm", PRERM)] {
        let script = script
            .replace("@package@", package)
            .replace("@name@", &source.manifest.name)
            .replace("@version@", source.manifest.dkms_version());
        control.file(name, script.as_bytes(), true)?;
    }

    let mut ar = b"!<arch>\n".to_vec();
    member(&mut ar, "debian-binary", time_s, b"2.0\n")?;
    member(&mut ar, "control.tar.xz", time_s, &control.finish()?)?;
    member(&mut ar, "data.tar.xz", time_s, &data.finish()?)?;
    Ok(ar)
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
    fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect()
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

fn changelog(source: &Source<'_>, settings: &Settings, package: &str, version: &str) -> io::Result<String> {
    let date = Timestamp::from_second(i64::from(settings.time_s)).map_err(io::Error::other)?;
    let date = rfc2822::to_string(&date.to_zoned(jiff::tz::TimeZone::UTC)).map_err(io::Error::other)?;
    let name = &source.manifest.name;
    Ok(format!(
        "{package} ({version}) unstable; urgency=medium\n\n  * {name} {}, made by dkms-repo from the source with the SHA-256\n    {}.\n\n -- {}  {date}\n",
        source.manifest.version,
        source.manifest.bundle.sha256,
        settings.maintainer(),
    ))
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gz.write_all(bytes)?;
    gz.finish()
}

/// Adds a member to an ar archive.
fn member(ar: &mut Vec<u8>, name: &str, time_s: u32, bytes: &[u8]) -> io::Result<()> {
    writeln!(
        ar,
        "{name:<16}{time_s:<12}{:<6}{:<6}{:<8}{:<10}`",
        0,
        0,
        "100644",
        bytes.len()
    )?;
    ar.write_all(bytes)?;
    if bytes.len() % 2 == 1 {
        ar.write_all(b"\n")?;
    }
    Ok(())
}

/// A tar archive as dpkg-deb writes it: each name begins with `./`, each directory comes before what is in it.
struct Tree {
    tar: tar::Builder<Vec<u8>>,
    time_s: u32,
    made: BTreeSet<String>,
    md5sums: String,
    /// The size when installed, as dpkg-gencontrol estimates it.
    kibibytes: u64,
}

impl Tree {
    fn new(time_s: u32) -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
            time_s,
            made: BTreeSet::new(),
            md5sums: String::new(),
            kibibytes: 0,
        }
    }

    fn put(&mut self, path: &str, entry: &Entry) -> io::Result<()> {
        match entry {
            Entry::Directory => self.directories(path, true),
            Entry::File { bytes, executable } => self.file(path, bytes, *executable),
            Entry::Link(target) => {
                self.directories(path, false)?;
                self.kibibytes += 1;
                let mut header = self.header(EntryType::Symlink, 0o777, 0);
                self.long(b'K', target)?;
                if let Some(gnu) = header.as_gnu_mut() {
                    fill(&mut gnu.linkname, target);
                }
                self.append(header, &format!("./{path}"), &[])
            }
        }
    }

    fn file(&mut self, path: &str, bytes: &[u8], executable: bool) -> io::Result<()> {
        self.directories(path, false)?;
        self.kibibytes += (bytes.len() as u64).div_ceil(1024);
        self.md5sums
            .push_str(&format!("{}  {path}\n", hex::encode(Md5::digest(bytes))));
        let mode = if executable { 0o755 } else { 0o644 };
        let header = self.header(EntryType::Regular, mode, bytes.len() as u64);
        self.append(header, &format!("./{path}"), bytes)
    }

    /// The directories above `path`, and `path` itself if it is one.
    fn directories(&mut self, path: &str, itself: bool) -> io::Result<()> {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        for dir in [""].into_iter().chain(above).chain(itself.then_some(path)) {
            if self.made.insert(dir.to_owned()) {
                self.kibibytes += 1;
                let header = self.header(EntryType::Directory, 0o755, 0);
                let name = if dir.is_empty() {
                    "./".to_owned()
                } else {
                    format!("./{dir}/")
                };
                self.append(header, &name, &[])?;
            }
        }
        Ok(())
    }

    fn header(&self, kind: EntryType, mode: u32, len_bytes: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(len_bytes);
        header.set_mtime(u64::from(self.time_s));
        header.set_uid(0);
        header.set_gid(0);
        if let Some(gnu) = header.as_gnu_mut() {
            fill(&mut gnu.uname, "root");
            fill(&mut gnu.gname, "root");
        }
        header
    }

    /// A name that is too long for a header comes in an entry before it.
    fn long(&mut self, kind: u8, name: &str) -> io::Result<()> {
        if name.len() <= 100 {
            return Ok(());
        }
        let text = [name.as_bytes(), b"\0"].concat();
        let mut header = self.header(EntryType::new(kind), 0o644, text.len() as u64);
        header.set_mtime(0);
        if let Some(gnu) = header.as_gnu_mut() {
            fill(&mut gnu.name, "././@LongLink");
        }
        header.set_cksum();
        self.tar.append(&header, text.as_slice())
    }

    fn append(&mut self, mut header: tar::Header, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.long(b'L', name)?;
        if let Some(gnu) = header.as_gnu_mut() {
            fill(&mut gnu.name, name);
        }
        header.set_cksum();
        self.tar.append(&header, bytes)
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        let mut xz = XzEncoder::new(Vec::new(), 6);
        xz.write_all(&self.tar.into_inner()?)?;
        xz.finish()
    }
}

/// Writes as much of `text` into a field of a header as fits.
fn fill(field: &mut [u8], text: &str) {
    let bytes = text.as_bytes();
    let count = bytes.len().min(field.len());
    field[..count].copy_from_slice(&bytes[..count]);
}
