//! Signing modules with a machine owner's key (MOK).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::command::{Confined, find_program};
use crate::event::{Event, Sink};
use crate::fsutil::sync_dir;
use crate::kernel::KernelTarget;
use crate::tree::{Tree, TreeLock};

/// Why a module could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The program that signs could not be run.
    #[error("run {}", .tool.display())]
    Run {
        /// The program.
        tool: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It said no.
    #[error("sign {} with {key}: {said}", .module.display())]
    Refused {
        /// The module.
        module: PathBuf,
        /// The key.
        key: String,
        /// What the program said.
        said: String,
    },
    /// No key could be made.
    #[error("make the signing key {}: {said}", .key.display())]
    NoKey {
        /// Where it would be.
        key: PathBuf,
        /// Why not.
        said: String,
    },
}

impl SignError {
    /// The way out.
    pub fn hint(&self) -> Option<String> {
        match self {
            SignError::Run { tool, .. } => Some(format!("ls -l {}", tool.display())),
            SignError::Refused { key, .. } => Some(format!("openssl rsa -check -noout -in {key}")),
            SignError::NoKey { .. } => Some("dkms generate_mok".into()),
        }
    }
}

/// A key and its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// A file on the running system, or a `pkcs11:` URI.
    pub key: String,
    /// The certificate, DER.
    pub certificate: PathBuf,
    /// True when it was made just now, so that it is not enrolled anywhere yet.
    pub is_new: bool,
}

/// Signs modules for one kernel.
#[derive(Debug, Clone)]
pub struct Signer {
    tool: PathBuf,
    hash: String,
    keys: KeyPair,
}

impl Signer {
    /// Finds what is needed to sign for `kernel`, making a key if there is none. None where the kernel knows no signatures, signing is
    /// turned off, or (told to `sink`) the program that signs is not there.
    ///
    /// # Errors
    /// When a key is needed and cannot be made.
    pub fn prepare(
        tree: &Tree,
        lock: &TreeLock,
        kernel: &KernelTarget,
        sink: &dyn Sink,
    ) -> Result<Option<Signer>, SignError> {
        let Some(hash) = kernel.config().get("CONFIG_MODULE_SIG_HASH") else {
            return Ok(None);
        };
        if !tree.framework().try_sign_modules {
            return Ok(None);
        }
        let Some(tool) = tool(tree, kernel) else {
            sink.emit(Event::Warning {
                text: format!(
                    "modules for {} are not signed: there is no sign-file for it",
                    kernel.release
                ),
                hint: Some(kernel.distribution.headers_command(&kernel.release)),
            });
            return Ok(None);
        };
        let keys = ensure_key_pair(tree, lock, kernel.distribution.is_ubuntu(), Some(&kernel.release), sink)?;
        Ok(Some(Signer {
            tool,
            hash: hash.to_owned(),
            keys,
        }))
    }

    /// The key it signs with.
    pub fn keys(&self) -> &KeyPair {
        &self.keys
    }

    /// Signs the file `module` in its place.
    ///
    /// # Errors
    /// When the program cannot be run or refuses.
    pub fn sign(&self, module: &Path) -> Result<(), SignError> {
        let said = Confined::new(&self.tool)
            .arg(&self.hash)
            .arg(&self.keys.key)
            .arg(&self.keys.certificate)
            .arg(module)
            .time_limit(Duration::from_secs(120))
            .output(64 << 10)
            .map_err(|source| SignError::Run {
                tool: self.tool.clone(),
                source,
            })?;
        if said.ended.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&said.stderr).trim().to_owned();
        Err(SignError::Refused {
            module: module.to_owned(),
            key: self.keys.key.clone(),
            said: text,
        })
    }
}

/// The program that signs for `kernel`.
fn tool(tree: &Tree, kernel: &KernelTarget) -> Option<PathBuf> {
    let root = tree.root();
    let release = &kernel.release;
    let mut candidates = Vec::new();
    if let Some(tool) = &tree.framework().sign_file {
        candidates.push(root.join(expand(tool, release)));
    } else {
        if kernel.distribution.is_ubuntu() {
            candidates.extend(find_program(root, "kmodsign"));
            candidates.push(root.join(format!("/usr/src/linux-headers-{release}/scripts/sign-file")));
        }
        if kernel.distribution.is_debian() {
            let series: Vec<&str> = release.split('.').take(2).collect();
            candidates.push(root.join(format!("/usr/lib/linux-kbuild-{}/scripts/sign-file", series.join("."))));
        }
        candidates.push(kernel.headers.join("scripts/sign-file"));
    }
    let runs = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    candidates.into_iter().find(runs)
}

/// Paths in framework.conf may hold the kernel's release.
fn expand(text: &str, release: &str) -> String {
    text.replace("${kernelver}", release).replace("$kernelver", release)
}

/// The key pair of this machine, made if it is not there: RSA 2048, for code signing, the key readable by root alone.
///
/// # Errors
/// When it has to be made and cannot be.
pub fn ensure_key_pair(
    tree: &Tree,
    _lock: &TreeLock,
    ubuntu: bool,
    release: Option<&str>,
    sink: &dyn Sink,
) -> Result<KeyPair, SignError> {
    let framework = tree.framework();
    let named = |name: &Option<String>| name.as_deref().map(|text| expand(text, release.unwrap_or_default()));
    let default = |name: &str, shim: &str| {
        if ubuntu {
            tree.root().join("/var/lib/shim-signed/mok").join(shim)
        } else {
            tree.path().join(name)
        }
    };
    let certificate = named(&framework.mok_certificate).map(|path| tree.root().join(path));
    let certificate = certificate.unwrap_or_else(|| default("mok.pub", "MOK.der"));
    let key = match named(&framework.mok_signing_key) {
        Some(uri) if uri.starts_with("pkcs11:") => {
            return Ok(KeyPair {
                key: uri,
                certificate,
                is_new: false,
            });
        }
        Some(path) => tree.root().join(path),
        None => default("mok.key", "MOK.priv"),
    };
    let is_new = !(key.is_file() && certificate.is_file());
    if is_new {
        generate(&key, &certificate).map_err(|error| SignError::NoKey {
            key: key.clone(),
            said: error.to_string(),
        })?;
        sink.emit(Event::Warning {
            text: format!("a new key for signing modules was made: {}", certificate.display()),
            hint: Some(format!("mokutil --import {}", certificate.display())),
        });
    }
    Ok(KeyPair {
        key: key.display().to_string(),
        certificate,
        is_new,
    })
}

/// Makes a key pair with openssl in a private directory and puts both files in their places, the key first.
fn generate(key: &Path, certificate: &Path) -> io::Result<()> {
    let dir = key.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)?;
    fs::create_dir_all(certificate.parent().unwrap_or(dir))?;
    let temp = tempfile::Builder::new().prefix(".mok-").tempdir_in(dir)?;
    let (new_key, new_certificate) = (temp.path().join("key"), temp.path().join("certificate"));
    let said = Confined::new("openssl")
        .args([
            "req",
            "-new",
            "-x509",
            "-nodes",
            "-days",
            "36500",
            "-subj",
            "/CN=DKMS module signing key",
        ])
        .args([
            "-newkey",
            "rsa:2048",
            "-addext",
            "extendedKeyUsage=codeSigning",
            "-keyout",
        ])
        .arg(&new_key)
        .args(["-outform", "DER", "-out"])
        .arg(&new_certificate)
        .time_limit(Duration::from_secs(120))
        .output(64 << 10)?;
    if !said.ended.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&said.stderr).trim().to_owned(),
        ));
    }
    fs::set_permissions(&new_key, fs::Permissions::from_mode(0o600))?;
    fs::set_permissions(&new_certificate, fs::Permissions::from_mode(0o644))?;
    for file in [&new_key, &new_certificate] {
        fs::File::open(file)?.sync_all()?;
    }
    fs::rename(&new_key, key)?;
    fs::rename(&new_certificate, certificate).or_else(|_| fs::copy(&new_certificate, certificate).map(drop))?;
    sync_dir(dir)
}

/// The signers of one run, each kernel's made when it is first needed.
pub(super) struct Signers<'a> {
    tree: &'a Tree,
    lock: &'a TreeLock,
    enabled: bool,
    sink: &'a dyn Sink,
    by_release: Mutex<BTreeMap<String, Option<Arc<Signer>>>>,
}

impl<'a> Signers<'a> {
    pub(super) fn new(tree: &'a Tree, lock: &'a TreeLock, enabled: bool, sink: &'a dyn Sink) -> Signers<'a> {
        Signers {
            tree,
            lock,
            enabled,
            sink,
            by_release: Mutex::new(BTreeMap::new()),
        }
    }

    /// The signer for `kernel`. A key that cannot be made is told once; modules then stay unsigned, as upstream has it.
    pub(super) fn of(&self, kernel: &KernelTarget) -> Option<Arc<Signer>> {
        if !self.enabled {
            return None;
        }
        let mut known = self.by_release.lock().unwrap_or_else(PoisonError::into_inner);
        let signer = known.entry(kernel.release.clone()).or_insert_with(|| {
            match Signer::prepare(self.tree, self.lock, kernel, self.sink) {
                Ok(signer) => signer.map(Arc::new),
                Err(error) => {
                    let text = format!("modules for {} are not signed: failed to {error}", kernel.release);
                    self.sink.emit(Event::Warning {
                        text,
                        hint: error.hint(),
                    });
                    None
                }
            }
        });
        signer.clone()
    }
}
