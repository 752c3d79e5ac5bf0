//! Signs what differs from the published state, or would soon expire. Pure: values in, files out.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp as Time};
use serde::Serialize;

use super::Published;
use super::content::Content;
use crate::keys::KeyRing;
use crate::repository::Expiry;
use crate::roles::{TARGETS, VENDOR_PREFIX, lifetime_days};
use crate::signed::{
    Body, Delegations, Meta, RoleKeys, Root, SPEC_VERSION, SignError, Signed, Snapshot, Targets, Timestamp, expiry,
};

/// What is asked for.
#[derive(Debug)]
pub struct Request<'a> {
    /// New targets of roles.
    pub content: &'a Content,
    /// New delegations of `targets`; with none they stay as they are.
    pub delegations: Option<Delegations>,
    /// A new root to publish too; with none it stays as it is.
    pub root: Option<&'a Signed<Root>>,
    /// Sign the timestamp even if nothing else changed.
    pub renew_timestamp: bool,
}

/// New metadata, ready to be written.
#[derive(Debug)]
pub struct Release {
    /// By file name below `metadata/`; immutable.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The new `timestamp.json`.
    pub timestamp: Option<Vec<u8>>,
    /// The new `N.root.json`.
    pub root: Option<(String, Vec<u8>)>,
    /// What happened.
    pub report: Report,
}

/// What a publication did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Roles that were signed again, with their new version.
    pub signed: BTreeMap<String, u64>,
    /// Roles that will expire soon while their keys are not at hand, with the time.
    pub expiring: BTreeMap<String, Time>,
    /// Roles with new keys whose old keys are not at hand, so that no signature could be made that is valid before and after
    /// the new root. A machine that synchronises at that moment is refused once.
    pub unbridged: Vec<String>,
    /// Roles that have signed nothing yet, because their private keys are not at hand.
    pub awaiting_keys: Vec<String>,
    /// Number of new target files and bundles.
    pub new_files: usize,
}

/// Signs what has to be signed. `published` is none for the first release.
pub fn release(
    published: Option<&Published>,
    root: Signed<Root>,
    request: Request<'_>,
    ring: &KeyRing,
    expires: &Expiry,
    now: Time,
) -> Result<Release, SignError> {
    let root = request.root.map_or(root, Clone::clone);
    let delegations = request
        .delegations
        .unwrap_or_else(|| published.map(Published::delegations).unwrap_or_default());
    let mut signer = Signer {
        ring,
        expires,
        now,
        outgoing: published.filter(|_| request.root.is_some()).map(|p| &p.root.signed),
        report: Report::default(),
        files: BTreeMap::new(),
    };

    let mut meta = published.map(|p| p.snapshot.signed.meta.clone()).unwrap_or_default();
    let names = std::iter::once(TARGETS).chain(delegations.roles.iter().map(|d| d.name.as_str()));
    for role in names {
        let before = published.and_then(|p| p.roles.get(role));
        let mut body = before.map_or_else(empty_targets, |signed| signed.signed.clone());
        if let Some(targets) = request.content.roles.get(role) {
            body.targets = targets.clone();
        }
        if role == TARGETS {
            body.delegations = Some(delegations.clone());
        }
        let delegated = delegations.roles.iter().find(|d| d.name == role).map(|d| &d.keys);
        let authority = delegated.or_else(|| root.signed.roles.get(role));
        // A vendor's role whose keys the vendor has: machines ask for it when a package of it is offered, and none is yet.
        let is_optional = before.is_none() && body.targets.is_empty() && role.starts_with(VENDOR_PREFIX);
        if is_optional && authority.is_some_and(|keys| keys.check_at_hand(role, ring).is_err()) {
            signer.report.awaiting_keys.push(role.to_owned());
            continue;
        }
        if let Some((version, bytes)) = signer.sign(role, body, before, authority, false)? {
            meta.insert(format!("{role}.json"), Meta::of(version, &bytes));
            signer.files.insert(format!("{version}.{role}.json"), bytes);
        }
    }

    let before = published.map(|p| &p.snapshot);
    let body = Snapshot {
        kind: "snapshot".to_owned(),
        spec_version: SPEC_VERSION.to_owned(),
        version: before.map_or(0, |s| s.signed.version),
        expires: before.map_or(now, |s| s.signed.expires),
        meta,
    };
    let snapshot = signer.sign("snapshot", body, before, root.signed.roles.get("snapshot"), false)?;
    let mut meta = published.map(|p| p.timestamp.signed.meta.clone()).unwrap_or_default();
    if let Some((version, bytes)) = snapshot {
        meta.insert("snapshot.json".to_owned(), Meta::of(version, &bytes));
        signer.files.insert(format!("{version}.snapshot.json"), bytes);
    }

    let before = published.map(|p| &p.timestamp);
    let body = Timestamp {
        kind: "timestamp".to_owned(),
        spec_version: SPEC_VERSION.to_owned(),
        version: before.map_or(0, |t| t.signed.version),
        expires: before.map_or(now, |t| t.signed.expires),
        issued: before.map_or(now, |t| t.signed.issued),
        meta,
    };
    let authority = root.signed.roles.get("timestamp");
    let timestamp = signer
        .sign("timestamp", body, before, authority, request.renew_timestamp)?
        .map(|(_, bytes)| bytes);
    let root = request.root.map(|root| {
        signer.report.signed.insert("root".to_owned(), root.signed.version);
        (format!("{}.root.json", root.signed.version), root.to_bytes())
    });
    Ok(Release {
        files: signer.files,
        root,
        timestamp,
        report: signer.report,
    })
}

struct Signer<'a> {
    ring: &'a KeyRing,
    expires: &'a Expiry,
    now: Time,
    /// The root that a new one replaces. Machines have the one or the other for a while, and a machine may have asked for
    /// the next root just before it came: all that is signed now must be valid under both.
    outgoing: Option<&'a Root>,
    report: Report,
    files: BTreeMap<String, Vec<u8>>,
}

impl Signer<'_> {
    /// Signs `body` as the next version of `before` if it differs, or if the signatures are no longer enough; renews
    /// it in the second half of its lifetime if the keys are at hand.
    fn sign<T: Body + Renew + PartialEq>(
        &mut self,
        role: &str,
        mut body: T,
        before: Option<&Signed<T>>,
        authority: Option<&RoleKeys>,
        force: bool,
    ) -> Result<Option<(u64, Vec<u8>)>, SignError> {
        let nobody = RoleKeys {
            keyids: Vec::new(),
            threshold: 1,
        };
        let authority = authority.unwrap_or(&nobody);
        let days = lifetime_days(role, self.expires);
        let changed = force || before.is_none_or(|b| b.signed != body || !is_signed(b, authority));
        let half = SignedDuration::from_hours(i64::from(days) * 12);
        let due = before.is_some_and(|b| b.signed.expires().duration_since(self.now) < half);
        if !changed && !due {
            return Ok(None);
        }
        body.renew(expiry(self.now, days), expiry(self.now, 0));
        let outgoing = self.outgoing.and_then(|root| root.roles.get(role));
        let outgoing = outgoing.filter(|old| *old != authority);
        match Signed::sign(role, body, &[authority], self.ring) {
            Ok(mut signed) => {
                if let Some(old) = outgoing
                    && signed.sign_also(role, old, self.ring)? < old.threshold
                {
                    self.report.unbridged.push(role.to_owned());
                }
                let version = signed.signed.version();
                self.report.signed.insert(role.to_owned(), version);
                Ok(Some((version, signed.to_bytes())))
            }
            // Only its lifetime is running out: the keys are needed soon, but not now.
            Err(SignError::TooFewKeys { .. }) if !changed => {
                self.report
                    .expiring
                    .extend(before.map(|b| (role.to_owned(), b.signed.expires())));
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// Whether the keys that signed it are (still) enough for `authority`.
fn is_signed<T>(signed: &Signed<T>, authority: &RoleKeys) -> bool {
    let by = |id: &&String| signed.signatures.iter().any(|s| s.keyid == **id);
    authority.keyids.iter().filter(by).count() >= authority.threshold
}

/// The next version of a body.
trait Renew {
    fn renew(&mut self, expires: Time, issued: Time);
}

impl Renew for Targets {
    fn renew(&mut self, expires: Time, _: Time) {
        self.version += 1;
        self.expires = expires;
    }
}

impl Renew for Snapshot {
    fn renew(&mut self, expires: Time, _: Time) {
        self.version += 1;
        self.expires = expires;
    }
}

impl Renew for Timestamp {
    fn renew(&mut self, expires: Time, issued: Time) {
        self.version += 1;
        self.expires = expires;
        self.issued = issued;
    }
}

fn empty_targets() -> Targets {
    Targets {
        kind: TARGETS.to_owned(),
        spec_version: SPEC_VERSION.to_owned(),
        version: 0,
        expires: Time::UNIX_EPOCH,
        targets: BTreeMap::new(),
        delegations: None,
    }
}
