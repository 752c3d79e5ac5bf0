//! The program that signs a module: one of this machine, never of an image that is worked on.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::SignError;
use super::keys::{KeyPair, expand};
use crate::command::{Confined, find_program};
use crate::kernel::KernelTarget;
use crate::root::Root;
use crate::tree::Tree;

/// The last bytes of a signed module, and the kind of its signature (include/linux/module_signature.h).
const MAGIC: &[u8] = b"~Module signature appended~\n";
const ID_TYPE_PKCS7: u8 = 2;

/// The longest signature that is accepted, in bytes: one by RSA 4096 has about 700.
const SIGNATURE_MAX_LEN: u64 = 64 << 10;

const TIME_LIMIT: Duration = Duration::from_secs(120);

/// A way to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// The kernel's `scripts/sign-file`, or one that is called like it.
    SignFile(PathBuf),
    /// `openssl cms`: its signature is the one that `sign-file` makes (scripts/sign-file.c).
    OpenSsl(PathBuf),
}

impl Program {
    /// The first of: what framework.conf names, the `sign-file` of this kernel or of any that this machine has, `kmodsign`, `openssl`.
    pub(super) fn find(tree: &Tree, kernel: &KernelTarget) -> Option<Program> {
        let host = Root::host();
        let runs = |path: &PathBuf| {
            path.metadata()
                .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        };
        // An image's programs are for its own users; here they would run as root.
        let candidates = if tree.root().is_host() {
            of_kernel(tree, kernel)
        } else {
            Vec::new()
        };
        let named = tree.root().is_host() && tree.framework().sign_file.is_some();
        let sign_file = candidates.into_iter().find(runs);
        if named {
            return sign_file.map(Program::SignFile);
        }
        let sign_file = sign_file
            .or_else(|| of_any_kernel(&host).into_iter().find(runs))
            .or_else(|| find_program(&host, "kmodsign"));
        sign_file
            .map(Program::SignFile)
            .or_else(|| find_program(&host, "openssl").map(Program::OpenSsl))
    }

    /// Signs the file `module` in its place. The program inherits our environment: a token's library and OpenSSL's provider for it are
    /// configured there.
    pub(super) fn sign(&self, hash: &str, keys: &KeyPair, module: &Path) -> Result<(), SignError> {
        match self {
            Program::SignFile(tool) => {
                let command = Confined::new(tool).arg(hash).arg(&keys.key).arg(&keys.certificate);
                run(tool, &command.arg(module), keys, module).map(drop)
            }
            Program::OpenSsl(tool) => {
                let command = cms(tool, hash, keys).arg("-in").arg(module);
                let signature = run(tool, &command, keys, module)?;
                append(module, &signature).map_err(|source| SignError::Append {
                    module: module.to_owned(),
                    source,
                })
            }
        }
    }
}

/// The programs for one kernel of this machine.
fn of_kernel(tree: &Tree, kernel: &KernelTarget) -> Vec<PathBuf> {
    let root = tree.root();
    let release = &kernel.release;
    if let Some(tool) = &tree.framework().sign_file {
        return vec![root.join(expand(tool, release))];
    }
    let mut candidates = Vec::new();
    if kernel.distribution.is_ubuntu() {
        candidates.extend(find_program(root, "kmodsign"));
        candidates.push(root.join(format!("/usr/src/linux-headers-{release}/scripts/sign-file")));
    }
    if kernel.distribution.is_debian() {
        let series: Vec<&str> = release.split('.').take(2).collect();
        candidates.push(root.join(format!("/usr/lib/linux-kbuild-{}/scripts/sign-file", series.join("."))));
    }
    candidates.push(kernel.headers.join("scripts/sign-file"));
    candidates
}

/// The `sign-file` of every kernel that `host` has headers of. The one of any kernel signs for all.
fn of_any_kernel(host: &Root) -> Vec<PathBuf> {
    let places = [
        ("/usr/lib", "linux-kbuild-", "scripts/sign-file"),
        ("/usr/src", "linux-headers-", "scripts/sign-file"),
        ("/usr/src/kernels", "", "scripts/sign-file"),
        ("/lib/modules", "", "build/scripts/sign-file"),
    ];
    let mut found = Vec::new();
    for (dir, prefix, program) in places {
        let entries = fs::read_dir(host.join(dir)).into_iter().flatten().flatten();
        let ours = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()));
        found.extend(ours.map(|entry| entry.path().join(program)));
    }
    found.sort();
    found
}

/// `openssl cms` with the options that make what the kernel's sign-file makes: detached, DER, without attributes and certificates. It
/// never prompts for a passphrase.
fn cms(tool: &Path, hash: &str, keys: &KeyPair) -> Confined {
    let passphrase = match std::env::var_os("KBUILD_SIGN_PIN") {
        Some(_) => "env:KBUILD_SIGN_PIN",
        None => "pass:",
    };
    let mut args: Vec<OsString> = [
        "cms", "-sign", "-binary", "-noattr", "-nocerts", "-outform", "DER", "-md", hash,
    ]
    .map(OsString::from)
    .to_vec();
    args.extend(["-passin", passphrase].map(OsString::from));
    if keys.key.starts_with("pkcs11:") {
        args.extend(["-provider", "default", "-provider", "pkcs11"].map(OsString::from));
    }
    args.push("-inkey".into());
    args.push((&keys.key).into());
    args.push("-signer".into());
    args.push((&keys.certificate).into());
    Confined::new(tool)
        .args(args)
        .inherits_environment()
        .time_limit(TIME_LIMIT)
}

/// Checks that key and certificate belong together. Keys in tokens are not tried: a token counts wrong PINs.
pub(super) fn require_pair(keys: &KeyPair) -> Result<(), SignError> {
    let Some(tool) = find_program(&Root::host(), "openssl").filter(|_| !keys.key.starts_with("pkcs11:")) else {
        return Ok(());
    };
    let Ok(output) = cms(&tool, "sha256", keys).output(SIGNATURE_MAX_LEN) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("key values mismatch") || text.contains("key does not match") || text.contains("key type mismatch")
    {
        return Err(SignError::Mismatch {
            key: keys.key.clone().into(),
            certificate: keys.certificate.clone(),
        });
    }
    Ok(())
}

/// Runs the program and returns its standard output.
fn run(tool: &Path, command: &Confined, keys: &KeyPair, module: &Path) -> Result<Vec<u8>, SignError> {
    let command = command.clone().inherits_environment().time_limit(TIME_LIMIT);
    let output = command.output(SIGNATURE_MAX_LEN).map_err(|source| SignError::Run {
        tool: tool.to_owned(),
        source,
    })?;
    if output.ended.status.success() {
        return Ok(output.stdout);
    }
    Err(SignError::Refused {
        module: module.to_owned(),
        key: keys.key.clone(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Appends a signature to a module; one that cannot be appended whole leaves it as it was.
fn append(module: &Path, signature: &[u8]) -> io::Result<()> {
    let mut file = File::options().append(true).open(module)?;
    let len = file.metadata()?.len();
    file.write_all(&appendix(signature)).inspect_err(|_| {
        // The error of the write is the one that is reported.
        let _ = file.set_len(len);
    })
}

/// A signature with the `struct module_signature` of include/linux/module_signature.h and the magic string behind it.
fn appendix(signature: &[u8]) -> Vec<u8> {
    let len = u32::try_from(signature.len()).unwrap_or(u32::MAX);
    let mut bytes = signature.to_vec();
    // Algorithm and hash are in the signature itself; no name of a signer, no key id, three bytes to align.
    bytes.extend([0, 0, ID_TYPE_PKCS7, 0, 0, 0, 0, 0]);
    bytes.extend(len.to_be_bytes());
    bytes.extend(MAGIC);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_signature_is_as_the_kernel_reads_it() {
        let bytes = appendix(&[7; 300]);
        let (signature, rest) = bytes.split_at(300);
        assert_eq!(signature, [7; 300]);
        assert_eq!(rest[..12], [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 44]);
        assert_eq!(&rest[12..], MAGIC);
    }
}
