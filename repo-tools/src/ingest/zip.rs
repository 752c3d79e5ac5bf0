//! Untrusted zip archives, read entry by entry into memory.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::error::Problem;
use super::tree::{Entry, Limits, RawTree};

/// Whether the bytes begin like a zip archive, which may also be an empty one.
pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// Reads a zip archive.
///
/// # Errors
/// The first entry that is refused; nothing of the archive is kept then.
pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<RawTree, Problem> {
    let malformed = |error: ZipError| Problem::Malformed(format!("not a sound zip archive: {error}"));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(malformed)?;
    if archive.len() > limits.entries {
        return Err(Problem::TooManyEntries(limits.entries));
    }
    let mut tree = RawTree::new(limits);
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(malformed)?;
        let name = file.name_raw().to_vec();
        let shown = || String::from_utf8_lossy(&name).into_owned();
        // Archives of systems without modes have none.
        let mode = file.unix_mode().unwrap_or(0o644);
        let (is_dir, is_link) = (file.is_dir(), file.is_symlink());
        let kind = mode & 0o170_000;
        if !matches!(kind, 0 | 0o040_000 | 0o100_000 | 0o120_000) {
            return Err(Problem::Special(shown()));
        }
        if is_dir {
            tree.insert(&name, Entry::Directory)?;
            continue;
        }
        // The size in the archive is only a claim, so the bytes are counted.
        let most = tree.bytes_left();
        let mut content = Vec::new();
        file.take(most + 1)
            .read_to_end(&mut content)
            .map_err(|error| Problem::Malformed(format!("not a sound zip archive: {error}")))?;
        if content.len() as u64 > most {
            return Err(tree.too_large());
        }
        let entry = if is_link {
            Entry::Link(String::from_utf8(content).map_err(|_| Problem::BadName(shown()))?)
        } else {
            Entry::File {
                bytes: content,
                executable: mode & 0o100 != 0,
            }
        };
        tree.insert(&name, entry)?;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;

    /// A file of a zip archive as it was written by hand, so that it may lie.
    struct Member<'a> {
        name: &'a [u8],
        mode: u32,
        content: &'a [u8],
        deflated: bool,
        claimed_bytes: Option<u32>,
    }

    fn file<'a>(name: &'a str, content: &'a [u8]) -> Member<'a> {
        Member {
            name: name.as_bytes(),
            mode: 0o100_644,
            content,
            deflated: false,
            claimed_bytes: None,
        }
    }

    fn zip(members: &[Member<'_>]) -> Vec<u8> {
        let (mut out, mut central) = (Vec::new(), Vec::new());
        for member in members {
            let mut packed = member.content.to_vec();
            if member.deflated {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(member.content).unwrap();
                packed = encoder.finish().unwrap();
            }
            let mut crc = flate2::Crc::new();
            crc.update(member.content);
            let size = member.claimed_bytes.unwrap_or(member.content.len() as u32);
            let mut common = Vec::new();
            common.extend(20u16.to_le_bytes());
            common.extend(0u16.to_le_bytes());
            common.extend(if member.deflated { 8u16 } else { 0 }.to_le_bytes());
            common.extend([0; 4]);
            common.extend(crc.sum().to_le_bytes());
            common.extend((packed.len() as u32).to_le_bytes());
            common.extend(size.to_le_bytes());
            common.extend((member.name.len() as u16).to_le_bytes());
            common.extend(0u16.to_le_bytes());
            let offset = out.len() as u32;
            out.extend(b"PK\x03\x04");
            out.extend(&common);
            out.extend(member.name);
            out.extend(&packed);
            central.extend(b"PK\x01\x02");
            // Made on Unix, so that the mode counts.
            central.extend([20, 3]);
            central.extend(&common);
            central.extend([0; 6]);
            central.extend((member.mode << 16).to_le_bytes());
            central.extend(offset.to_le_bytes());
            central.extend(member.name);
        }
        let (start, count) = (out.len() as u32, members.len() as u16);
        out.extend(&central);
        out.extend(b"PK\x05\x06");
        out.extend([0; 4]);
        out.extend(count.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend((central.len() as u32).to_le_bytes());
        out.extend(start.to_le_bytes());
        out.extend([0; 2]);
        out
    }

    fn small() -> Limits {
        Limits {
            total_bytes: 4096,
            entries: 8,
            ..Limits::default()
        }
    }

    #[test]
    fn honest_archives_pass() {
        let mut script = file("x/configure", b"#!/bin/sh\n");
        script.mode = 0o100_755;
        let mut link = file("x/link", b"configure");
        link.mode = 0o120_777;
        let mut dir = file("x/", b"");
        dir.mode = 0o040_755;
        let mut packed = file("x/a.c", b"int x; int x; int x; int x;");
        packed.deflated = true;
        let tree = read(&zip(&[dir, script, link, packed]), small()).unwrap();
        let executable = |path| matches!(tree.get(path), Some(Entry::File { executable: true, .. }));
        assert!(executable("x/configure") && !executable("x/a.c"));
        assert_eq!(tree.get("x/link"), Some(&Entry::Link("configure".into())));
        assert_eq!(tree.paths().count(), 4);
    }

    #[test]
    fn hostile_archives_are_refused() {
        fn check(members: &[Member<'_>], expected: &Problem) {
            assert_eq!(read(&zip(members), small()).map(|_| ()).as_ref(), Err(expected));
        }
        let leaves = |name: &str| Problem::NameLeaves(name.into());
        check(&[file("../x", b"")], &leaves("../x"));
        check(&[file("/etc/x", b"")], &leaves("/etc/x"));
        check(&[file("a\nb", b"")], &Problem::BadName("a\nb".into()));
        check(&[file("a", b""), file("a/b", b"")], &Problem::Clash("a/b".into()));
        let mut fifo = file("fifo", b"");
        fifo.mode = 0o010_644;
        check(&[fifo], &Problem::Special("fifo".into()));
        let names: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        let many: Vec<Member<'_>> = names.iter().map(|name| file(name, b"")).collect();
        check(&many, &Problem::TooManyEntries(8));
        // A bomb, and one that claims to be small, which is found out by its claim or by its size.
        let zeros = vec![0; 1 << 20];
        let bomb = |claimed_bytes| {
            let mut bomb = file("zeros", &zeros);
            (bomb.deflated, bomb.claimed_bytes) = (true, claimed_bytes);
            bomb
        };
        check(&[bomb(None)], &Problem::TooLarge(4096));
        assert!(read(&zip(&[bomb(Some(10))]), small()).is_err());
        let mut link = file("link", b"../../etc/passwd");
        link.mode = 0o120_777;
        let tree = read(&zip(&[link]), small()).unwrap();
        assert!(matches!(tree.source_at(""), Err(Problem::LinkLeaves { .. })));
    }

    #[test]
    fn damage_is_an_error() {
        let sound = zip(&[file("x/dkms.conf", b"A=1"), file("x/a.c", b"int x;")]);
        assert!(read(&sound, small()).is_ok());
        for cut in 0..sound.len() {
            assert!(read(&sound[..cut], small()).is_err(), "cut at {cut}");
        }
        for at in 0..sound.len() {
            for bit in [1, 0x80] {
                let mut damaged = sound.clone();
                damaged[at] ^= bit;
                // Whatever comes out, it comes out.
                let _ = read(&damaged, small());
            }
        }
    }
}
