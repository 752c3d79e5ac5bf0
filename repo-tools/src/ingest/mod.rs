//! Taking packages in: a directory, a tar archive or a Debian package becomes a [`SourceTree`] and then a [`Bundle`].
//!
//! Everything here treats its input as hostile. Nothing is written to disk and nothing of the package is run.

mod archive;
pub mod bundle;
mod compress;
mod control;
mod deb;
mod directory;
mod error;
mod license;
mod origin;
mod tree;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use bundle::Bundle;
pub use error::{IngestError, Problem};
pub use origin::{Declared, Origin};
pub use tree::{Entry, Limits, SourceTree};

use tree::RawTree;

/// A source that was taken in, and what its packaging says about it.
#[derive(Debug, Clone)]
pub struct Ingested {
    /// The directory of `dkms.conf` and all below it.
    pub tree: SourceTree,
    /// The packaging's facts.
    pub origin: Origin,
}

/// Takes in what lies at `path`: a directory with `dkms.conf`, a tar archive (plain or compressed, also as made by
/// `dkms mktarball`), or a Debian *-dkms package.
///
/// # Errors
/// See [`IngestError`]: not readable, not a package, hostile, or without exactly one `dkms.conf`.
pub fn ingest(path: &Path, limits: Limits) -> Result<Ingested, IngestError> {
    if path.is_dir() {
        return source_of(path, Origin::default(), directory::read(path, limits)?);
    }
    // Reading a pipe or a device may never end.
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(IngestError::UnknownKind { path: path.to_owned() });
    }
    ingest_bytes(path, &read_file(path, limits)?, limits)
}

/// As [`ingest`], for the content of the file at `path`, which is not read again.
///
/// # Errors
/// As those of [`ingest`].
pub fn ingest_bytes(path: &Path, bytes: &[u8], limits: Limits) -> Result<Ingested, IngestError> {
    let (origin, raw) = if deb::is_ar(bytes) {
        deb::read(bytes, limits).map_err(|problem| refused(path, problem))?
    } else if looks_packed(path, bytes) {
        let raw = archive::read(bytes, limits.of_archive(bytes.len())).map_err(|problem| refused(path, problem))?;
        (Origin::default(), raw)
    } else {
        return Err(IngestError::UnknownKind { path: path.to_owned() });
    };
    source_of(path, origin, raw)
}

fn refused(path: &Path, problem: Problem) -> IngestError {
    IngestError::Refused {
        path: path.to_owned(),
        problem,
    }
}

fn source_of(path: &Path, mut origin: Origin, raw: RawTree) -> Result<Ingested, IngestError> {
    let top = source_directory(path, &raw)?;
    let tree = raw.source_at(&top).map_err(|problem| refused(path, problem))?;
    if origin.license.is_empty() {
        let license = license::from_source(&tree).or_else(|| license::from_modules(&tree));
        origin.license = license.unwrap_or_default();
    }
    Ok(Ingested { tree, origin })
}

fn read_file(path: &Path, limits: Limits) -> Result<Vec<u8>, IngestError> {
    let unreadable = |source| IngestError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limits.packed_bytes + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > limits.packed_bytes {
        return Err(IngestError::Refused {
            path: path.to_owned(),
            problem: Problem::TooLarge(limits.packed_bytes),
        });
    }
    Ok(bytes)
}

/// Whether this is a tar archive by its magic, or says so by its name.
fn looks_packed(path: &Path, bytes: &[u8]) -> bool {
    let compressed = [&b"\x1f\x8b"[..], b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh"];
    compressed.iter().any(|magic| bytes.starts_with(magic))
        || bytes.get(257..262) == Some(b"ustar")
        || path.extension().is_some_and(|extension| extension == "tar")
}

/// The one directory of the archive that holds the source's `dkms.conf`.
///
/// Debian packages have it at `usr/src/<name>-<version>/`, `dkms mktarball` writes `dkms_source_tree/`, other archives
/// have it at the top or in one top directory; a `dkms.conf` deeper in the source is part of the source.
fn source_directory(path: &Path, raw: &RawTree) -> Result<String, IngestError> {
    let depth = |dir: &str| {
        if dir.is_empty() {
            0
        } else {
            1 + dir.matches('/').count()
        }
    };
    let dirs: Vec<&str> = raw
        .paths()
        .filter(|p| matches!(raw.get(p), Some(Entry::File { .. })))
        .filter_map(|p| match p {
            "dkms.conf" => Some(""),
            _ => p.strip_suffix("/dkms.conf"),
        })
        .collect();
    let shallowest = dirs.iter().map(|dir| depth(dir)).min();
    let top: Vec<&str> = dirs.into_iter().filter(|dir| Some(depth(dir)) == shallowest).collect();
    match top.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] if raw.get("dkms_binaries_only").is_some() => Err(IngestError::BinariesOnly { path: path.to_owned() }),
        [] => Err(IngestError::NoConf { path: path.to_owned() }),
        many => Err(IngestError::ManyConfs {
            path: path.to_owned(),
            found: many.iter().map(|dir| format!("{dir}/")).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn tree(files: &[&str]) -> RawTree {
        let mut raw = RawTree::new(Limits::default());
        for name in files {
            let entry = Entry::File {
                bytes: Vec::new(),
                executable: false,
            };
            raw.insert(name.as_bytes(), entry).unwrap();
        }
        raw
    }

    #[test]
    fn a_small_package_takes_little_memory() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, size: u64| {
            let mut header = tar::Header::new_gnu();
            header.set_size(size);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, io::repeat(0).take(size)).unwrap();
        };
        add("x-1/dkms.conf", 0);
        add("x-1/zeros", 5 << 20);
        let bomb = zstd::encode_all(tar.into_inner().unwrap().as_slice(), 3).unwrap();
        let room = (4 << 20) + 48 * bomb.len() as u64;
        let error = ingest_bytes(Path::new("p"), &bomb, Limits::default()).unwrap_err();
        assert!(
            matches!(&error, IngestError::Refused { problem, .. } if *problem == Problem::TooLarge(room)),
            "{error}"
        );
    }

    #[test]
    fn the_source_is_where_the_shallowest_conf_is() {
        fn check(files: &[&str], expected: Result<&str, &str>) {
            let found = source_directory(Path::new("p"), &tree(files));
            assert_eq!(
                found.map_err(|e| e.to_string()),
                expected.map(str::to_owned).map_err(str::to_owned),
                "{files:?}"
            );
        }
        check(&["dkms.conf", "a.c"], Ok(""));
        check(&["x-1/dkms.conf", "x-1/sub/dkms.conf"], Ok("x-1"));
        check(
            &["usr/src/x-1/dkms.conf", "usr/share/doc/x/copyright"],
            Ok("usr/src/x-1"),
        );
        check(
            &["dkms_main_tree/dkms_dbversion", "dkms_source_tree/dkms.conf"],
            Ok("dkms_source_tree"),
        );
        check(&["a.c"], Err("\"p\" has no dkms.conf"));
        check(&["dkms_binaries_only"], Err("\"p\" holds built modules and no source"));
        check(
            &["usr/src/a-1/dkms.conf", "usr/src/b-1/dkms.conf"],
            Err("\"p\" holds several sources: usr/src/a-1/, usr/src/b-1/"),
        );
    }
}
