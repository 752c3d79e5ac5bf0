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
    /// Sign this role even if nothing of it changed: `timestamp`, or `targets` or a role that it delegates to.
    pub renew: Option<&'a str>,
    /// What others have signed: taken as it is, in place of what these roles would sign now.
    pub prepared: BTreeMap<String, Signed<Targets>>,
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
    for next in next(published, &delegations, &root.signed, request.content) {
        let role = next.role;
        let signed = match request.prepared.get(role) {
            Some(prepared) => Some(signer.take(role, prepared, next.authority)),
            None if next.is_awaiting(ring) => {
                signer.report.awaiting_keys.push(role.to_owned());
                continue;
            }
            None => signer.sign(
                role,
                next.body,
                next.before,
                next.authority,
                request.renew == Some(role),
            )?,
        };
        if let Some((version, bytes)) = signed {
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
    let snapshot = signer.sign(
        "snapshot",
        body,
        before,
        root.signed.roles.get("snapshot"),
        request.renew == Some("snapshot"),
    )?;
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
        .sign("timestamp", body, before, authority, request.renew == Some("timestamp"))?
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

/// What `targets`, or a role that it delegates to, would sign next.
#[derive(Debug)]
pub(crate) struct Next<'a> {
    /// The role.
    pub(crate) role: &'a str,
    /// What it signed last.
    pub(crate) before: Option<&'a Signed<Targets>>,
    /// What it would sign now; version and end of the lifetime are still those of before.
    pub(crate) body: Targets,
    /// Who has to sign.
    pub(crate) authority: Option<&'a RoleKeys>,
}

/// What all of them would sign next, changed or not.
pub(crate) fn next<'a>(
    published: Option<&'a Published>,
    delegations: &'a Delegations,
    root: &'a Root,
    content: &Content,
) -> Vec<Next<'a>> {
    let names = std::iter::once(TARGETS).chain(delegations.roles.iter().map(|d| d.name.as_str()));
    names
        .map(|role| {
            let before = published.and_then(|p| p.roles.get(role));
            let nothing = empty_targets();
            let last = before.map_or(&nothing, |signed| &signed.signed);
            let body = Targets {
                kind: last.kind.clone(),
                spec_version: last.spec_version.clone(),
                version: last.version,
                expires: last.expires,
                targets: content.roles.get(role).unwrap_or(&last.targets).clone(),
                delegations: match role {
                    TARGETS => Some(delegations.clone()),
                    _ => last.delegations.clone(),
                },
            };
            let delegated = delegations.roles.iter().find(|d| d.name == role).map(|d| &d.keys);
            Next {
                role,
                before,
                body,
                authority: delegated.or_else(|| root.roles.get(role)),
            }
        })
        .collect()
}

impl Next<'_> {
    /// Whether it is a vendor's role that signs nothing yet, and whose keys the vendor has. Machines ask for it when a package of it is
    /// offered, and none is.
    pub(crate) fn is_awaiting(&self, ring: &KeyRing) -> bool {
        let is_optional = self.before.is_none() && self.body.targets.is_empty() && self.role.starts_with(VENDOR_PREFIX);
        is_optional
            && self
                .authority
                .is_some_and(|keys| keys.check_at_hand(self.role, ring).is_err())
    }

    /// Whether it has to be signed again: it differs, or who signed it is no longer enough.
    pub(crate) fn has_changed(&self) -> bool {
        has_changed(&self.body, self.before, self.authority)
    }

    /// Whether the second half of its lifetime has begun.
    pub(crate) fn is_due(&self, expires: &Expiry, now: Time) -> bool {
        is_due(self.role, self.before, expires, now)
    }

    /// The body as the next version, with a lifetime that begins now.
    pub(crate) fn renewed(&self, expires: &Expiry, now: Time) -> Targets {
        let mut body = self.body.clone();
        body.renew(expiry(now, lifetime_days(self.role, expires)), now);
        body
    }
}

fn has_changed<T: PartialEq>(body: &T, before: Option<&Signed<T>>, authority: Option<&RoleKeys>) -> bool {
    before.is_none_or(|b| b.signed != *body || authority.is_none_or(|keys| !is_signed(b, keys)))
}

fn is_due<T: Body>(role: &str, before: Option<&Signed<T>>, expires: &Expiry, now: Time) -> bool {
    let half = SignedDuration::from_hours(i64::from(lifetime_days(role, expires)) * 12);
    before.is_some_and(|b| b.signed.expires().duration_since(now) < half)
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

impl<'a> Signer<'a> {
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
        let changed = force || has_changed(&body, before, Some(authority));
        if !changed && !is_due(role, before, self.expires, self.now) {
            return Ok(None);
        }
        body.renew(expiry(self.now, lifetime_days(role, self.expires)), expiry(self.now, 0));
        let outgoing = self.outgoing(role, authority);
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

    /// The keys of a role under the root that a new one replaces, where the new one has others.
    fn outgoing(&self, role: &str, authority: &RoleKeys) -> Option<&'a RoleKeys> {
        let outgoing = self.outgoing.and_then(|root| root.roles.get(role));
        outgoing.filter(|old| *old != authority)
    }

    /// Takes what others have signed. The caller has verified that their signatures are enough.
    fn take(&mut self, role: &str, prepared: &Signed<Targets>, authority: Option<&RoleKeys>) -> (u64, Vec<u8>) {
        let outgoing = authority.and_then(|keys| self.outgoing(role, keys));
        if outgoing.is_some_and(|old| !is_signed(prepared, old)) {
            self.report.unbridged.push(role.to_owned());
        }
        let version = prepared.signed.version;
        self.report.signed.insert(role.to_owned(), version);
        (version, prepared.to_bytes())
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
