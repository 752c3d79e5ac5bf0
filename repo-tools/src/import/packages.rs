//! The index of a component (Packages): its *-dkms packages.

use std::io::{self, BufRead, BufReader, Read};

use deb822_fast::{Deb822, Paragraph};

use super::error::ImportError;

/// How an index is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Xz,
    Gzip,
    None,
}

/// The forms of an index, the smallest first.
pub(super) const INDEXES: [(&str, Compression); 3] = [
    (".xz", Compression::Xz),
    (".gz", Compression::Gzip),
    ("", Compression::None),
];

/// Names that end like those of drivers and are not: the helper that makes such packages.
const TOOLS: [&str; 1] = ["dh-dkms"];

/// The longest entry of an index; nvidia's list of devices has 30 kB.
const ENTRY_MAX_BYTES: usize = 8 << 20;

/// A package that an archive has.
#[derive(serde::Serialize, Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Its name in the distribution.
    pub package: String,
    /// Its version in the distribution.
    pub version: String,
    /// Where it is, below the archive's address.
    pub path: String,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Its length in bytes.
    pub length: u64,
}

/// All *-dkms packages of an index.
pub(super) fn dkms_packages(bytes: &[u8], compression: Compression, url: &str) -> Result<Vec<Offered>, ImportError> {
    let mut found = Vec::new();
    each_entry(bytes, compression, url, &mut |entry| {
        // Most entries are not worth parsing.
        let name = entry
            .lines()
            .find_map(|line| line.strip_prefix("Package:"))
            .map(str::trim);
        if name.is_some_and(|name| name.ends_with("-dkms") && !TOOLS.contains(&name)) {
            found.push(offered(&paragraph(entry)?)?);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Hands over the text of each entry of an index. Its error says what is wrong with the index.
pub(super) fn each_entry(
    bytes: &[u8],
    compression: Compression,
    url: &str,
    take: &mut dyn FnMut(&str) -> Result<(), String>,
) -> Result<(), ImportError> {
    let index = |why: String| ImportError::Index {
        url: url.to_owned(),
        why,
    };
    let stream: Box<dyn Read + '_> = match compression {
        Compression::Xz => Box::new(liblzma::read::XzDecoder::new(bytes)),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        Compression::None => Box::new(bytes),
    };
    let mut stream = BufReader::new(stream.take(super::INDEX_MAX_BYTES));
    while let Some(entry) = next_entry(&mut stream).map_err(|error| index(error.to_string()))? {
        take(&entry).map_err(index)?;
    }
    Ok(())
}

/// The lines up to an empty one.
fn next_entry(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut entry = Vec::new();
    loop {
        let before = entry.len();
        let room = ENTRY_MAX_BYTES.saturating_sub(before) as u64;
        let count = stream.take(room).read_until(b'\n', &mut entry)?;
        let line = &entry[before..];
        if count == 0 && room == 0 {
            return Err(io::Error::other("it has an entry without end"));
        }
        if count == 0 || line == b"\n" || line == b"\r\n" {
            if entry.iter().any(|byte| !byte.is_ascii_whitespace()) {
                return Ok(Some(String::from_utf8_lossy(&entry).into_owned()));
            }
            if count == 0 {
                return Ok(None);
            }
            entry.clear();
        }
    }
}

/// The fields of an entry.
pub(crate) fn paragraph(entry: &str) -> Result<Paragraph, String> {
    let parsed: Deb822 = entry
        .parse()
        .map_err(|_| "it has an entry that is no list of fields".to_owned())?;
    parsed
        .into_iter()
        .next()
        .ok_or_else(|| "it has an empty entry".to_owned())
}

/// The package that an entry is about.
pub(crate) fn offered(fields: &Paragraph) -> Result<Offered, String> {
    let field = |name: &str| {
        let value = fields.get(name).map(|value| value.trim().to_owned());
        value.ok_or_else(|| format!("an entry has no field {name}"))
    };
    let path = field("Filename")?;
    let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
    if path.is_empty() || path.starts_with('/') || path.contains("://") || path.split('/').any(|part| part == "..") {
        return Err(format!("it has the file name {path:?}"));
    }
    Ok(Offered {
        package: field("Package")?,
        version: field("Version")?,
        sha256: field("SHA256")?.to_ascii_lowercase(),
        length: field("Size")?.parse().map_err(|_| "an entry has no size".to_owned())?,
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let packages = dkms_packages(text.as_bytes(), Compression::None, "u").map_err(|error| error.to_string())?;
        Ok(packages
            .iter()
            .map(|p| format!("{} {} {}", p.package, p.version, p.path))
            .collect())
    }

    #[test]
    fn drivers_are_found_among_all_packages() {
        let entry = |name: &str, path: &str| {
            format!("Package: {name}\nVersion: 1:2-3\nFilename: {path}\nSize: 7\nSHA256: AB\nDescription: x\n y\n\n")
        };
        let all = [
            entry("dkms", "pool/dkms.deb"),
            entry("dh-dkms", "pool/dh.deb"),
            entry("x-dkms", "pool/x.deb"),
            "\n\n".to_owned(),
            entry("y-dkms", "./y.deb"),
        ];
        assert_eq!(
            read(&all.concat()),
            Ok(vec!["x-dkms 1:2-3 pool/x.deb".into(), "y-dkms 1:2-3 y.deb".into()])
        );
        assert_eq!(read(""), Ok(Vec::new()));
        for path in ["../x.deb", "/x.deb", "http://x/y.deb", "a/../b"] {
            let error = format!("u is not a sound index: it has the file name {path:?}");
            assert_eq!(read(&entry("x-dkms", path)), Err(error));
        }
        assert_eq!(
            read("Package: x-dkms\nVersion: 1\n"),
            Err("u is not a sound index: an entry has no field Filename".into())
        );
    }
}
