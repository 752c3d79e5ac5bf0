//! The refresh: from a pinned root to [`TrustedMetadata`], step by step as TUF 1.0.31, section 5, has it.

use jiff::Timestamp;
use sigstore_tuf::{Root, TargetFile, TrustedMetadataSet};

use super::exchange::{Answer, Change, Exchange, Kept, Want, bytes_of};
use super::limits::{REVOCATIONS_MAX_BYTES, ROOT_MAX_BYTES, ROOTS_MAX, SNAPSHOT_MAX_BYTES, TIMESTAMP_MAX_BYTES};
use super::metadata::TrustedMetadata;
use super::state::{self, Core, INDEX, REVOCATIONS, TARGETS};
use super::target::TrustedTargets;
use super::time::Now;
use super::{Expiry, TrustError, Why, crypto};
use crate::document::revocation::{self, Revocations};

/// What every refresh needs besides the four top-level roles. Roles of manifests come later, when one is asked for.
const ROLES: &[&str] = &[TARGETS, INDEX, REVOCATIONS];

/// A refresh in progress.
#[derive(Debug)]
pub struct Refresh {
    core: Core,
    /// The targets roles that it ends with.
    roles: &'static [&'static str],
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Asks for the next root; `followed` new ones were accepted already.
    Root {
        followed: u64,
    },
    Timestamp,
    Snapshot {
        want: Want,
    },
    Role {
        number: usize,
        want: Want,
    },
    Revocations {
        target: TargetFile,
        want: Want,
    },
    Done {
        revocations: Revocations,
    },
    /// All that was asked for, of a repository that need not be one of drivers.
    TopLevel,
}

impl Refresh {
    /// Begins with the root that was shipped with the machine, and what earlier runs kept.
    ///
    /// `now` is [`super::trusted_now`] of the clock and the build date. Where the kept timestamp is genuine and was issued
    /// later than `now`, and all that it pins was fresh then, its time counts, until a new root replaces its keys.
    ///
    /// # Errors
    /// When the pinned root itself is invalid. Damaged kept files count as absent.
    pub fn start(pinned_root: &[u8], kept: Kept, now: Timestamp, expiry: Expiry) -> Result<Self, TrustError> {
        Self::with_roles(ROLES, pinned_root, kept, now, expiry)
    }

    /// The same of any TUF repository: only the four top-level roles. It ends in [`TrustedTargets`], by
    /// [`Refresh::finish_top_level`].
    ///
    /// # Errors
    /// As [`Refresh::start`].
    pub fn of_top_level(pinned_root: &[u8], kept: Kept, now: Timestamp, expiry: Expiry) -> Result<Self, TrustError> {
        Self::with_roles(&ROLES[..1], pinned_root, kept, now, expiry)
    }

    fn with_roles(
        roles: &'static [&'static str],
        pinned_root: &[u8],
        kept: Kept,
        now: Timestamp,
        expiry: Expiry,
    ) -> Result<Self, TrustError> {
        crypto::install();
        let mut set = TrustedMetadataSet::from_root(pinned_root)
            .map_err(|e| TrustError::from_tuf(e, "the pinned root.json", "root", Now::clock(now)))?;
        // Newer roots are accepted only as far as they chain from the pinned one.
        while let Some(next) = kept.get(&format!("{}.root.json", set.root().version.saturating_add(1))) {
            if set.update_root(next).is_err() {
                break;
            }
        }
        let core = Core {
            now: Now::clock(now).or_signed(signed_time(roles, &set, &kept)),
            clock: now,
            set,
            kept,
            changes: Vec::new(),
            expiry,
        };
        Ok(Self {
            core,
            roles,
            stage: Stage::Root { followed: 0 },
        })
    }

    /// The time this refresh judges expiry by.
    pub fn now(&self) -> Timestamp {
        self.core.now.time
    }

    /// The result, once nothing is wanted any more.
    ///
    /// # Errors
    /// When the refresh is not at its end.
    pub fn finish(self) -> Result<TrustedMetadata, TrustError> {
        match self.stage {
            Stage::Done { revocations } => Ok(TrustedMetadata::new(self.core, revocations)),
            _ => Err(TrustError::Missing {
                file: self.want().map(|w| w.path).unwrap_or_default(),
            }),
        }
    }

    /// The result of [`Refresh::of_top_level`], once nothing is wanted any more.
    ///
    /// # Errors
    /// When the refresh is not at its end, or was begun otherwise.
    pub fn finish_top_level(self) -> Result<TrustedTargets, TrustError> {
        match self.stage {
            Stage::TopLevel => Ok(TrustedTargets::new(self.core)),
            _ => Err(TrustError::Missing {
                file: self.want().map(|w| w.path).unwrap_or_default(),
            }),
        }
    }

    fn feed_root(&mut self, followed: u64, bytes: &[u8], file: &str) -> Result<Stage, TrustError> {
        if followed >= ROOTS_MAX {
            let why = Why::Mismatch(format!("more than {ROOTS_MAX} new roots in one refresh"));
            return Err(TrustError::refused(file, "root", why));
        }
        let before = self.core.set.root().clone();
        let now = self.core.now;
        self.core
            .set
            .update_root(bytes)
            .map_err(|e| TrustError::from_tuf(e, file, "root", now))?;
        // Fast-forward recovery (5.3.11): high versions signed by a stolen key must not bind the keys that replace it. Removed
        // before the root is kept, so that a crash between the two only repeats this.
        if has_rotated(&before, self.core.set.root()) {
            self.core.forget("timestamp.json");
            self.core.forget("snapshot.json");
            // Nor must the time that was signed by it.
            self.core.now = Now::clock(self.core.clock);
        }
        self.core
            .keep(format!("{}.root.json", self.core.set.root().version), bytes);
        Ok(Stage::Root { followed: followed + 1 })
    }

    /// The newest root is in: its own expiry counts now (5.3.10), and the kept files give the lowest versions that are accepted.
    fn end_of_roots(&mut self) -> Result<Stage, TrustError> {
        let core = &mut self.core;
        let file = core.metadata_path("root", core.set.root().version);
        core.set
            .check_root_expired(core.now_for_expiry())
            .map_err(|e| TrustError::from_tuf(e, &file, "root", core.now))?;
        // Genuine old files, expired or not, show which versions were seen. Those that fail verification are ignored.
        if let Some(timestamp) = core.kept.get("timestamp.json")
            && core.set.update_timestamp(timestamp, Timestamp::MIN).is_ok()
            && let Some(snapshot) = core.kept.get("snapshot.json")
        {
            let _floor = core.set.update_snapshot(snapshot, Timestamp::MIN);
        }
        Ok(Stage::Timestamp)
    }

    fn feed_timestamp(&mut self, bytes: &[u8], file: &str) -> Result<Stage, TrustError> {
        let core = &mut self.core;
        let refuse = |e, now| TrustError::from_tuf(e, file, "timestamp", now);
        match core.set.update_timestamp(bytes, core.now_for_expiry()) {
            Ok(()) => core.keep("timestamp.json".to_owned(), bytes),
            // Nothing new: what was kept stays in force (5.4.3).
            Err(sigstore_tuf::Error::EqualVersion { .. }) => {}
            Err(e) => return Err(refuse(e, core.now)),
        }
        core.set
            .check_timestamp_expired(core.now_for_expiry())
            .map_err(|e| refuse(e, core.now))?;
        let pin = core
            .set
            .timestamp()
            .and_then(|t| t.snapshot_meta())
            .cloned()
            .ok_or_else(|| {
                TrustError::refused(
                    file,
                    "timestamp",
                    Why::Malformed("it does not pin snapshot.json".to_owned()),
                )
            })?;
        // The kept snapshot replaces a download if it is exactly what the timestamp pins.
        let kept = core.kept.get("snapshot.json").cloned();
        let now = core.now_for_expiry();
        if kept.is_some_and(|bytes| core.set.update_snapshot(&bytes, now).is_ok()) {
            return self.next_role(0);
        }
        Ok(Stage::Snapshot {
            want: core.want_metadata("snapshot", &pin, SNAPSHOT_MAX_BYTES),
        })
    }

    fn feed_snapshot(&mut self, bytes: &[u8], file: &str) -> Result<Stage, TrustError> {
        let core = &mut self.core;
        core.set
            .update_snapshot(bytes, core.now_for_expiry())
            .map_err(|e| TrustError::from_tuf(e, file, "snapshot", core.now))?;
        core.keep("snapshot.json".to_owned(), bytes);
        self.next_role(0)
    }

    fn feed_role(&mut self, number: usize, bytes: &[u8], file: &str) -> Result<Stage, TrustError> {
        let role = self.roles[number];
        let now = self.core.now;
        self.core
            .admit_role(role, TARGETS, bytes)
            .map_err(|e| TrustError::from_tuf(e, file, role, now))?;
        self.core.keep(format!("{role}.json"), bytes);
        self.next_role(number + 1)
    }

    /// Goes on at `ROLES[number]`, passing over those whose kept file is still the pinned one.
    fn next_role(&mut self, number: usize) -> Result<Stage, TrustError> {
        let roles = self.roles;
        for (number, role) in roles.iter().enumerate().skip(number) {
            if !self.core.admit_kept_role(role, TARGETS) {
                return Ok(Stage::Role {
                    number,
                    want: self.core.want_role(role)?,
                });
            }
        }
        if !roles.contains(&REVOCATIONS) {
            return Ok(Stage::TopLevel);
        }
        let path = revocation::TARGET_PATH;
        let target = self
            .core
            .delegated_target(REVOCATIONS, path)
            .cloned()
            .ok_or_else(|| TrustError::Unlisted {
                target: path.to_owned(),
            })?;
        let want = state::want_target(&self.core, &target, path, REVOCATIONS, REVOCATIONS_MAX_BYTES)?;
        let kept = self.core.kept.get(&super::kept_target(path));
        let kept = kept.filter(|bytes| state::check_target(bytes, &target, path, REVOCATIONS).is_ok());
        match kept {
            Some(bytes) => Ok(Stage::Done {
                revocations: parse_revocations(bytes, &want.path)?,
            }),
            None => Ok(Stage::Revocations { target, want }),
        }
    }

    fn feed_revocations(&mut self, target: &TargetFile, bytes: &[u8], file: &str) -> Result<Stage, TrustError> {
        state::check_target(bytes, target, file, REVOCATIONS)?;
        let revocations = parse_revocations(bytes, file)?;
        self.core.keep(super::kept_target(revocation::TARGET_PATH), bytes);
        Ok(Stage::Done { revocations })
    }
}

impl Exchange for Refresh {
    fn want(&self) -> Option<Want> {
        match &self.stage {
            Stage::Root { .. } => Some(Want {
                path: format!("metadata/{}.root.json", self.core.set.root().version.saturating_add(1)),
                max_bytes: ROOT_MAX_BYTES,
                may_be_absent: true,
                // It may exist later: its absence must not be cached.
                immutable: false,
            }),
            Stage::Timestamp => Some(Want {
                path: "metadata/timestamp.json".to_owned(),
                max_bytes: TIMESTAMP_MAX_BYTES,
                may_be_absent: false,
                immutable: false,
            }),
            Stage::Snapshot { want } | Stage::Role { want, .. } | Stage::Revocations { want, .. } => Some(want.clone()),
            Stage::Done { .. } | Stage::TopLevel => None,
        }
    }

    fn feed(&mut self, answer: Answer<'_>) -> Result<(), TrustError> {
        let Some(want) = self.want() else { return Ok(()) };
        if answer == Answer::Absent && want.may_be_absent {
            self.stage = self.end_of_roots()?;
            return Ok(());
        }
        let bytes = bytes_of(&want, answer)?;
        let file = &want.path;
        self.stage = match &self.stage {
            Stage::Root { followed } => self.feed_root(*followed, bytes, file)?,
            Stage::Timestamp => self.feed_timestamp(bytes, file)?,
            Stage::Snapshot { .. } => self.feed_snapshot(bytes, file)?,
            Stage::Role { number, .. } => self.feed_role(*number, bytes, file)?,
            Stage::Revocations { target, .. } => {
                let target = target.clone();
                self.feed_revocations(&target, bytes, file)?
            }
            Stage::Done { .. } | Stage::TopLevel => return Ok(()),
        };
        Ok(())
    }

    fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.core.changes)
    }
}

/// When the kept timestamp was issued, if it and all that it pins is kept and genuine. Expired files count too: the time is in the past.
fn signed_time(roles: &[&str], set: &TrustedMetadataSet, kept: &Kept) -> Option<Timestamp> {
    let mut set = set.clone();
    set.update_timestamp(kept.get("timestamp.json")?, Timestamp::MIN).ok()?;
    set.update_snapshot(kept.get("snapshot.json")?, Timestamp::MIN).ok()?;
    for role in roles {
        let bytes = kept.get(&format!("{role}.json"))?;
        state::admit(&mut set, role, TARGETS, bytes, Timestamp::MIN).ok()?;
    }
    state::issued(&set)
}

/// Whether timestamp or snapshot have other keys, or another threshold, than before.
fn has_rotated(before: &Root, after: &Root) -> bool {
    let keys = |root: &Root, role: &str| {
        let role = root.role(role)?;
        let mut keys: Vec<_> = role
            .keyids
            .iter()
            .map(|id| root.keys.get(id).map(|k| k.keyval.public.clone()))
            .collect();
        keys.sort();
        Some((keys, role.threshold))
    };
    ["timestamp", "snapshot"]
        .iter()
        .any(|role| keys(before, role) != keys(after, role))
}

fn parse_revocations(bytes: &[u8], file: &str) -> Result<Revocations, TrustError> {
    Revocations::parse(bytes).map_err(|e| TrustError::refused(file, REVOCATIONS, Why::Malformed(e.to_string())))
}
