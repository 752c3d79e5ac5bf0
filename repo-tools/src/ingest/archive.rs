//! Untrusted tar archives, read entry by entry into memory.

use std::io::Read;

use tar::EntryType;

use super::compress;
use super::error::Problem;
use super::tree::{Entry, Limits, RawTree};

/// Reads a tar archive, compressed or not.
///
/// # Errors
/// The first entry that is refused; nothing of the archive is kept then.
pub(super) fn read(packed: &[u8], limits: Limits) -> Result<RawTree, Problem> {
    // Headers and padding come on top of the content: at most three blocks an entry, with long names.
    let room = limits.total_bytes + limits.entries as u64 * 2048 + (1 << 20);
    let mut tree = RawTree::new(limits);
    let mut archive = tar::Archive::new(compress::open(packed, room)?);
    let malformed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => Problem::TooLarge(limits.total_bytes),
        _ => Problem::Malformed(format!("not a sound tar archive: {error}")),
    };
    for entry in archive.entries().map_err(malformed)? {
        let mut entry = entry.map_err(malformed)?;
        let name = entry.path_bytes().into_owned();
        let shown = || String::from_utf8_lossy(&name).into_owned();
        let found = match entry.header().entry_type() {
            EntryType::Directory => Entry::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if entry.size() > tree.bytes_left() {
                    return Err(tree.too_large());
                }
                // Never more than its size: a vector that grows by itself takes up to twice of it.
                let mut bytes = Vec::with_capacity(usize::try_from(entry.size()).unwrap_or_default());
                entry.read_to_end(&mut bytes).map_err(malformed)?;
                let executable = entry.header().mode().map_err(malformed)? & 0o100 != 0;
                Entry::File { bytes, executable }
            }
            EntryType::Symlink => Entry::Link(link_target(&entry, &name)?),
            EntryType::Link => {
                let target = link_target(&entry, &name)?;
                let key = target.strip_prefix("./").unwrap_or(&target);
                match tree.get(key) {
                    Some(Entry::File { bytes, .. }) if bytes.len() as u64 > tree.bytes_left() => {
                        return Err(tree.too_large());
                    }
                    Some(file @ Entry::File { .. }) => file.clone(),
                    _ => return Err(Problem::DanglingHardLink { name: shown(), target }),
                }
            }
            // A comment of git archives and pax defaults for what follows: not entries.
            EntryType::XGlobalHeader => continue,
            _ => return Err(Problem::Special(shown())),
        };
        tree.insert(&name, found)?;
    }
    Ok(tree)
}

fn link_target<R: Read>(entry: &tar::Entry<'_, R>, name: &[u8]) -> Result<String, Problem> {
    entry
        .link_name_bytes()
        .and_then(|target| String::from_utf8(target.into_owned()).ok())
        .ok_or_else(|| Problem::BadName(String::from_utf8_lossy(name).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::tree::SourceTree;

    /// One tar header and its content, written raw so that hostile names pass.
    fn member(tar: &mut Vec<u8>, kind: EntryType, name: &str, link: &str, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }

    fn source(members: &[(EntryType, &str, &str)]) -> Result<SourceTree, Problem> {
        let mut tar = Vec::new();
        for (kind, name, link) in members {
            let content: &[u8] = if *kind == EntryType::Regular { b"text" } else { b"" };
            member(&mut tar, *kind, name, link, content);
        }
        tar.resize(tar.len() + 1024, 0);
        read(&tar, Limits::default())?.source_at("")
    }

    #[test]
    fn hostile_archives_are_refused() {
        use EntryType::{Block, Char, Fifo, Link, Regular, Symlink};
        fn check(members: &[(EntryType, &str, &str)], expected: Problem) {
            assert_eq!(source(members).map(|_| ()), Err(expected), "{members:?}");
        }
        let leaves = |name: &str| Problem::NameLeaves(name.into());
        let special = |name: &str| Problem::Special(name.into());
        check(&[(Regular, "../x", "")], leaves("../x"));
        check(&[(Regular, "a/../../x", "")], leaves("a/../../x"));
        check(&[(Regular, "/etc/x", "")], leaves("/etc/x"));
        check(&[(Regular, "a\u{7}", "")], Problem::BadName("a\u{7}".into()));
        check(&[(Char, "null", "")], special("null"));
        check(&[(Block, "disk", "")], special("disk"));
        check(&[(Fifo, "pipe", "")], special("pipe"));
        check(
            &[(Symlink, "l", "/etc"), (Regular, "l/passwd", "")],
            Problem::Clash("l/passwd".into()),
        );
        check(
            &[(Symlink, "l", "../..")],
            Problem::LinkLeaves {
                name: "l".into(),
                target: "../..".into(),
            },
        );
        check(
            &[(Link, "l", "/etc/shadow")],
            Problem::DanglingHardLink {
                name: "l".into(),
                target: "/etc/shadow".into(),
            },
        );
        check(&[(Regular, "x", ""), (Regular, "x", "")], Problem::Clash("x".into()));
    }

    #[test]
    fn honest_archives_pass() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let tree = source(&[
            (Directory, "./", ""),
            (Regular, "./a/b.c", ""),
            (Link, "./c.c", "./a/b.c"),
            (Symlink, "./a/up.c", "../c.c"),
        ])
        .unwrap();
        let paths: Vec<&str> = tree.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "a/b.c", "a/up.c", "c.c"]);
        assert_eq!(
            tree.files().map(|(_, bytes)| bytes).collect::<Vec<_>>(),
            [b"text", b"text"]
        );
    }

    #[test]
    fn bombs_and_lies_are_refused() {
        let small = Limits {
            total_bytes: 4096,
            entries: 8,
            ..Limits::default()
        };
        let mut tar = Vec::new();
        member(&mut tar, EntryType::Regular, "zeros", "", &vec![0; 50 << 20]);
        tar.resize(tar.len() + 1024, 0);
        let bomb = zstd::encode_all(tar.as_slice(), 3).unwrap();
        assert!(bomb.len() < 10_000);
        assert_eq!(read(&bomb, small).map(|_| ()), Err(Problem::TooLarge(4096)));

        // A header that promises more than the stream has, and one with a size beyond all bounds.
        let truncated = read(&tar[..2048], Limits::default());
        assert!(matches!(truncated, Err(Problem::Malformed(_))), "{truncated:?}");
        let mut hard_links = Vec::new();
        member(&mut hard_links, EntryType::Regular, "a", "", &[1; 3000]);
        member(&mut hard_links, EntryType::Link, "b", "a", b"");
        hard_links.resize(hard_links.len() + 1024, 0);
        assert_eq!(read(&hard_links, small).map(|_| ()), Err(Problem::TooLarge(4096)));
        assert!(read(b"this is no archive", small).is_err());
    }
}
