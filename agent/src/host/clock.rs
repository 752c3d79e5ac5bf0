//! What time it is, to a machine whose clock may not have been set yet.

use dkms_index::trust::trusted_now;
use jiff::Timestamp;

/// The time of a run, read once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// What is taken for now.
    pub now: Timestamp,
    /// Whether the machine's clock stands before the day this program was built, so that day is taken instead.
    pub assumed: bool,
}

impl Clock {
    /// Reads the machine's clock.
    pub fn read() -> Self {
        Self::judge(Timestamp::now(), built())
    }

    fn judge(clock: Timestamp, built: Timestamp) -> Self {
        let now = trusted_now(clock, built, None);
        Self {
            now,
            assumed: now != clock,
        }
    }
}

/// When this program was built; `SOURCE_DATE_EPOCH` where the build was given one.
pub fn built() -> Timestamp {
    let seconds = env!("DKMS_FETCH_BUILT").parse().unwrap_or(0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_1970_is_not_believed() {
        let built: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |clock: &str, now: &str, assumed: bool| {
            let now = now.parse().unwrap();
            assert_eq!(Clock::judge(clock.parse().unwrap(), built), Clock { now, assumed });
        };
        check("1970-01-01T00:00:09Z", "2026-01-01T00:00:00Z", true);
        check("2026-06-01T00:00:00Z", "2026-06-01T00:00:00Z", false);
        assert!(
            super::built() > "2025-01-01T00:00:00Z".parse().unwrap(),
            "the build says when"
        );
    }
}
