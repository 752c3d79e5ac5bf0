//! Which signatures have expired, or soon will.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::publish::{PublishError, Published};
use crate::repository::Repository;
use crate::roles::lifetime_days;

/// Whether somebody has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not yet.
    Good,
    /// Soon.
    Soon,
    /// It is too late: machines install nothing new.
    Expired,
}

/// The newest signature of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lifetime {
    /// The role.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: Timestamp,
    /// Whether somebody has to act.
    pub state: State,
}

/// Every role, the one that expires first first. Soon is within so many days, or in the last third of a lifetime.
///
/// # Errors
/// When the published metadata cannot be read.
pub fn lifetimes(
    repository: &Repository,
    within_days: Option<u32>,
    now: Timestamp,
) -> Result<Vec<Lifetime>, PublishError> {
    let published = Published::load(&repository.public_dir())?;
    let mut lifetimes: Vec<Lifetime> = published
        .signed()
        .map(|(role, version, expires)| {
            let days = i64::from(lifetime_days(role, &repository.config().expires_days));
            let soon = within_days.map_or(SignedDuration::from_hours(days * 24 / 3), |days| {
                SignedDuration::from_hours(24 * i64::from(days))
            });
            Lifetime {
                role: role.to_owned(),
                version,
                expires,
                state: state(expires.duration_since(now), soon),
            }
        })
        .collect();
    lifetimes.sort_by(|a, b| (a.expires, &a.role).cmp(&(b.expires, &b.role)));
    Ok(lifetimes)
}

fn state(left: SignedDuration, soon: SignedDuration) -> State {
    if left <= SignedDuration::ZERO {
        State::Expired
    } else if left < soon {
        State::Soon
    } else {
        State::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soon_comes_before_expired() {
        let check = |left: i64, expected: State| {
            assert_eq!(
                state(SignedDuration::from_hours(left), SignedDuration::from_hours(16)),
                expected,
                "{left}"
            );
        };
        check(48, State::Good);
        check(16, State::Good);
        check(15, State::Soon);
        check(0, State::Expired);
        check(-1, State::Expired);
    }
}
