//! Who answers for a source: `.authority` beside the link to it, where only root writes.
//!
//! Packages of different authorities are kept apart while they are built. The source itself cannot say whose it is: its archive fills it.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use super::{Tree, TreeError, TreeLock};
use crate::fsutil::{remove_any, write_atomic};
use crate::package::DkmsId;

/// The longest note, in bytes.
const MAX_LEN: u64 = 4096;

/// Who answers for a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Authority {
    /// Root put it there by hand, or by a package of the distribution.
    #[default]
    Administrator,
    /// Who signed it, in the words of whoever added it.
    Signer(String),
}

impl Tree {
    /// `M/V/.authority`: who signed the source.
    fn authority_note(&self, package: &DkmsId) -> PathBuf {
        self.version_dir(package).join(".authority")
    }

    /// Who answers for the source of `package`. None where the note cannot be read.
    pub fn authority(&self, package: &DkmsId) -> Option<Authority> {
        let read = || -> io::Result<String> {
            let mut text = String::new();
            fs::File::open(self.authority_note(package))?
                .take(MAX_LEN)
                .read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) => text
                .strip_suffix('\n')
                .filter(|signer| !signer.is_empty())
                .map(|signer| Authority::Signer(signer.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Authority::Administrator),
            Err(_) => None,
        }
    }

    /// Notes who answers for the source of `package`.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn note_authority(&self, _lock: &TreeLock, package: &DkmsId, authority: &Authority) -> Result<(), TreeError> {
        self.write_authority(package, authority)
            .map_err(TreeError::io("write", &self.authority_note(package)))
    }

    pub(super) fn write_authority(&self, package: &DkmsId, authority: &Authority) -> io::Result<()> {
        let note = self.authority_note(package);
        match authority {
            Authority::Administrator => remove_any(&note),
            Authority::Signer(signer) => write_atomic(&note, format!("{signer}\n").as_bytes(), 0o644),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Framework;
    use crate::root::Root;

    #[test]
    fn a_note_that_cannot_be_read_is_nobodys() {
        let temp = tempfile::tempdir().expect("temp dir");
        let tree = Tree::new(&Root::at(temp.path()), &Framework::default());
        let package = DkmsId::new("a", "1").expect("a package");
        let note = tree.authority_note(&package);
        fs::create_dir_all(tree.version_dir(&package)).expect("dirs");
        assert_eq!(tree.authority(&package), Some(Authority::Administrator));
        let lock = tree.lock(&()).expect("locks");
        let signer = Authority::Signer("main by-id/pci-10ec".into());
        tree.note_authority(&lock, &package, &signer).expect("notes");
        assert_eq!(tree.authority(&package), Some(signer));
        for text in [&b""[..], b"\n", b"cut", b"\xff\n", &[b'x'; 5000]] {
            fs::write(&note, text).expect("write");
            assert_eq!(tree.authority(&package), None, "{text:?}");
        }
        tree.note_authority(&lock, &package, &Authority::Administrator)
            .expect("notes");
        assert!(!note.exists());
    }
}
