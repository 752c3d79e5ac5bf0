//! The archive in an rpm: cpio of the formats "newc" and "crc" (cpio(5)), read into memory.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::error::Problem;
use super::tree::{Entry, RawTree};

const HEADER: usize = 110;
const NAME_MAX: usize = 4096;
const LAST: &[u8] = b"TRAILER!!!";

/// Names of hard links that came before their content, by the file they are links to.
type Waiting = BTreeMap<[u32; 3], Vec<(Vec<u8>, bool)>>;

/// Reads all entries into `tree`, whose limits count.
pub(super) fn read(mut stream: impl Read, tree: &mut RawTree, most_entries: usize) -> Result<(), Problem> {
    let mut waiting = Waiting::new();
    for count in 0.. {
        let header = exactly::<HEADER>(&mut stream)?;
        match &header[..6] {
            b"070701" | b"070702" => {}
            b"07070X" => {
                return Err(malformed(
                    "its archive is of the format for files above 4 GiB, which is not read",
                ));
            }
            _ => return Err(malformed("its archive has a damaged header")),
        }
        let field = |nth: usize| number(&header[6 + 8 * nth..][..8]);
        let (inode, mode, links, size) = (field(0)?, field(1)?, field(4)?, field(6)?);
        let file = [inode, field(7)?, field(8)?];
        let name_len = field(11)? as usize;
        if name_len == 0 || name_len > NAME_MAX {
            return Err(malformed("its archive has a name without end"));
        }
        let mut name = content(&mut stream, name_len)?;
        padding(&mut stream, HEADER + name_len)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        if name == LAST {
            break;
        }
        if count >= most_entries {
            return Err(Problem::TooManyEntries(most_entries));
        }
        if u64::from(size) > tree.bytes_left() {
            return Err(tree.too_large());
        }
        let bytes = content(&mut stream, size as usize)?;
        padding(&mut stream, size as usize)?;
        let executable = mode & 0o100 != 0;
        match mode & 0o170_000 {
            0o040_000 => tree.insert(&name, Entry::Directory)?,
            0o120_000 => {
                let shown = String::from_utf8_lossy(&name).into_owned();
                let target = String::from_utf8(bytes).map_err(|_| Problem::BadName(shown))?;
                tree.insert(&name, Entry::Link(target))?;
            }
            0o100_000 if links > 1 && bytes.is_empty() => {
                waiting.entry(file).or_default().push((name, executable));
            }
            0o100_000 => {
                let others = if links > 1 { waiting.remove(&file) } else { None };
                for (other, executable) in others.into_iter().flatten() {
                    if bytes.len() as u64 > tree.bytes_left() {
                        return Err(tree.too_large());
                    }
                    let bytes = bytes.clone();
                    tree.insert(&other, Entry::File { bytes, executable })?;
                }
                tree.insert(&name, Entry::File { bytes, executable })?;
            }
            _ => return Err(Problem::Special(String::from_utf8_lossy(&name).into_owned())),
        }
    }
    // Links whose content never came are empty files.
    for (name, executable) in waiting.into_values().flatten() {
        let bytes = Vec::new();
        tree.insert(&name, Entry::File { bytes, executable })?;
    }
    Ok(())
}

fn exactly<const COUNT: usize>(stream: &mut impl Read) -> Result<[u8; COUNT], Problem> {
    let mut bytes = [0; COUNT];
    stream.read_exact(&mut bytes).map_err(ended)?;
    Ok(bytes)
}

/// As many bytes as are there, so that a claim takes no memory.
fn content(stream: &mut impl Read, count: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    stream.take(count as u64).read_to_end(&mut bytes).map_err(ended)?;
    if bytes.len() < count {
        return Err(ended(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

/// Headers and contents begin at multiples of four.
fn padding(stream: &mut impl Read, before: usize) -> Result<(), Problem> {
    let mut bytes = [0; 3];
    let count = before.next_multiple_of(4) - before;
    stream.read_exact(&mut bytes[..count]).map_err(ended)
}

fn number(digits: &[u8]) -> Result<u32, Problem> {
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'));
    text.and_then(|text| u32::from_str_radix(text, 16).ok())
        .ok_or_else(|| malformed("its archive has a header without numbers"))
}

fn ended(error: io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed("its archive ends too early"),
        io::ErrorKind::FileTooLarge => Problem::Malformed("its archive unpacks to far more than its size".to_owned()),
        _ => Problem::Malformed(format!("its archive cannot be unpacked: {error}")),
    }
}

fn malformed(what: &str) -> Problem {
    Problem::Malformed(what.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ingest::tree::Limits;

    /// One entry, written raw so that it may lie.
    pub(crate) fn entry(out: &mut Vec<u8>, name: &str, mode: u32, inode: u32, links: u32, content: &[u8]) {
        let size = content.len();
        let name_len = name.len() + 1;
        out.extend(
            format!("070701{inode:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name_len:08x}{0:08x}", 0)
                .bytes(),
        );
        out.extend(name.bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(content);
        out.resize(out.len().next_multiple_of(4), 0);
    }

    fn unpack(cpio: &[u8]) -> Result<RawTree, Problem> {
        let mut tree = RawTree::new(Limits {
            total_bytes: 4096,
            entries: 8,
            ..Limits::default()
        });
        read(cpio, &mut tree, 8).map(|()| tree)
    }

    fn archive(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, mode, content) in entries {
            entry(&mut out, name, *mode, 1, 1, content);
        }
        entry(&mut out, "TRAILER!!!", 0, 0, 1, b"");
        out
    }

    #[test]
    fn files_directories_links_and_hard_links_are_read() {
        let mut cpio = Vec::new();
        entry(&mut cpio, "./d", 0o040_755, 1, 1, b"");
        entry(&mut cpio, "./d/a", 0o100_755, 2, 1, b"text");
        entry(&mut cpio, "./d/l", 0o120_777, 3, 1, b"a");
        entry(&mut cpio, "./h1", 0o100_644, 4, 2, b"");
        entry(&mut cpio, "./h2", 0o100_644, 4, 2, b"both");
        entry(&mut cpio, "./empty", 0o100_644, 5, 2, b"");
        entry(&mut cpio, "TRAILER!!!", 0, 0, 1, b"");
        let tree = unpack(&cpio).unwrap();
        let file = |text: &[u8], executable| Entry::File {
            bytes: text.to_vec(),
            executable,
        };
        assert_eq!(tree.get("d/a"), Some(&file(b"text", true)));
        assert_eq!(tree.get("d/l"), Some(&Entry::Link("a".into())));
        assert_eq!(tree.get("h1"), Some(&file(b"both", false)));
        assert_eq!(tree.get("h2"), Some(&file(b"both", false)));
        assert_eq!(tree.get("empty"), Some(&file(b"", false)));
    }

    #[test]
    fn hostile_archives_are_refused() {
        fn check(cpio: &[u8], expected: &Problem) {
            assert_eq!(unpack(cpio).map(|_| ()).as_ref(), Err(expected));
        }
        let file = 0o100_644;
        check(&archive(&[("../x", file, b"")]), &Problem::NameLeaves("../x".into()));
        check(
            &archive(&[("/etc/x", file, b"")]),
            &Problem::NameLeaves("/etc/x".into()),
        );
        check(&archive(&[("null", 0o020_644, b"")]), &Problem::Special("null".into()));
        check(&archive(&[("big", file, &[0; 5000])]), &Problem::TooLarge(4096));
        let names: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        let many: Vec<(&str, u32, &[u8])> = names.iter().map(|name| (name.as_str(), file, &b""[..])).collect();
        check(&archive(&many), &Problem::TooManyEntries(8));
        // Hard links that never get content count as well, and those that do take the room of files.
        let mut links = Vec::new();
        for name in &names {
            entry(&mut links, name, file, 1, 9, b"");
        }
        check(&links, &Problem::TooManyEntries(8));
        let mut links = Vec::new();
        entry(&mut links, "a", file, 1, 2, b"");
        entry(&mut links, "b", file, 1, 2, &[0; 3000]);
        check(&links, &Problem::TooLarge(4096));
    }

    #[test]
    fn damage_is_an_error_and_claims_take_no_memory() {
        let sound = archive(&[("a", 0o100_644, b"text"), ("b", 0o120_777, b"a")]);
        assert!(unpack(&sound).is_ok());
        for cut in 0..sound.len() - 4 {
            assert!(unpack(&sound[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..sound.len() {
            for byte in [b'f', b'+', 0, 0xff] {
                let mut damaged = sound.clone();
                damaged[at] = byte;
                let _ = unpack(&damaged);
            }
        }
    }
}
