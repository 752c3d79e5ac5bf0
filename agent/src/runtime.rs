//! Runs work that waits for a network, on one thread, until it is done or a signal arrives.

use std::io;

use crate::interrupt::Interrupt;

/// A signal ended the work. What was done before is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted by {}", crate::interrupt::name(*signal))]
pub struct Interrupted {
    /// Its number.
    pub signal: u8,
}

/// One thread that waits. It may be entered again and again, with the same connections.
#[derive(Debug)]
pub struct Runtime {
    tokio: tokio::runtime::Runtime,
    interrupt: Interrupt,
}

impl Runtime {
    /// Installs the handlers of signals, see [`Interrupt::listen`].
    ///
    /// # Errors
    /// When they cannot be installed.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: Interrupt::listen()?,
            tokio: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }

    /// Runs `work`. A signal ends it at its next `await`, and what it holds is dropped.
    ///
    /// # Errors
    /// The signal.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        let mut interrupt = self.interrupt.clone();
        self.tokio.block_on(async {
            tokio::select! {
                biased;
                signal = interrupt.received() => Err(Interrupted { signal }),
                done = work => Ok(done),
            }
        })
    }

    /// Runs `work` to its end. It gets what tells it that a signal arrived, and ends by itself then.
    pub(crate) fn run_to_end<T, F: Future<Output = T>>(&self, work: impl FnOnce(Interrupt) -> F) -> T {
        self.tokio.block_on(work(self.interrupt.clone()))
    }

    /// Ends a run in which a signal arrived.
    ///
    /// # Errors
    /// The signal.
    pub fn check(&self) -> Result<(), Interrupted> {
        self.run(std::future::ready(()))
    }
}

impl Drop for Runtime {
    /// A look-up of a name that does not end is left behind: only a runtime that is given away does not wait for it.
    fn drop(&mut self) {
        if let Ok(empty) = tokio::runtime::Builder::new_current_thread().build() {
            std::mem::replace(&mut self.tokio, empty).shutdown_background();
        }
    }
}
