//! When to try again: a few times with exponential back-off and jitter, and not before the server's `Retry-After`.
//!
//! `backon` would replace the sequence of waits, which is [`Backoff::next`], and need an adapter for `Retry-After`, for its upper
//! bound and for the loop over the mirrors, whose sink is borrowed mutably.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// Servers may ask to wait this long in all; longer and the run ends instead, to be tried again later.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The waits between tries.
#[derive(Debug)]
pub(super) struct Backoff {
    left: u32,
    next: Duration,
    /// How long servers may still ask to wait.
    patience: Duration,
}

impl Backoff {
    pub(super) fn new(retries: u32, first: Duration) -> Self {
        Self {
            left: retries,
            next: first,
            patience: WAIT_MAX,
        }
    }

    /// How long to wait before the next try; `None` when it is time to give up.
    pub(super) fn next(&mut self, server_asks: Option<Duration>) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let step = self.next.min(WAIT_MAX);
        self.next = step * 2;
        let jittered = step.mul_f64(0.5 + fastrand::f64() / 2.0);
        let Some(asked) = server_asks else {
            return Some(jittered);
        };
        self.patience = self.patience.checked_sub(asked)?;
        Some(asked.max(jittered))
    }
}

/// The value of a `Retry-After` header (RFC 9110 §10.2.3): seconds, or a date.
pub(super) fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(value.trim()).ok()?.timestamp();
    Some(date.duration_since(now).try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let mut backoff = Backoff::new(3, Duration::from_millis(100));
        for expected_ms in [50..=100, 100..=200, 200..=400] {
            let wait = backoff.next(None).expect("a try is left").as_millis();
            assert!(expected_ms.contains(&wait), "{wait} ms, not {expected_ms:?}");
        }
        assert_eq!(backoff.next(None), None);
    }

    #[test]
    fn retry_after_is_respected_up_to_a_limit() {
        let next = |seconds| Backoff::new(1, Duration::from_millis(100)).next(Some(Duration::from_secs(seconds)));
        assert_eq!(next(7), Some(Duration::from_secs(7)));
        assert_eq!(next(3600), None);
        let mut backoff = Backoff::new(3, Duration::from_millis(100));
        assert_eq!(
            backoff.next(Some(Duration::from_secs(20))),
            Some(Duration::from_secs(20))
        );
        assert_eq!(backoff.next(Some(Duration::from_secs(20))), None, "in all");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "1994-11-06T08:49:30Z".parse().expect("a time");
        let check = |value: &str, expected: Option<u64>| {
            assert_eq!(
                parse_retry_after(value, now),
                expected.map(Duration::from_secs),
                "{value}"
            );
        };
        check("120", Some(120));
        check(" 0", Some(0));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(7));
        check("Sat, 06 Nov 1993 08:49:37 GMT", Some(0));
        check("soon", None);
        check("-5", None);
    }
}
