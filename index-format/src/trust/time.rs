//! The time that expiry is judged by, on a machine whose clock may be wrong.

use jiff::Timestamp;

/// Whether an expired signature is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It is: [`super::TrustError::Stale`].
    Enforce,
    /// It is not: for media that were made once and are carried to machines for months. Only a policy that root
    /// wrote into the machine may choose it. All other checks stay.
    AllowStale,
}

/// The time to judge expiry by: the latest of what the clock says, when this program was built, and when the newest
/// metadata known to be genuine was signed. With a clock that stands in 1970 expired metadata stays expired; with
/// a clock that is far ahead everything is stale, and nothing stored is lost.
///
/// ```
/// use dkms_index::trust::trusted_now;
/// let day = |s: &str| s.parse::<jiff::Timestamp>().unwrap();
/// let (epoch, built) = (day("1970-01-01T00:00:07Z"), day("2026-01-01T00:00:00Z"));
/// assert_eq!(trusted_now(epoch, built, None), built);
/// assert_eq!(trusted_now(epoch, built, Some(day("2026-05-01T00:00:00Z"))), day("2026-05-01T00:00:00Z"));
/// assert_eq!(trusted_now(day("2026-06-01T00:00:00Z"), built, None), day("2026-06-01T00:00:00Z"));
/// ```
pub fn trusted_now(clock: Timestamp, build_date: Timestamp, newest_issued: Option<Timestamp>) -> Timestamp {
    clock.max(build_date).max(newest_issued.unwrap_or(Timestamp::MIN))
}

/// The time that expiry is judged by, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    pub(super) time: Timestamp,
    /// Whether it is that of a verified timestamp.json, because the clock is behind it.
    pub(super) is_signed: bool,
}

impl Now {
    /// The time that the caller gave.
    pub(super) fn clock(time: Timestamp) -> Self {
        Self { time, is_signed: false }
    }

    /// The later of this and a signed time.
    pub(super) fn or_signed(self, issued: Option<Timestamp>) -> Self {
        match issued {
            Some(time) if time > self.time => Self { time, is_signed: true },
            _ => self,
        }
    }
}
