//! Why modules are not signed.

use std::io;
use std::path::{Path, PathBuf};

use crate::fsutil::existing_part;

/// Why a module could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The program that signs could not be run.
    #[error("{} cannot be run", .tool.display())]
    Run {
        /// The program.
        tool: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The program failed.
    #[error("{} cannot be signed with {}: {stderr}", .module.display(), without_pin(.key))]
    Refused {
        /// The module.
        module: PathBuf,
        /// The key.
        key: String,
        /// What the program wrote to standard error.
        stderr: String,
    },
    /// The signature could not be written.
    #[error("the signature cannot be appended to {}", .module.display())]
    Append {
        /// The module.
        module: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// One half of a key pair is there. Nothing that exists is overwritten: it may be enrolled, and may have no copy.
    #[error("the signing key cannot be used: {} is there, {} is not", .there.display(), .missing.display())]
    HalfPair {
        /// The half that is there.
        there: PathBuf,
        /// The other one.
        missing: PathBuf,
        /// True when the certificate is the one that is missing.
        lacks_certificate: bool,
        /// True when framework.conf names one of them.
        is_named: bool,
    },
    /// Key and certificate belong to different pairs.
    #[error("the signing key cannot be used: the certificate {} is not of the key {}", .certificate.display(), .key.display())]
    Mismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
    /// framework.conf names a key in a directory that does not exist, most likely by a typing error.
    #[error("the signing key cannot be made: its directory {} does not exist", .dir.display())]
    NoDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// framework.conf names files that do not exist, most likely by a typing error. No pair is made there by itself.
    #[error("the signing key cannot be used: framework.conf names {} not exist: {}", files_that_do(.missing), settings(.missing))]
    NamedMissing {
        /// The settings, with the paths that they name.
        missing: Vec<(&'static str, PathBuf)>,
    },
    /// No key could be made.
    #[error("the signing key {} cannot be made: {reason}", without_pin(&.key.to_string_lossy()))]
    NoKey {
        /// Where it would be.
        key: PathBuf,
        /// The cause.
        reason: String,
    },
}

impl SignError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            SignError::Run { tool, .. } => Some(format!("ls -l {}", tool.display())),
            SignError::Refused { key, .. } if key.starts_with("pkcs11:") => Some(format!(
                "openssl storeutl -provider default -provider pkcs11 -noout '{}'",
                without_pin(key)
            )),
            SignError::Refused { key, .. } => Some(format!("openssl rsa -check -noout -in {key}")),
            SignError::Append { module, .. } => Some(format!("df {}", module.display())),
            SignError::HalfPair {
                there,
                missing,
                lacks_certificate,
                is_named,
            } => Some(half_pair_hint(there, missing, *lacks_certificate, *is_named)),
            SignError::Mismatch { key, .. } => Some(format!(
                "correct mok_signing_key and mok_certificate in framework.conf; openssl pkey -pubout -in {} shows the key",
                key.display()
            )),
            SignError::NoDirectory { dir } => Some(format!(
                "correct mok_signing_key and mok_certificate in framework.conf, or: mkdir -p {}",
                dir.display()
            )),
            SignError::NamedMissing { missing } => {
                let dir = existing_part(missing.first()?.1.parent()?).to_owned();
                Some(format!(
                    "correct framework.conf (ls {}), or have a pair made there: dkms generate_mok",
                    dir.display()
                ))
            }
            SignError::NoKey { .. } => Some("dkms generate_mok".into()),
        }
    }
}

fn files_that_do(missing: &[(&str, PathBuf)]) -> &'static str {
    match missing {
        [_] => "a file that does",
        _ => "files that do",
    }
}

fn settings(missing: &[(&str, PathBuf)]) -> String {
    let text = missing
        .iter()
        .map(|(setting, path)| format!("{setting}={}", path.display()));
    text.collect::<Vec<_>>().join(", ")
}

/// The way out where only `there` of a pair is there. What framework.conf names is most likely mistyped.
fn half_pair_hint(there: &Path, missing: &Path, lacks_certificate: bool, is_named: bool) -> String {
    let (setting, other_way) = if lacks_certificate {
        let make = format!(
            "make one: openssl req -new -x509 -days 36500 -subj '/CN=DKMS module signing key' -addext \
             extendedKeyUsage=codeSigning -key {} -outform DER -out {}",
            there.display(),
            missing.display()
        );
        ("mok_certificate", make)
    } else {
        let make = format!("have a new pair made: mv {0} {0}.old", there.display());
        ("mok_signing_key", make)
    };
    if is_named {
        let dir = missing.parent().unwrap_or(Path::new("/"));
        format!(
            "correct {setting} in framework.conf (ls {}), or {other_way}",
            dir.display()
        )
    } else {
        other_way
    }
}

/// The name of a key for messages: without the PIN that a `pkcs11:` URI may hold.
fn without_pin(key: &str) -> String {
    if !key.starts_with("pkcs11:") {
        return key.to_owned();
    }
    let (scheme, attributes) = key.split_at("pkcs11:".len());
    let shown = attributes.split_inclusive([';', '?', '&']).map(|attribute| {
        if attribute.starts_with("pin-value=") {
            let end = attribute.find([';', '?', '&']).unwrap_or(attribute.len());
            format!("pin-value=…{}", &attribute[end..])
        } else {
            attribute.to_owned()
        }
    });
    format!("{scheme}{}", shown.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_framework_conf_names_is_to_be_corrected() {
        let (key, certificate) = (Path::new("/k/mok.key"), Path::new("/k/mok.pub"));
        let check = |lacks_certificate: bool, is_named: bool, begins: &str| {
            let (there, missing) = if lacks_certificate {
                (key, certificate)
            } else {
                (certificate, key)
            };
            let hint = half_pair_hint(there, missing, lacks_certificate, is_named);
            assert!(hint.starts_with(begins), "{hint}");
        };
        check(
            true,
            true,
            "correct mok_certificate in framework.conf (ls /k), or make one: openssl req",
        );
        check(true, false, "make one: openssl req");
        check(
            false,
            true,
            "correct mok_signing_key in framework.conf (ls /k), or have a new pair made: mv /k/mok.pub",
        );
        check(false, false, "have a new pair made: mv /k/mok.pub /k/mok.pub.old");
    }

    #[test]
    fn pins_are_not_shown() {
        let check = |key: &str, expected: &str| assert_eq!(without_pin(key), expected, "{key}");
        check("/var/lib/dkms/mok.key", "/var/lib/dkms/mok.key");
        check("pkcs11:token=mok;object=key", "pkcs11:token=mok;object=key");
        check("pkcs11:pin-value=1;token=mok", "pkcs11:pin-value=…;token=mok");
        check("pkcs11:token=mok;pin-value=1234", "pkcs11:token=mok;pin-value=…");
        check(
            "pkcs11:token=mok?pin-value=1&module-name=x",
            "pkcs11:token=mok?pin-value=…&module-name=x",
        );
    }
}
