//! Taking packages in: a directory, an archive, a package of a distribution or a commit becomes a [`SourceTree`] and then a [`Bundle`].
//!
//! Everything here treats its input as hostile. Nothing of the package is run, and nothing is written to disk, with two exceptions in
//! temporary directories: a source package's patches are applied by `patch`, in the sandbox, and a commit is fetched by `git`.

mod archive;
pub mod bundle;
mod compress;
mod control;
mod cpio;
mod deb;
mod directory;
mod dsc;
mod error;
mod git;
mod license;
mod origin;
mod packed;
mod patches;
mod propose;
mod rpm;
mod srpm;
mod tree;
mod zip;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

pub use bundle::Bundle;
pub(crate) use compress::open as decompress;
pub(crate) use deb::member as deb_member;
pub use error::{IngestError, Problem};
pub use git::tags as git_tags;
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
    /// What a person should know about how it was read.
    pub notes: Vec<String>,
}

/// All files of a package, before its source is found among them.
struct Read {
    raw: RawTree,
    origin: Origin,
    notes: Vec<String>,
}

impl Read {
    fn plain(raw: RawTree) -> Self {
        Self {
            raw,
            origin: Origin::default(),
            notes: Vec::new(),
        }
    }
}

/// Takes in what lies at `path`: a directory with `dkms.conf`, a tar or zip archive (also as made by `dkms mktarball`), a Debian *-dkms
/// package, an rpm package with a source in /usr/src, a source rpm, or a .dsc with its archives beside it; or a commit, `git+URL@REVISION`.
///
/// # Errors
/// See [`IngestError`]: not readable, not a package, hostile, or without exactly one `dkms.conf`.
pub fn ingest(path: &Path, limits: Limits) -> Result<Ingested, IngestError> {
    source_of(path, read(path, limits)?, None)
}

/// As [`ingest`], for a source without a `dkms.conf`, which gets this one.
///
/// # Errors
/// As those of [`ingest`], and when the source has one.
pub fn ingest_with_conf(path: &Path, limits: Limits, conf: &[u8]) -> Result<Ingested, IngestError> {
    source_of(path, read(path, limits)?, Some(conf))
}

/// What is changed in a source from outside before it becomes a package.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The `dkms.conf`, also where the source has one.
    pub conf: Option<Vec<u8>>,
    /// The version in the place of what the source's own packaging would replace: `#MODULE_VERSION#`, `#VERSION#`, `@VERSION@`.
    pub version: Option<String>,
    /// Patches for the top directory of the package (`-p1`), in their order.
    pub patches: Vec<Change>,
}

/// A patch.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its name, for messages.
    pub name: String,
    /// Its text.
    pub text: Vec<u8>,
}

/// As [`ingest`], with changes.
///
/// # Errors
/// As those of [`ingest`], and when a patch does not apply.
pub fn ingest_changed(path: &Path, limits: Limits, changes: Changes) -> Result<Ingested, IngestError> {
    let mut read = read(path, limits)?;
    let patches: Vec<patches::Patch> = changes
        .patches
        .into_iter()
        .map(|change| patches::Patch {
            name: change.name,
            text: change.text,
            strip: 1,
        })
        .collect();
    read.raw = patches::apply(read.raw, &patches, limits).map_err(|problem| refused(path, problem))?;
    let place = match source_directory(path, &read.raw) {
        Ok(top) if top.is_empty() => "dkms.conf".to_owned(),
        Ok(top) => format!("{top}/dkms.conf"),
        Err(_) => return source_of(path, read, changes.conf.as_deref()),
    };
    let old = match read.raw.get(&place) {
        Some(Entry::File { bytes, .. }) => bytes.clone(),
        _ => Vec::new(),
    };
    let mut text = changes.conf.unwrap_or(old);
    if let Some(version) = &changes.version {
        let mut replaced = String::from_utf8_lossy(&text).into_owned();
        for placeholder in ["#MODULE_VERSION#", "#VERSION#", "@VERSION@"] {
            replaced = replaced.replace(placeholder, version);
        }
        text = replaced.into_bytes();
    }
    read.raw.remove(&place);
    let entry = Entry::File {
        bytes: text,
        executable: false,
    };
    read.raw
        .insert(place.as_bytes(), entry)
        .map_err(|problem| refused(path, problem))?;
    source_of(path, read, None)
}

/// As [`ingest`], for the content of the file at `path`, which is not read again.
///
/// # Errors
/// As those of [`ingest`].
pub fn ingest_bytes(path: &Path, bytes: &[u8], limits: Limits) -> Result<Ingested, IngestError> {
    source_of(path, read_bytes(path, bytes, limits)?, None)
}

/// The text of a `dkms.conf` for a source that has none.
///
/// # Errors
/// As those of [`ingest`], when the source has one, and when none of its makefiles names modules.
pub fn propose(path: &Path, limits: Limits) -> Result<String, IngestError> {
    let read = read(path, limits)?;
    if source_directory(path, &read.raw).is_ok() {
        return Err(IngestError::HasConf { path: path.to_owned() });
    }
    proposal(path, &read).ok_or_else(|| IngestError::NoModules { path: path.to_owned() })
}

fn proposal(path: &Path, read: &Read) -> Option<String> {
    let top = propose::top(&read.raw);
    // The directory in an archive tells more than the name of a file that somebody gave it.
    let text = path.to_string_lossy();
    let named = match top.rsplit('/').next() {
        Some(dir) if !dir.is_empty() => dir.to_owned(),
        _ => {
            let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            full.file_name()
                .map_or_else(|| text.clone().into_owned(), |name| name.to_string_lossy().into_owned())
        }
    };
    propose::conf(&read.raw, &top, &named.replace('@', "-"), None)
}

fn read(path: &Path, limits: Limits) -> Result<Read, IngestError> {
    if git::is_git(path) {
        let taken = git::read(path, limits)?;
        return Ok(Read {
            raw: taken.raw,
            origin: taken.origin,
            notes: taken.notes,
        });
    }
    if path.is_dir() {
        return Ok(Read::plain(directory::read(path, limits)?));
    }
    // Reading a pipe or a device may never end.
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(IngestError::UnknownKind { path: path.to_owned() });
    }
    let bytes = read_file(path, limits)?;
    if dsc::is_dsc(path) {
        let mut unpatched = dsc::read(path, &bytes, limits)?;
        let refused = |problem| refused(path, problem);
        unpatched.raw = patches::apply(unpatched.raw, &unpatched.patches, limits).map_err(refused)?;
        dsc::with_conf_of_dh_dkms(&mut unpatched).map_err(refused)?;
        return Ok(Read {
            raw: unpatched.raw,
            origin: unpatched.origin,
            notes: unpatched.notes,
        });
    }
    read_bytes(path, &bytes, limits)
}

fn read_bytes(path: &Path, bytes: &[u8], limits: Limits) -> Result<Read, IngestError> {
    let refused = |problem| refused(path, problem);
    if deb::is_ar(bytes) {
        let (origin, raw) = deb::read(bytes, limits).map_err(refused)?;
        return Ok(Read {
            origin,
            ..Read::plain(raw)
        });
    }
    if rpm::is_rpm(bytes) {
        return read_rpm(bytes, limits).map_err(refused);
    }
    if packed::is_archive(path, bytes) {
        return Ok(Read::plain(packed::read(bytes, limits).map_err(refused)?));
    }
    Err(IngestError::UnknownKind { path: path.to_owned() })
}

/// An rpm package with a source; of a source package, and of an akmod package, which brings one, the source in it.
fn read_rpm(bytes: &[u8], limits: Limits) -> Result<Read, Problem> {
    let mut package = rpm::read(bytes, limits)?;
    let inner = package
        .files
        .paths()
        .find(|path| path.starts_with("usr/src/akmods/") && path.ends_with(".src.rpm"));
    if let (false, Some(Entry::File { bytes, .. })) =
        (package.is_source, inner.and_then(|path| package.files.get(path)))
    {
        let source = rpm::read(bytes, limits)?;
        package = rpm::Package {
            origin: Origin {
                outside: Vec::new(),
                ..package.origin
            },
            ..source
        };
    }
    if !package.is_source {
        return Ok(Read {
            origin: package.origin,
            ..Read::plain(package.files)
        });
    }
    let (raw, patches) = srpm::source(&package.files, (&package.name, &package.version), limits)?;
    Ok(Read {
        origin: Origin {
            outside: Vec::new(),
            ..package.origin
        },
        ..Read::plain(patches::apply(raw, &patches, limits)?)
    })
}

fn refused(path: &Path, problem: Problem) -> IngestError {
    IngestError::Refused {
        path: path.to_owned(),
        problem,
    }
}

fn source_of(path: &Path, mut read: Read, conf: Option<&[u8]>) -> Result<Ingested, IngestError> {
    let top = match (source_directory(path, &read.raw), conf) {
        (Ok(top), None) => top,
        (Ok(_), Some(_)) => return Err(IngestError::HasConf { path: path.to_owned() }),
        (Err(IngestError::NoConf { .. }), Some(conf)) => {
            let top = propose::top(&read.raw);
            let name = if top.is_empty() {
                "dkms.conf".to_owned()
            } else {
                format!("{top}/dkms.conf")
            };
            let entry = Entry::File {
                bytes: conf.to_vec(),
                executable: false,
            };
            read.raw
                .insert(name.as_bytes(), entry)
                .map_err(|problem| refused(path, problem))?;
            top
        }
        (Err(IngestError::NoConf { .. }), None) => {
            return Err(IngestError::NoConf {
                path: path.to_owned(),
                proposed: proposal(path, &read).is_some(),
            });
        }
        (Err(error), _) => return Err(error),
    };
    let tree = read.raw.source_at(&top).map_err(|problem| refused(path, problem))?;
    let mut origin = read.origin;
    if origin.license.is_empty() {
        let license = license::from_source(&tree).or_else(|| license::from_modules(&tree));
        origin.license = license.unwrap_or_default();
    }
    Ok(Ingested {
        tree,
        origin,
        notes: read.notes,
    })
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
        // Debian's dkms puts the dkms.conf beside the built modules.
        ["dkms_binaries_only"] => Err(IngestError::BinariesOnly { path: path.to_owned() }),
        [one] => Ok((*one).to_owned()),
        [] if raw.get("dkms_binaries_only").is_some() => Err(IngestError::BinariesOnly { path: path.to_owned() }),
        [] => Err(IngestError::NoConf {
            path: path.to_owned(),
            proposed: false,
        }),
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
            &["dkms_binaries_only/dkms.conf", "dkms_main_tree/dkms_dbversion"],
            Err("\"p\" holds built modules and no source"),
        );
        check(
            &["usr/src/a-1/dkms.conf", "usr/src/b-1/dkms.conf"],
            Err("\"p\" holds several sources: usr/src/a-1/, usr/src/b-1/"),
        );
    }
}
