//! The root.json that a machine pins, as a person checks it before it is trusted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A key that may sign the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RootKey {
    /// Its id in the file.
    pub id: String,
    /// Its kind, such as `ed25519`.
    pub kind: String,
}

/// The properties of a root.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PinnedRoot {
    /// SHA-256 of the file, in hex.
    pub fingerprint: String,
    /// Its version.
    pub version: u64,
    /// When it expires. Newer versions follow by their signatures.
    pub expires: Timestamp,
    /// The keys that sign it.
    pub keys: Vec<RootKey>,
    /// How many of them must sign.
    pub threshold: u64,
}

#[derive(Deserialize)]
struct File {
    signed: Signed,
}

#[derive(Deserialize)]
struct Signed {
    version: u64,
    expires: Timestamp,
    keys: BTreeMap<String, Key>,
    roles: BTreeMap<String, Role>,
}

#[derive(Deserialize)]
struct Key {
    keytype: String,
}

#[derive(Deserialize)]
struct Role {
    keyids: Vec<String>,
    threshold: u64,
}

impl PinnedRoot {
    /// Reads it; its signatures are checked where a repository is opened with it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let File { signed } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let role = signed.roles.get("root").ok_or("it names no role `root`")?;
        let key = |id: &String| RootKey {
            id: id.clone(),
            kind: signed.keys.get(id).map_or_else(String::new, |key| key.keytype.clone()),
        };
        Ok(Self {
            fingerprint: hex::encode(Sha256::digest(bytes)),
            version: signed.version,
            expires: signed.expires,
            keys: role.keyids.iter().map(key).collect(),
            threshold: role.threshold,
        })
    }
}

/// A fingerprint as people write it: hex digits of either case, also with colons or spaces, or `sha256:` before them.
pub fn normal_fingerprint(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_prefix("sha256:").unwrap_or(&text);
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    (digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_write_them() {
        let plain = "ab".repeat(32);
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(normal_fingerprint(text).as_deref(), expected, "{text}");
        check(&plain, Some(&plain));
        check(&plain.to_uppercase(), Some(&plain));
        check(&format!("sha256:{plain}\n"), Some(&plain));
        check(&vec!["AB"; 32].join(":"), Some(&plain));
        check("abcd", None);
        check(&"zz".repeat(32), None);
    }

    #[test]
    fn what_is_no_root_is_refused() {
        assert!(PinnedRoot::parse(b"{}").is_err());
        assert!(PinnedRoot::parse(b"<html>").is_err());
    }
}
