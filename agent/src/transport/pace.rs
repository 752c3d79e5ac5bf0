//! How slow a body may be.

use std::time::Duration;

use reqwest::Response;
use tokio::time::Instant;

/// A server that sends less counts as silent: a byte now and then is no progress.
const SLOWEST_BYTES_PER_S: f64 = 1024.0;

/// Watches a body: within each span of the time without progress, a kilobyte a second has to arrive.
#[derive(Debug)]
pub(super) struct Pace {
    idle: Duration,
    since: Instant,
    received: u64,
}

/// What comes next.
pub(super) enum Next<T> {
    Bytes(T),
    End,
    Failed(reqwest::Error),
    /// So many bytes arrived in the time without progress.
    TooSlow(u64),
}

impl Pace {
    /// Counts from now.
    pub(super) fn new(idle: Duration) -> Self {
        Self {
            idle,
            since: Instant::now(),
            received: 0,
        }
    }

    /// Waits for the next piece of the body.
    pub(super) async fn next(&mut self, response: &mut Response) -> Next<impl AsRef<[u8]> + use<>> {
        match tokio::time::timeout_at(self.since + self.idle, response.chunk()).await {
            Err(_) => Next::TooSlow(self.received),
            Ok(Err(error)) => Next::Failed(error),
            Ok(Ok(None)) => Next::End,
            Ok(Ok(Some(bytes))) => {
                self.received += bytes.len() as u64;
                if self.received as f64 >= self.idle.as_secs_f64() * SLOWEST_BYTES_PER_S {
                    self.received = 0;
                    self.since = Instant::now();
                }
                Next::Bytes(bytes)
            }
        }
    }

    /// The time without progress.
    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    /// Counts anew: time in which nobody read is not the server's.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.idle);
    }
}
