//! The archives of a Debian package: ar around two tar archives, as dpkg-deb writes them.

use std::collections::BTreeSet;
use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use liblzma::write::XzEncoder;
use md5::{Digest, Md5};
use tar::EntryType;

use super::source::Settings;
use crate::ingest::Entry;

/// A whole package: its control files, with `md5sums`, and its files.
pub(super) fn package(control: Tree, data: Tree) -> io::Result<Vec<u8>> {
    let time_s = data.time_s;
    let mut control = control;
    control.file("md5sums", data.md5sums.as_bytes(), false)?;
    let mut ar = b"!<arch>\n".to_vec();
    member(&mut ar, "debian-binary", time_s, b"2.0\n")?;
    member(&mut ar, "control.tar.xz", time_s, &control.finish()?)?;
    member(&mut ar, "data.tar.xz", time_s, &data.finish()?)?;
    Ok(ar)
}

/// The text of `control`.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect()
}

/// A changelog with one entry, compressed as Debian's packages have it. `what` is a sentence in lines.
pub(super) fn changelog(settings: &Settings, package: &str, version: &str, what: &str) -> io::Result<Vec<u8>> {
    let date = Timestamp::from_second(i64::from(settings.time_s)).map_err(io::Error::other)?;
    let date = rfc2822::to_string(&date.to_zoned(jiff::tz::TimeZone::UTC)).map_err(io::Error::other)?;
    let text = format!(
        "{package} ({version}) unstable; urgency=medium\n\n  * {}\n\n -- {}  {date}\n",
        what.replace('\n', "\n    "),
        settings.maintainer(),
    );
    gzip(text.as_bytes())
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
pub(super) struct Tree {
    tar: tar::Builder<Vec<u8>>,
    time_s: u32,
    made: BTreeSet<String>,
    md5sums: String,
    /// The size when installed, as dpkg-gencontrol estimates it.
    pub(super) kibibytes: u64,
}

impl Tree {
    pub(super) fn new(time_s: u32) -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
            time_s,
            made: BTreeSet::new(),
            md5sums: String::new(),
            kibibytes: 0,
        }
    }

    pub(super) fn put(&mut self, path: &str, entry: &Entry) -> io::Result<()> {
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

    pub(super) fn file(&mut self, path: &str, bytes: &[u8], executable: bool) -> io::Result<()> {
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
