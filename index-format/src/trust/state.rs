//! The verified metadata and the look-ups in it; wraps `sigstore-tuf`'s `TrustedMetadataSet`.

use jiff::Timestamp;
use sigstore_tuf::{DelegatedRole, MetaFile, TargetFile, Targets, TrustedMetadataSet};

use super::crypto::sha256_hex;
use super::limits::TARGETS_MAX_BYTES;
use super::time::Now;
use super::{Change, Expiry, Kept, TrustError, Want, Why};

/// The top-level role that may only delegate.
pub(super) const TARGETS: &str = "targets";
/// The online role of the index.
pub(super) const INDEX: &str = "index";
/// The role of revocations.
pub(super) const REVOCATIONS: &str = "revocations";

#[derive(Debug)]
pub(super) struct Core {
    pub(super) set: TrustedMetadataSet,
    pub(super) kept: Kept,
    pub(super) changes: Vec<Change>,
    /// The time that the caller gave.
    pub(super) clock: Timestamp,
    /// The time that expiry is judged by.
    pub(super) now: Now,
    pub(super) expiry: Expiry,
}

impl Core {
    /// The time to hand to the TUF core. The beginning of time makes nothing expired.
    pub(super) fn now_for_expiry(&self) -> Timestamp {
        match self.expiry {
            Expiry::Enforce => self.now.time,
            Expiry::AllowStale => Timestamp::MIN,
        }
    }

    pub(super) fn keep(&mut self, name: String, bytes: &[u8]) {
        let change = Change::Store {
            name,
            bytes: bytes.to_vec(),
        };
        change.apply(&mut self.kept);
        self.changes.push(change);
    }

    pub(super) fn forget(&mut self, name: &str) {
        if self.kept.remove(name).is_some() {
            self.changes.push(Change::Remove { name: name.to_owned() });
        }
    }

    /// The name of a metadata file as it is served. Names of our roles are plain; those of other repositories are encoded.
    pub(super) fn metadata_path(&self, role: &str, version: u64) -> String {
        let role = encoded(role, b"-_.~");
        if self.set.root().consistent_snapshot {
            format!("metadata/{version}.{role}.json")
        } else {
            format!("metadata/{role}.json")
        }
    }

    /// How to fetch the metadata file of `role` that `pin` describes.
    pub(super) fn want_metadata(&self, role: &str, pin: &MetaFile, cap: u64) -> Want {
        Want {
            path: self.metadata_path(role, pin.version),
            max_bytes: pin.length.map_or(cap, |length| length.min(cap)),
            may_be_absent: false,
            immutable: self.set.root().consistent_snapshot,
        }
    }

    /// How to fetch a targets role, top-level or delegated.
    pub(super) fn want_role(&self, role: &str) -> Result<Want, TrustError> {
        let name = format!("{role}.json");
        let pin = self.set.snapshot().and_then(|s| s.meta.get(&name)).ok_or_else(|| {
            TrustError::refused(
                &format!("metadata/{name}"),
                role,
                Why::Mismatch("the snapshot does not list it".into()),
            )
        })?;
        Ok(self.want_metadata(role, pin, TARGETS_MAX_BYTES))
    }

    /// Verifies a targets role and takes it in.
    pub(super) fn admit_role(&mut self, role: &str, delegator: &str, bytes: &[u8]) -> Result<(), sigstore_tuf::Error> {
        let now = self.now_for_expiry();
        admit(&mut self.set, role, delegator, bytes, now)
    }

    /// Takes a targets role from the kept files, if the snapshot still pins exactly that.
    pub(super) fn admit_kept_role(&mut self, role: &str, delegator: &str) -> bool {
        let Some(bytes) = self.kept.get(&kept_role(role)).cloned() else {
            return false;
        };
        self.admit_role(role, delegator, &bytes).is_ok()
    }

    /// A trusted targets role.
    pub(super) fn role(&self, role: &str) -> Option<&Targets> {
        self.set.targets_role(role)
    }

    /// How `delegator` delegates to `role`.
    pub(super) fn delegation(&self, delegator: &str, role: &str) -> Option<&DelegatedRole> {
        self.role(delegator)?
            .delegations
            .as_ref()?
            .roles
            .iter()
            .find(|r| r.name == role)
    }

    /// The entry of a target in a role that the top level delegates to, if its delegated paths cover it.
    pub(super) fn delegated_target(&self, role: &str, path: &str) -> Option<&TargetFile> {
        let delegation = self.delegation(TARGETS, role)?;
        if !delegation.matches_path(path).unwrap_or(false) {
            return None;
        }
        self.role(role)?.target(path)
    }
}

/// Verifies a targets role, top-level or delegated, and takes it into `set`.
pub(super) fn admit(
    set: &mut TrustedMetadataSet,
    role: &str,
    delegator: &str,
    bytes: &[u8],
    now: Timestamp,
) -> Result<(), sigstore_tuf::Error> {
    if role == TARGETS {
        set.update_targets(bytes, now)?;
    } else {
        set.update_delegated_targets(bytes, role, delegator, now)?;
    }
    Ok(())
}

/// The first moment at which a part of the verified metadata expires.
pub(super) fn expires(set: &TrustedMetadataSet) -> Timestamp {
    let targets = [TARGETS, INDEX, REVOCATIONS].into_iter();
    [
        Some(set.root().expires),
        set.timestamp().map(|t| t.expires),
        set.snapshot().map(|s| s.expires),
    ]
    .into_iter()
    .chain(targets.map(|role| set.targets_role(role).map(|t| t.expires)))
    .flatten()
    .min()
    .unwrap_or(Timestamp::MIN)
}

/// Whether a delegated role's name can be part of a file name and cannot be taken for another file: no dots.
pub(super) fn is_plain_role(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The name under which the metadata of a delegated role is kept.
pub(super) fn kept_role(role: &str) -> String {
    // No leading dot, which is that of a temporary file.
    format!("{}.json", encoded(role, b"-_"))
}

/// Percent-encodes all but letters, digits and `plain`.
fn encoded(name: &str, plain: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Whether a target path is plain segments between slashes, so that it can be a path in any store.
pub(super) fn is_plain_path(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".+-_~@".contains(&b);
    path.len() <= 512
        && path
            .split('/')
            .all(|s| !s.is_empty() && s != "." && s != ".." && s.len() <= 180 && s.bytes().all(plain))
}

/// The SHA-256 of a target, as its role signed it.
pub(super) fn target_sha256<'a>(target: &'a TargetFile, file: &str, role: &str) -> Result<&'a str, TrustError> {
    target
        .hashes
        .get("sha256")
        .map(String::as_str)
        .filter(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
        .ok_or_else(|| TrustError::refused(file, role, Why::Malformed("it has no sha256 hash".to_owned())))
}

/// How to fetch a target of at most `cap` bytes.
pub(super) fn want_target(
    core: &Core,
    target: &TargetFile,
    path: &str,
    role: &str,
    cap: u64,
) -> Result<Want, TrustError> {
    if !is_plain_path(path) {
        return Err(TrustError::refused(
            path,
            role,
            Why::Malformed("its name is not a plain path".to_owned()),
        ));
    }
    if target.length > cap {
        return Err(TrustError::TooLong {
            file: path.to_owned(),
            max_bytes: cap,
        });
    }
    let consistent = core.set.root().consistent_snapshot;
    let hash = target_sha256(target, path, role)?;
    let path = match path.rsplit_once('/') {
        _ if !consistent => format!("targets/{path}"),
        Some((dir, name)) => format!("targets/{dir}/{hash}.{name}"),
        None => format!("targets/{hash}.{path}"),
    };
    Ok(Want {
        path,
        max_bytes: target.length,
        may_be_absent: false,
        immutable: consistent,
    })
}

/// Compares a target's bytes with its signed length and hash.
pub(super) fn check_target(bytes: &[u8], target: &TargetFile, file: &str, role: &str) -> Result<(), TrustError> {
    let expected = target_sha256(target, file, role)?;
    if bytes.len() as u64 != target.length {
        let (found, signed) = (bytes.len(), target.length);
        return Err(TrustError::mismatch(
            file,
            role,
            format!("it has {found} bytes instead of {signed}"),
        ));
    }
    let found = sha256_hex(bytes);
    if found != expected {
        return Err(TrustError::mismatch(
            file,
            role,
            format!("its sha256 is {found} instead of {expected}"),
        ));
    }
    Ok(())
}

/// When the timestamp of `set` was signed, as its own `issued` field says.
///
/// An honest repository signs a timestamp while everything that it pins is fresh. So a time after the first expiry of any of
/// it counts as absent: an attacker who has only the timestamp key cannot move a machine's time by more than the
/// lifetime of the snapshot and the index, which is days.
pub(super) fn issued(set: &TrustedMetadataSet) -> Option<Timestamp> {
    let issued: Timestamp = set.timestamp()?.extra.get("issued")?.as_str()?.parse().ok()?;
    (issued <= expires(set)).then_some(issued)
}
