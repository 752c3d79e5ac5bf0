//! What the file system says of a file: while it says the same, the content is the same.

use rustix::fs::{Statx, StatxTimestamp};
use serde::{Deserialize, Serialize};

/// A time of the file system, in seconds and nanoseconds.
pub type FileTime = (i64, i64);

/// What is noted of a file: which it is, its length, and when its content and it itself changed last. Nobody but root can set the last of
/// these to an earlier time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(u64, u64, FileTime, FileTime);

/// A clock of the kernel ticks every 10 ms at the slowest; where whole seconds are noted, some file systems note every other one.
const TICK_NS: i64 = 100_000_000;
const COARSE_S: i64 = 2;

impl Stamp {
    pub(super) fn of(file: &Statx) -> Self {
        let time = |at: StatxTimestamp| (at.tv_sec, i64::from(at.tv_nsec));
        Self(file.stx_ino, file.stx_size, time(file.stx_mtime), time(file.stx_ctime))
    }

    /// Whether the file changed so long before `now`, a time of the same file system, that a later change gives another stamp.
    pub fn is_settled(&self, now: FileTime) -> bool {
        let newest = self.2.max(self.3);
        let settled = match (self.2.1, self.3.1) {
            (0, 0) => (newest.0 + COARSE_S, newest.1),
            _ => {
                let ns = newest.1 + TICK_NS;
                (newest.0 + ns / 1_000_000_000, ns % 1_000_000_000)
            }
        };
        settled < now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_just_changed_is_not_settled() {
        let check = |changed: FileTime, now: FileTime, expected: bool| {
            assert_eq!(
                Stamp(1, 1, (5, changed.1), changed).is_settled(now),
                expected,
                "{changed:?} {now:?}"
            );
        };
        check((10, 1), (10, 1), false);
        check((10, 1), (10, 100_000_001), false);
        check((10, 1), (10, 100_000_002), true);
        check((10, 950_000_000), (11, 40_000_000), false);
        check((10, 950_000_000), (11, 60_000_000), true);
        check((10, 0), (11, 900_000_000), false);
        check((10, 0), (12, 1), true);
        check((12, 1), (10, 0), false);
    }
}
