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
    let refused = |problem| IngestError::Refused {
        path: path.to_owned(),
        problem,
    };
    let (mut origin, raw) = if path.is_dir() {
        (Origin::default(), directory::read(path, limits)?)
    } else {
        // Reading a pipe or a device may never end.
        if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            return Err(IngestError::UnknownKind { path: path.to_owned() });
        }
        let bytes = read_file(path, limits)?;
        if deb::is_ar(&bytes) {
            deb::read(&bytes, limits).map_err(refused)?
        } else if looks_packed(path, &bytes) {
            (Origin::default(), archive::read(&bytes, limits).map_err(refused)?)
        } else {
            return Err(IngestError::UnknownKind { path: path.to_owned() });
        }
    };
    let top = source_directory(path, &raw)?;
    let tree = raw.source_at(&top).map_err(refused)?;
    if origin.license.is_empty() {
        origin.license = license::from_source(&tree).unwrap_or_default();
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
