//! The key that signs modules, and whether the machine accepts it: none → pending → enrolled, or declined.
//!
//! The firmware is asked by a request that shim's MokManager shows at the next start. Whoever sits there accepts it with the password that
//! was given with the request; otherwise the request is gone. All of this is read from EFI variables, and a note of the request tells a
//! declined one from one that was never made.

mod error;
mod variables;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dkms_engine::kbuild::certificate_path;
use dkms_engine::root::Root;
use dkms_engine::tree::Tree;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use error::MokError;

use crate::files;
use crate::host::boot_id;
use crate::state::Paths;

/// How far the enrolment of the key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enrolment {
    /// There is no key yet: the first build that needs one makes it.
    NoKey,
    /// There are no EFI variables: nothing can be enrolled, and nothing asks for it.
    NoFirmware,
    /// It was never asked for.
    None,
    /// It is asked for, and the next start shows it.
    Pending,
    /// It was asked for, the machine was started since, and the key is not enrolled.
    Declined,
    /// Modules that it signed are accepted.
    Enrolled,
}

impl Enrolment {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoKey => "there is no key yet",
            Self::NoFirmware => "this machine has no EFI variables",
            Self::None => "the firmware was not asked to accept it",
            Self::Pending => "pending: the next start asks",
            Self::Declined => "declined: it was asked for, and the machine was started since",
            Self::Enrolled => "enrolled",
        }
    }
}

/// Where an accepted key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// shim's list of the machine owner's keys.
    MokList,
    /// The firmware's own database.
    Db,
}

/// The key of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// The certificate, DER.
    pub certificate: PathBuf,
    /// Its SHA-256 in hex; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How far its enrolment is.
    pub state: Enrolment,
    /// Where it is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Whether shim tells the kernel to trust its list; absent where it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_trusted: Option<bool>,
}

impl Key {
    /// Whether shim tells the kernel not to trust the list that the key is in.
    pub fn is_distrusted(&self) -> bool {
        self.place == Some(Place::MokList) && self.list_trusted == Some(false)
    }

    /// Whether modules that it signs are accepted, as far as the firmware says.
    pub fn is_accepted(&self) -> bool {
        self.state == Enrolment::Enrolled && !self.is_distrusted()
    }

    /// How far it is, for people.
    pub fn words(&self) -> &'static str {
        if self.is_distrusted() {
            "enrolled in shim's list, which the kernel is told not to trust"
        } else {
            self.state.words()
        }
    }

    /// What brings it nearer to being accepted; `required` is whether modules have to be signed.
    pub fn next_step(&self, required: bool) -> Option<String> {
        let text = match self.state {
            Enrolment::Pending => {
                "restart, choose `Enroll MOK` on the blue screen, and give the password of the request"
            }
            Enrolment::NoKey | Enrolment::None if required => "dkms-fetch mok enroll",
            Enrolment::Declined if required => {
                "dkms-fetch mok enroll asks once more; the blue screen waits for ten seconds only"
            }
            Enrolment::Enrolled if self.is_distrusted() => "mokutil --trust-mok, then restart",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// The note of a request.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    sha256: String,
    /// Which start of the machine it was made in, `/proc/sys/kernel/random/boot_id`.
    boot_id: String,
}

/// Looks at the key of the machine at `root`, with which `tree` signs modules for the kernel `release`.
pub fn look_in(root: &Root, tree: &Tree, ubuntu: bool, release: Option<&str>) -> Key {
    look(
        root,
        &certificate_path(tree, ubuntu, release),
        &Paths::of(root).mok_request(),
    )
}

/// Looks at the key whose certificate is at `certificate`; `note` is where a request was noted.
fn look(root: &Root, certificate: &Path, note: &Path) -> Key {
    let bytes = fs::read(certificate).ok();
    let sha256 = bytes.as_ref().map(|bytes| hex::encode(Sha256::digest(bytes)));
    let (state, place) = match (&bytes, &sha256) {
        (Some(bytes), Some(sha256)) => state(root, bytes, sha256, note),
        _ => (Enrolment::NoKey, None),
    };
    Key {
        certificate: certificate.to_owned(),
        sha256,
        state,
        place,
        list_trusted: variables::list_is_trusted(root),
    }
}

fn state(root: &Root, certificate: &[u8], sha256: &str, note: &Path) -> (Enrolment, Option<Place>) {
    let has = |certificates: Vec<Vec<u8>>| certificates.iter().any(|one| one == certificate);
    if !variables::are_there(root) {
        (Enrolment::NoFirmware, None)
    } else if has(variables::enrolled(root)) {
        (Enrolment::Enrolled, Some(Place::MokList))
    } else if has(variables::in_database(root)) {
        (Enrolment::Enrolled, Some(Place::Db))
    } else if has(variables::pending(root)) {
        (Enrolment::Pending, None)
    } else if was_asked(root, sha256, note) {
        (Enrolment::Declined, None)
    } else {
        (Enrolment::None, None)
    }
}

/// Whether a request for this very key was made before the machine was started the last time.
fn was_asked(root: &Root, sha256: &str, note: &Path) -> bool {
    let request = fs::read(note).ok();
    let request = request.and_then(|bytes| serde_json::from_slice::<Request>(&bytes).ok());
    request.is_some_and(|request| request.sha256 == sha256 && request.boot_id != boot_id(root))
}

/// Whether this machine has EFI variables, which alone can be asked.
pub fn has_variables(root: &Root) -> bool {
    variables::are_there(root)
}

/// Notes that the key was asked for.
///
/// # Errors
/// The operating system's answer.
pub fn note_request(root: &Root, sha256: &str, note: &Path) -> io::Result<()> {
    let request = Request {
        sha256: sha256.to_owned(),
        boot_id: boot_id(root),
    };
    files::write_atomically(note, &serde_json::to_vec(&request)?)
}

#[cfg(test)]
mod tests {
    use super::variables::tests::variable;
    use super::*;

    const SHIM: &str = "605dab50-e046-4300-abb6-3dd810dd8b23";

    #[test]
    fn a_key_goes_from_none_over_pending_to_enrolled_or_declined() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = Root::at(dir.path());
        let put = |path: &str, bytes: &[u8]| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            fs::write(path, bytes).expect("a file");
        };
        let name = |name: &str| format!("sys/firmware/efi/efivars/{name}-{SHIM}");
        let certificate = dir.path().join("mok.pub");
        let note = dir.path().join("note.json");
        let state = || look(&root, &certificate, &note).state;
        assert_eq!(state(), Enrolment::NoKey);
        put("mok.pub", b"certificate");
        assert_eq!(state(), Enrolment::NoFirmware);
        fs::create_dir_all(dir.path().join("sys/firmware/efi/efivars")).expect("a directory");
        assert_eq!(state(), Enrolment::NoFirmware, "efivarfs is not mounted");
        put(&name("MokListRT"), &variable(&[b"another"]));
        put("proc/sys/kernel/random/boot_id", b"first\n");
        assert_eq!(state(), Enrolment::None);

        let sha256 = look(&root, &certificate, &note).sha256.expect("a key");
        note_request(&root, &sha256, &note).expect("noted");
        assert_eq!(state(), Enrolment::None, "mokutil did not take it");
        put(&name("MokNew"), &variable(&[b"certificate"]));
        assert_eq!(state(), Enrolment::Pending);
        // The next start: MokManager removes the request whatever the answer was.
        put("proc/sys/kernel/random/boot_id", b"second\n");
        fs::remove_file(dir.path().join(name("MokNew"))).expect("removed");
        assert_eq!(state(), Enrolment::Declined);
        put(&name("MokListRT1"), &variable(&[b"certificate"]));
        let key = look(&root, &certificate, &note);
        assert_eq!((key.state, key.place), (Enrolment::Enrolled, Some(Place::MokList)));
        // Another key was never asked for.
        put("mok.pub", b"another certificate");
        assert_eq!(state(), Enrolment::None);
    }

    #[test]
    fn the_firmware_itself_may_know_the_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = Root::at(dir.path());
        let efivars = dir.path().join("sys/firmware/efi/efivars");
        fs::create_dir_all(&efivars).expect("a directory");
        let database = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
        fs::write(
            efivars.join(format!("db-{database}")),
            variable(&[b"vendor", b"certificate"]),
        )
        .expect("a file");
        fs::write(efivars.join(format!("MokListTrustedRT-{SHIM}")), [6, 0, 0, 0, 1]).expect("a file");
        let certificate = dir.path().join("mok.pub");
        fs::write(&certificate, "certificate").expect("a file");
        let key = look(&root, &certificate, &dir.path().join("note.json"));
        assert_eq!((key.state, key.place), (Enrolment::Enrolled, Some(Place::Db)));
        assert_eq!(key.list_trusted, Some(true));
    }
}
