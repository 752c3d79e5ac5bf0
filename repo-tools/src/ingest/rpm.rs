//! rpm packages, binary and source ones: a lead, two headers, and a compressed cpio archive.
//!
//! Read here and not by the crate `rpm`, which writes them: it takes offsets and counts of the headers as they come, so that a hostile file
//! ends the program.

use sha2::{Digest, Sha256};

use super::error::Problem;
use super::origin::{Declared, Origin, outside};
use super::tree::{Limits, RawTree};
use super::{compress, cpio, license};

const LEAD_MAGIC: &[u8] = b"\xed\xab\xee\xdb";
const LEAD: usize = 96;
const HEADER_MAGIC: &[u8] = b"\x8e\xad\xe8\x01";
/// As rpm itself has it.
const TAGS_MAX: usize = 65_536;

/// Tags of the main header, by rpm's names without `RPMTAG_`.
mod tag {
    pub(super) const NAME: u32 = 1000;
    pub(super) const VERSION: u32 = 1001;
    pub(super) const RELEASE: u32 = 1002;
    pub(super) const SUMMARY: u32 = 1004;
    pub(super) const LICENSE: u32 = 1014;
    pub(super) const URL: u32 = 1020;
    pub(super) const PROVIDENAME: u32 = 1047;
    pub(super) const SOURCEPACKAGE: u32 = 1106;
    pub(super) const SUPPLEMENTNAME: u32 = 5052;
    pub(super) const PAYLOADSHA256: u32 = 5092;
    /// Of the signature's header: the digest of the main one.
    pub(super) const SIG_SHA256: u32 = 273;
}

/// What is in an rpm package.
#[derive(Debug)]
pub(super) struct Package {
    /// What it says of itself.
    pub(super) origin: Origin,
    /// `NAME` and `VERSION`.
    pub(super) name: String,
    pub(super) version: String,
    /// Its files, with their places on a machine; of a source package a spec file, archives and patches.
    pub(super) files: RawTree,
    pub(super) is_source: bool,
}

/// Whether the bytes begin like an rpm package.
pub(super) fn is_rpm(bytes: &[u8]) -> bool {
    bytes.starts_with(LEAD_MAGIC)
}

/// Reads a package. Its digests are checked where it has them; signatures are not, because whose key would count is not known here.
pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<Package, Problem> {
    let after_lead = bytes.get(LEAD..).ok_or_else(|| malformed("it ends within its lead"))?;
    let (signature, signature_len) = Header::read(after_lead)?;
    // The signature's header fills up to a multiple of eight.
    let after_signature = after_lead
        .get(signature_len.next_multiple_of(8)..)
        .ok_or_else(|| malformed("it ends within the header of its signature"))?;
    let (header, header_len) = Header::read(after_signature)?;
    let (header_bytes, payload) = after_signature.split_at(header_len);
    for (wanted, found) in [
        (signature.string(tag::SIG_SHA256), header_bytes),
        (header.string(tag::PAYLOADSHA256), payload),
    ] {
        if wanted.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&hex::encode(Sha256::digest(found)))) {
            return Err(malformed("its content is not what the digest in its header says"));
        }
    }
    let of_payload = limits.of_archive(payload.len());
    let room = of_payload.total_bytes + of_payload.entries as u64 * 1024 + (1 << 20);
    let mut files = RawTree::new(of_payload);
    cpio::read(compress::open(payload, room)?, &mut files, limits.entries)?;
    let text = |tag| header.string(tag).unwrap_or_default();
    let (name, version) = (text(tag::NAME), text(tag::VERSION));
    Ok(Package {
        origin: origin(&header, &files),
        is_source: header.find(tag::SOURCEPACKAGE).is_some()
            || after_lead.is_empty()
            || bytes.get(6..8) == Some(&[0, 1]),
        name,
        version,
        files,
    })
}

fn origin(header: &Header<'_>, files: &RawTree) -> Origin {
    let text = |tag| header.string(tag).unwrap_or_default();
    let (version, release) = (text(tag::VERSION), text(tag::RELEASE));
    let names = [tag::PROVIDENAME, tag::SUPPLEMENTNAME].map(|tag| header.strings(tag));
    let patterns: Vec<String> = names.iter().flatten().filter_map(|name| pattern(name)).collect();
    Origin {
        version: (!version.is_empty()).then(|| format!("{version}-{release}")),
        summary: text(tag::SUMMARY).lines().next().unwrap_or_default().trim().to_owned(),
        homepage: text(tag::URL),
        license: license::from_words(&text(tag::LICENSE)),
        declared: if patterns.is_empty() {
            Vec::new()
        } else {
            // An rpm does not say which of its modules they are of.
            vec![Declared {
                module: String::new(),
                patterns,
            }]
        },
        outside: outside(files),
    }
}

/// The pattern in `modalias(pattern)` or `modalias(kernel-flavor:pattern)`, with `%XX` decoded as libzypp does.
fn pattern(name: &str) -> Option<String> {
    let inner = name.strip_prefix("modalias(")?.strip_suffix(')')?;
    let inner = match inner.split_once(':') {
        Some((package, rest)) if package.starts_with("kernel-") => rest,
        _ => inner,
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut left = inner.as_bytes();
    while let Some((&first, rest)) = left.split_first() {
        let digits = (first == b'%').then(|| rest.get(..2)).flatten();
        let decoded = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        left = if decoded.is_some() { &rest[2..] } else { rest };
    }
    String::from_utf8(bytes).ok()
}

/// A header: an index of tags, and the bytes that they point into.
struct Header<'a> {
    index: &'a [u8],
    store: &'a [u8],
}

impl<'a> Header<'a> {
    /// The header at the beginning of `bytes`, and its length.
    fn read(bytes: &'a [u8]) -> Result<(Self, usize), Problem> {
        const PREFIX: usize = 16;
        let ended = || malformed("it ends within a header");
        let prefix = bytes.get(..PREFIX).ok_or_else(ended)?;
        if !prefix.starts_with(HEADER_MAGIC) {
            return Err(malformed("it has a damaged header"));
        }
        let (tags, store_len) = (number(&prefix[8..12]), number(&prefix[12..16]));
        if tags > TAGS_MAX {
            return Err(malformed("its header has too many tags"));
        }
        let store_at = PREFIX + tags * 16;
        let end = store_at.checked_add(store_len).ok_or_else(ended)?;
        let whole = bytes.get(..end).ok_or_else(ended)?;
        let header = Self {
            index: &whole[PREFIX..store_at],
            store: &whole[store_at..],
        };
        Ok((header, end))
    }

    /// Type, offset and count of a tag.
    fn find(&self, tag: u32) -> Option<(usize, usize, usize)> {
        let mut entries = self.index.chunks_exact(16);
        let entry = entries.find(|entry| entry[..4] == tag.to_be_bytes())?;
        Some((number(&entry[4..8]), number(&entry[8..12]), number(&entry[12..16])))
    }

    fn string(&self, tag: u32) -> Option<String> {
        self.strings(tag).into_iter().next()
    }

    /// The strings of a tag; none where it is of another type, or points out of the store.
    fn strings(&self, tag: u32) -> Vec<String> {
        const STRING: usize = 6;
        const STRING_ARRAY: usize = 8;
        const I18N_STRING: usize = 9;
        let Some((kind, offset, count)) = self.find(tag) else {
            return Vec::new();
        };
        let Some(bytes) = self.store.get(offset..) else {
            return Vec::new();
        };
        let count = match kind {
            STRING => 1,
            STRING_ARRAY | I18N_STRING => count,
            _ => 0,
        };
        let texts = bytes.split(|byte| *byte == 0).take(count);
        texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

fn malformed(what: &str) -> Problem {
    Problem::Malformed(format!("not a sound rpm package: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::cpio::tests::entry;

    fn header(tags: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut store) = (Vec::<u8>::new(), Vec::<u8>::new());
        for (tag, kind, count, bytes) in tags {
            for value in [*tag, *kind, store.len() as u32, *count] {
                index.extend(value.to_be_bytes());
            }
            store.extend(*bytes);
        }
        let mut out = HEADER_MAGIC.to_vec();
        out.extend([0; 4]);
        out.extend((tags.len() as u32).to_be_bytes());
        out.extend((store.len() as u32).to_be_bytes());
        out.extend(index);
        out.extend(store);
        out
    }

    fn package(tags: &[(u32, u32, u32, &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut out = LEAD_MAGIC.to_vec();
        out.extend([3, 0, 0, 0]);
        out.resize(LEAD, 0);
        out.extend(header(&[]));
        out.extend(header(tags));
        out.extend(payload);
        out
    }

    fn payload() -> Vec<u8> {
        let mut cpio = Vec::new();
        entry(&mut cpio, "./usr/src/x-1/dkms.conf", 0o100_644, 1, 1, b"A=1");
        entry(&mut cpio, "./etc/modprobe.d/x.conf", 0o100_644, 2, 1, b"");
        entry(&mut cpio, "TRAILER!!!", 0, 0, 1, b"");
        zstd::encode_all(cpio.as_slice(), 3).unwrap()
    }

    fn tags() -> Vec<(u32, u32, u32, &'static [u8])> {
        vec![
            (tag::NAME, 6, 1, b"dkms-x\0"),
            (tag::VERSION, 6, 1, b"1.2\0"),
            (tag::RELEASE, 6, 1, b"3.fc40\0"),
            (tag::SUMMARY, 9, 1, b"short\0"),
            (tag::LICENSE, 6, 1, b"GPLv2+ and MIT\0"),
            (
                tag::PROVIDENAME,
                8,
                2,
                b"dkms-x\0modalias(pci:v00001234d*sv*sd*bc*sc*i*)\0",
            ),
            (
                tag::SUPPLEMENTNAME,
                8,
                1,
                b"modalias(kernel-default:dmi%3A*%3AsvnA%20B%3A*)\0",
            ),
        ]
    }

    #[test]
    fn a_package_says_what_it_is() {
        let read = read(&package(&tags(), &payload()), Limits::default()).unwrap();
        assert_eq!(read.origin.version.as_deref(), Some("1.2-3.fc40"));
        assert_eq!((read.name.as_str(), read.version.as_str()), ("dkms-x", "1.2"));
        assert_eq!(read.origin.summary, "short");
        assert_eq!(read.origin.license, "GPL-2.0-or-later AND MIT");
        assert_eq!(read.origin.outside, ["/etc/modprobe.d/x.conf"]);
        assert_eq!(
            read.origin.declared[0].patterns,
            ["pci:v00001234d*sv*sd*bc*sc*i*", "dmi:*:svnA B:*"]
        );
        assert!(read.files.get("usr/src/x-1/dkms.conf").is_some() && !read.is_source);
    }

    #[test]
    fn digests_are_checked() {
        let good = hex::encode(Sha256::digest(payload())) + "\0";
        let mut with = tags();
        with.push((tag::PAYLOADSHA256, 8, 1, good.as_bytes()));
        assert!(read(&package(&with, &payload()), Limits::default()).is_ok());
        let other = zstd::encode_all(&b"x"[..], 3).unwrap();
        let error = read(&package(&with, &other), Limits::default()).unwrap_err();
        assert_eq!(
            error,
            malformed("its content is not what the digest in its header says")
        );
    }

    #[test]
    fn hostile_headers_end_nothing() {
        let sound = package(&tags(), &payload());
        let small = Limits {
            total_bytes: 1 << 20,
            ..Limits::default()
        };
        for cut in 0..sound.len() {
            assert!(read(&sound[..cut], small).is_err(), "cut at {cut}");
        }
        // Each byte of lead and headers, as the largest offset, count or length that it can be part of.
        let headers = sound.len() - payload().len();
        for at in 0..headers {
            for byte in [0, 0x7f, 0xff] {
                let mut damaged = sound.clone();
                damaged[at] = byte;
                let _ = read(&damaged, small);
            }
        }
        // Four bytes at once: offsets that are negative for a signed reader, counts beyond all memory.
        for at in (LEAD..headers - 4).step_by(4) {
            let mut damaged = sound.clone();
            damaged[at..at + 4].copy_from_slice(&[0xff; 4]);
            let _ = read(&damaged, small);
        }
    }

    #[test]
    fn patterns_are_decoded() {
        assert_eq!(pattern("modalias(of:N*%28null%29)").as_deref(), Some("of:N*(null)"));
        assert_eq!(pattern("modalias(x%)").as_deref(), Some("x%"));
        assert_eq!(pattern("modalias(x%zz%4)").as_deref(), Some("x%zz%4"));
        assert_eq!(pattern("kmod(x.ko)"), None);
    }
}
