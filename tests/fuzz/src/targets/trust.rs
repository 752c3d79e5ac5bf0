//! TUF metadata: the root that is pinned, and what a mirror answers after it. A zero byte separates answers.

use crate::bounded;
use dkms_index::trust::{Answer, Exchange, Expiry, Kept, Refresh};
use jiff::Timestamp;

/// Tries one input.
pub fn run(input: &[u8]) {
    bounded(input, || {
        let mut answers = input.split(|byte| *byte == 0);
        let root = answers.next().unwrap_or_default();
        let now = Timestamp::UNIX_EPOCH;
        let Ok(mut refresh) = Refresh::start(root, Kept::new(), now, Expiry::AllowStale) else {
            return;
        };
        for answer in answers {
            if refresh.want().is_none() {
                break;
            }
            let answer = if answer.is_empty() {
                Answer::Absent
            } else {
                Answer::Bytes(answer)
            };
            if refresh.feed(answer).is_err() {
                return;
            }
            refresh.changes();
        }
        drop(refresh.finish());
    });
}
