//! The key pair that signs modules: the machine owner's key (MOK).

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::SignError;
use crate::command::{Confined, find_program};
use crate::event::{Event, Sink};
use crate::fsutil::sync_dir;
use crate::root::Root;
use crate::tree::{Tree, TreeLock};

/// Where Ubuntu's shim has its pair.
const SHIM_KEYS: &str = "/var/lib/shim-signed/mok";

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

/// Where a pair may be made if it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKeys {
    /// Where dkms, or Ubuntu's shim, keeps its own. Another place that framework.conf names is most likely mistyped if nothing is there.
    AtDefaultPlace,
    /// Also where framework.conf names another place: somebody has asked for a new pair.
    WhereNamed,
}

/// Paths in framework.conf may hold the kernel's release.
pub(super) fn expand(text: &str, release: &str) -> String {
    text.replace("${kernelver}", release).replace("$kernelver", release)
}

/// The key pair of this machine, made where `new_keys` says if it is not there: RSA 2048, for code signing, the key readable by root
/// alone. On Ubuntu it is that of the shim, which `update-secureboot-policy` makes where it is installed on this machine.
///
/// # Errors
/// When it has to be made and cannot be, or there is no certificate for a `pkcs11:` key.
pub fn ensure_key_pair(
    tree: &Tree,
    _lock: &TreeLock,
    ubuntu: bool,
    release: Option<&str>,
    new_keys: NewKeys,
    sink: &dyn Sink,
) -> Result<KeyPair, SignError> {
    let place = KeyPlace::of(tree, ubuntu, release.unwrap_or_default());
    let KeyPlace { key, certificate, .. } = &place;
    if key.starts_with("pkcs11:") && !certificate.is_file() {
        return Err(SignError::NoKey {
            key: key.into(),
            reason: format!("its certificate is not there ({})", certificate.display()),
        });
    }
    let (has_key, has_certificate) = (is_taken(Path::new(key)), is_taken(certificate));
    let is_there = key.starts_with("pkcs11:") || has_key && has_certificate;
    if !is_there && (has_key || has_certificate) {
        let (key, certificate) = (PathBuf::from(key), certificate.clone());
        let framework = tree.framework();
        let is_named = framework.mok_signing_key.is_some() || framework.mok_certificate.is_some();
        let (there, missing) = if has_key {
            (key, certificate)
        } else {
            (certificate, key)
        };
        return Err(SignError::HalfPair {
            there,
            missing,
            lacks_certificate: has_key,
            is_named,
        });
    }
    if !is_there {
        if new_keys == NewKeys::AtDefaultPlace {
            require_default_place(tree, &place)?;
        }
        require_named_directories(tree, &place)?;
        place.make(tree.root()).map_err(|error| SignError::NoKey {
            key: key.into(),
            reason: error.to_string(),
        })?;
        sink.emit(Event::Warning {
            text: format!("a new key for signing modules was made: {}", certificate.display()),
            hint: Some(enrolment(tree.root(), certificate)),
        });
    }
    Ok(KeyPair {
        key: place.key,
        certificate: place.certificate,
        is_new: !is_there,
    })
}

/// How a certificate is enrolled. An image is booted first, and knows it by another path.
pub(crate) fn enrolment(root: &Root, certificate: &Path) -> String {
    match root.inside(certificate).filter(|_| !root.is_host()) {
        Some(inside) => format!(
            "on each machine made from the image: mokutil --import {}",
            inside.display()
        ),
        None => format!("mokutil --import {}", certificate.display()),
    }
}

/// Warns that all machines made from an image share the private key in it.
pub(crate) fn warn_of_shared_key(tree: &Tree, pair: &KeyPair, sink: &dyn Sink) {
    if tree.root().is_host() || pair.key.starts_with("pkcs11:") {
        return;
    }
    sink.emit(Event::Warning {
        text: format!(
            "all machines made from this image share the private key {}: whoever has it can sign modules that they all accept",
            pair.key
        ),
        hint: Some(
            "to leave it out, write try_sign_modules=not_in_chroot into the image's /etc/dkms/framework.conf, remove key and certificate, \
             and build again"
                .into(),
        ),
    });
}

/// Where the certificate of this machine's key is, or will be.
pub fn certificate_path(tree: &Tree, ubuntu: bool, release: Option<&str>) -> PathBuf {
    KeyPlace::of(tree, ubuntu, release.unwrap_or_default()).certificate
}

/// No pair is made where framework.conf names another place than the default.
fn require_default_place(tree: &Tree, place: &KeyPlace) -> Result<(), SignError> {
    let (root, framework) = (tree.root(), tree.framework());
    let shim = root.join(SHIM_KEYS);
    let named = |setting, configured: &Option<String>, path: &Path, defaults: [PathBuf; 2]| {
        let is_default = configured.is_none() || defaults.iter().any(|default| default == path);
        (!is_default).then(|| (setting, path.to_owned()))
    };
    let (key, certificate) = (Path::new(&place.key), place.certificate.as_path());
    let missing: Vec<(&str, PathBuf)> = [
        named(
            "mok_signing_key",
            &framework.mok_signing_key,
            key,
            [tree.path().join("mok.key"), shim.join("MOK.priv")],
        ),
        named(
            "mok_certificate",
            &framework.mok_certificate,
            certificate,
            [tree.path().join("mok.pub"), shim.join("MOK.der")],
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(SignError::NamedMissing { missing })
}

/// Only dkms's own directory is made for a key: any other that is named has to be there.
fn require_named_directories(tree: &Tree, place: &KeyPlace) -> Result<(), SignError> {
    let framework = tree.framework();
    let (key, certificate) = (Path::new(&place.key), place.certificate.as_path());
    let named = [
        framework.mok_signing_key.as_ref().map(|_| key),
        framework.mok_certificate.as_ref().map(|_| certificate),
    ];
    let mut dirs = named.into_iter().flatten().filter_map(Path::parent);
    match dirs.find(|dir| !dir.is_dir()) {
        Some(dir) => Err(SignError::NoDirectory { dir: dir.to_owned() }),
        None => Ok(()),
    }
}

/// True when there is anything at `path`, also a dangling link.
fn is_taken(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Where the key pair is, or will be.
struct KeyPlace {
    /// A file on the running system, or a `pkcs11:` URI.
    key: String,
    certificate: PathBuf,
    /// True for the keys of Ubuntu's shim.
    is_shim: bool,
}

impl KeyPlace {
    /// framework.conf decides; on Ubuntu the shim's pair counts where it names no key.
    fn of(tree: &Tree, ubuntu: bool, release: &str) -> KeyPlace {
        let (root, framework) = (tree.root(), tree.framework());
        let shim = |name: &str| root.join(SHIM_KEYS).join(name);
        let certificate = match &framework.mok_certificate {
            Some(path) => root.join(expand(path, release)),
            None => tree.path().join("mok.pub"),
        };
        match &framework.mok_signing_key {
            None if ubuntu => KeyPlace {
                key: shim("MOK.priv").display().to_string(),
                certificate: shim("MOK.der"),
                is_shim: true,
            },
            None => KeyPlace {
                key: tree.path().join("mok.key").display().to_string(),
                certificate,
                is_shim: false,
            },
            Some(key) => {
                let key = expand(key, release);
                let is_uri = key.starts_with("pkcs11:");
                KeyPlace {
                    key: if is_uri {
                        key
                    } else {
                        root.join(key).display().to_string()
                    },
                    certificate,
                    is_shim: false,
                }
            }
        }
    }

    fn make(&self, root: &Root) -> io::Result<()> {
        // Programs of an image are not run: openssl of this machine makes the pair at the same place.
        let is_shim = self.is_shim && root.is_host();
        if let Some(tool) = find_program(root, "update-secureboot-policy").filter(|_| is_shim) {
            Confined::new(tool)
                .arg("--new-key")
                .env("SHIM_NOTRIGGER", "y")
                .time_limit(Duration::from_secs(120))
                .output(64 << 10)?;
        }
        if Path::new(&self.key).is_file() && self.certificate.is_file() {
            return Ok(());
        }
        generate(Path::new(&self.key), &self.certificate)
    }
}

/// Makes a key pair with openssl in a private directory and puts both files in their places, the key first.
fn generate(key: &Path, certificate: &Path) -> io::Result<()> {
    let dir = key.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)?;
    fs::create_dir_all(certificate.parent().unwrap_or(dir))?;
    let temp = tempfile::Builder::new().prefix(".mok-").tempdir_in(dir)?;
    let (new_key, new_certificate) = (temp.path().join("key"), temp.path().join("certificate"));
    let output = Confined::new("openssl")
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
    if !output.ended.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    fs::set_permissions(&new_key, fs::Permissions::from_mode(0o600))?;
    fs::set_permissions(&new_certificate, fs::Permissions::from_mode(0o644))?;
    for file in [&new_key, &new_certificate] {
        fs::File::open(file)?.sync_all()?;
    }
    put_new(&new_key, key)?;
    put_new(&new_certificate, certificate).inspect_err(|_| {
        // The key was made just now. Left without its certificate, it would be half a pair, which every later run refuses.
        let _ = fs::remove_file(key);
    })?;
    sync_dir(dir)
}

/// Puts the file `new` at `to`, where nothing may be.
fn put_new(new: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(new, to) {
        // Another file system, or one without hard links.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let mode = fs::metadata(new)?.permissions().mode();
            let mut file = fs::File::options().write(true).create_new(true).mode(mode).open(to)?;
            io::copy(&mut fs::File::open(new)?, &mut file)?;
            file.sync_all()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::require_pair;
    use super::*;

    #[test]
    fn programs_of_an_image_make_no_key() {
        let temp = tempfile::tempdir().expect("temp dir");
        let (tool, marker) = (
            temp.path().join("usr/sbin/update-secureboot-policy"),
            temp.path().join("marker"),
        );
        // It works on this machine and in a chroot without a shell alike: the marker would be written in either.
        fs::create_dir_all(tool.parent().expect("a parent")).expect("dirs");
        fs::write(&tool, format!("#!/bin/sh\n: >{0} || : >/marker\n", marker.display())).expect("write");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("mode");
        let tree = Tree::new(&Root::at(temp.path()), &crate::framework::Framework::default());
        let lock = tree.lock(&()).expect("locks");
        let pair = ensure_key_pair(&tree, &lock, true, None, NewKeys::AtDefaultPlace, &()).expect("a pair");
        assert_eq!(
            pair.key,
            temp.path()
                .join("var/lib/shim-signed/mok/MOK.priv")
                .display()
                .to_string()
        );
        assert!(pair.is_new && Path::new(&pair.key).is_file() && pair.certificate.is_file());
        assert!(!marker.exists());
        let told = |tree: &Tree, pair: &KeyPair| {
            let events = std::sync::Mutex::new(Vec::new());
            warn_of_shared_key(tree, pair, &|event| events.lock().expect("not poisoned").push(event));
            events.into_inner().expect("not poisoned")
        };
        match told(&tree, &pair).as_slice() {
            [Event::Warning { text, hint: Some(hint) }] => {
                assert!(text.contains(&pair.key) && hint.contains("try_sign_modules=not_in_chroot"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            enrolment(tree.root(), &pair.certificate),
            "on each machine made from the image: mokutil --import /var/lib/shim-signed/mok/MOK.der"
        );
        assert_eq!(enrolment(&Root::host(), Path::new("/k")), "mokutil --import /k");
        let host = Tree::new(&Root::host(), &crate::framework::Framework::default());
        let token = KeyPair {
            key: "pkcs11:object=mok".into(),
            ..pair.clone()
        };
        assert!(told(&host, &pair).is_empty() && told(&tree, &token).is_empty());
    }

    #[test]
    fn a_pair_is_made_by_itself_at_the_default_place_alone() {
        use crate::framework::Framework;
        let check = |key: Option<&str>, certificate: Option<&str>, missing: &[&str]| {
            let temp = tempfile::tempdir().expect("temp dir");
            fs::create_dir_all(temp.path().join("etc")).expect("dirs");
            let framework = Framework {
                mok_signing_key: key.map(str::to_owned),
                mok_certificate: certificate.map(str::to_owned),
                ..Framework::default()
            };
            let tree = Tree::new(&Root::at(temp.path()), &framework);
            let lock = tree.lock(&()).expect("locks");
            match ensure_key_pair(&tree, &lock, false, None, NewKeys::AtDefaultPlace, &()) {
                Ok(pair) => assert!(pair.is_new && missing.is_empty(), "{pair:?}"),
                Err(SignError::NamedMissing { missing: found }) => {
                    let found: Vec<&str> = found.iter().map(|(setting, _)| *setting).collect();
                    assert_eq!(found, missing);
                    assert!(!tree.path().join("mok.key").exists() && !tree.path().join("mok.pub").exists());
                }
                Err(error) => panic!("{error}"),
            }
        };
        check(None, None, &[]);
        check(Some("/var/lib/dkms/mok.key"), Some("/var/lib/dkms/mok.pub"), &[]);
        check(Some("/var/lib/dkms/mok.key"), None, &[]);
        check(Some("/etc/key"), None, &["mok_signing_key"]);
        check(None, Some("/etc/c"), &["mok_certificate"]);
        check(
            Some("/etc/key"),
            Some("/etc/c"),
            &["mok_signing_key", "mok_certificate"],
        );
        check(Some("/no/such/key"), None, &["mok_signing_key"]);
    }

    #[test]
    fn no_key_that_exists_is_overwritten() {
        use crate::framework::Framework;
        let temp = tempfile::tempdir().expect("temp dir");
        let framework = Framework {
            mok_signing_key: Some("/etc/own/key".into()),
            mok_certificate: Some("/etc/own/certificate".into()),
            ..Framework::default()
        };
        let tree = Tree::new(&Root::at(temp.path()), &framework);
        let lock = tree.lock(&()).expect("locks");
        let at = |name: &str| temp.path().join("etc/own").join(name);
        let ensure = || ensure_key_pair(&tree, &lock, false, None, NewKeys::WhereNamed, &());
        let error = ensure().expect_err("no directory");
        assert!(error.hint().is_some_and(|hint| hint.contains("mkdir -p")), "{error}");
        assert!(!at("").exists(), "nothing is made");
        fs::create_dir_all(at("")).expect("dirs");
        let error = ensure_key_pair(&tree, &lock, false, None, NewKeys::AtDefaultPlace, &()).expect_err("nobody asked");
        assert_eq!(
            error.to_string(),
            format!(
                "the signing key cannot be used: framework.conf names files that do not exist: mok_signing_key={}, mok_certificate={}",
                at("key").display(),
                at("certificate").display()
            )
        );
        assert_eq!(
            error.hint(),
            Some(format!(
                "correct framework.conf (ls {}), or have a pair made there: dkms generate_mok",
                at("").parent().expect("a parent").join("own").display()
            ))
        );
        assert!(
            fs::read_dir(at("")).expect("the directory").next().is_none(),
            "nothing is made"
        );
        let pair = ensure().expect("makes both");
        assert!(pair.is_new);
        require_pair(&pair).expect("they fit");
        let (key, certificate) = (
            fs::read(at("key")).expect("key"),
            fs::read(at("certificate")).expect("certificate"),
        );
        assert!(!ensure().expect("there").is_new);

        fs::remove_file(at("certificate")).expect("removes");
        let error = ensure().expect_err("half a pair");
        assert!(
            error.hint().is_some_and(|hint| hint.contains("openssl req -new -x509")),
            "{error}"
        );
        assert_eq!(fs::read(at("key")).expect("key"), key);

        fs::rename(at("key"), at("old")).expect("moves");
        fs::write(at("certificate"), &certificate).expect("write");
        let error = ensure().expect_err("the other half").to_string();
        assert!(error.ends_with(&format!("{} is not", at("key").display())), "{error}");
        assert!(!at("key").exists());

        fs::remove_file(at("certificate")).expect("removes");
        let other = ensure().expect("makes both");
        assert_ne!(fs::read(at("key")).expect("key"), key);
        fs::write(at("certificate"), &certificate).expect("write");
        let error = require_pair(&other).expect_err("two pairs");
        assert!(matches!(error, SignError::Mismatch { .. }), "{error}");
        assert!(put_new(&at("old"), &at("key")).is_err(), "nothing is overwritten");
    }
}
