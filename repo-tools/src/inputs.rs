//! Which staged package was made from which file, so that adding the same file again does nothing.
//!
//! `cache/inputs/<2 hex>/<SHA-256 of the file>` of the working directory, one for each file that was added. They can be removed at any
//! time: then the file is read again, and the same package comes out.

use std::fs;
use std::path::{Path, PathBuf};

use dkms_index::document::manifest::Manifest;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::{self, FileError};
use crate::ingest::Limits;
use crate::stage::{Stage, StagedPackage};

/// The revision of the code that makes a package from an input. With another number, all inputs count as new.
const REVISION: u32 = 4;

/// What was made from a file.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    revision: u32,
    name: String,
    version: String,
    /// If the package has another bundle by now, it was not made from the file.
    bundle: String,
}

/// The staged package that was made from exactly this file by this revision of the program, if there is one.
pub fn made_from(stage: &Stage, path: &Path) -> Option<StagedPackage> {
    made_from_digest(stage, &digest(path)?)
}

/// The same, by the file's SHA-256.
pub fn made_from_digest(stage: &Stage, sha256: &str) -> Option<StagedPackage> {
    let bytes = fs::read(note(stage, sha256)?).ok()?;
    let made: Made = serde_json::from_slice(&bytes).ok()?;
    let package = (made.revision == REVISION).then(|| stage.get(&made.name, &made.version).ok())??;
    (package.manifest.bundle.sha256 == made.bundle).then_some(package)
}

/// Notes that a package was made from this file alone. Of a directory nothing is noted: it is read again each time.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn note_made(stage: &Stage, path: &Path, manifest: &Manifest) -> Result<(), FileError> {
    let Some(note) = digest(path).and_then(|sha256| note(stage, &sha256)) else {
        return Ok(());
    };
    let made = Made {
        revision: REVISION,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        bundle: manifest.bundle.sha256.clone(),
    };
    files::write_atomic(&note, &serde_json::to_vec(&made).unwrap_or_default())
}

fn digest(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    // What is too large is refused later, when the package itself is read.
    let readable = metadata.is_file() && metadata.len() <= Limits::default().packed_bytes;
    readable
        .then(|| fs::read(path).ok())?
        .map(|bytes| hex::encode(Sha256::digest(&bytes)))
}

/// None where it is no SHA-256 in hex, which an archive's index may claim.
fn note(stage: &Stage, sha256: &str) -> Option<PathBuf> {
    let is_digest = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| {
        stage
            .repository_dir()
            .join("cache/inputs")
            .join(&sha256[..2])
            .join(sha256)
    })
}

#[cfg(test)]
mod tests {
    use dkms_index::document::BundleFormat;
    use serde_json::json;

    use super::*;
    use crate::repository::{Config, Repository};

    #[test]
    fn a_file_is_known_while_what_was_made_from_it_is_staged() {
        let dir = tempfile::tempdir().unwrap();
        let config: Config = toml::from_str("name = \"t\"").unwrap();
        let stage = Stage::of(&Repository::create(dir.path(), config).unwrap());
        let put = |content: &str| {
            let bundle = stage.put_bundle(content.as_bytes(), BundleFormat::TarZst).unwrap();
            let package: StagedPackage = serde_json::from_value(json!({
                "manifest": {"schema": 1, "name": "x", "version": "1", "scope": "curated", "bundle": bundle, "modules": [{"name": "x"}]},
                "record": {"name": "x", "version": "1", "manifest": "curated/x@1.json", "bundle": bundle, "modules": ["x"], "patterns": []}
            }))
            .unwrap();
            stage.put(&package).unwrap();
            package
        };
        let file = dir.path().join("x.deb");
        fs::write(&file, "a package").unwrap();
        assert_eq!(made_from(&stage, &file), None);
        let package = put("one");
        note_made(&stage, &file, &package.manifest).unwrap();
        assert_eq!(made_from(&stage, &file), Some(package));
        let other = put("two");
        assert_eq!(made_from(&stage, &file), None, "the package has another source");
        note_made(&stage, &file, &other.manifest).unwrap();
        fs::write(&file, "another package").unwrap();
        assert_eq!(made_from(&stage, &file), None, "another file");
        fs::write(&file, "a package").unwrap();
        assert_eq!(made_from(&stage, &file), Some(other));
        stage.remove("x", "1").unwrap();
        assert_eq!(made_from(&stage, &file), None, "no longer staged");
        assert_eq!(made_from_digest(&stage, &format!("../{}", "0".repeat(61))), None);
        assert_eq!(made_from(&stage, dir.path()), None, "a directory");
    }
}
