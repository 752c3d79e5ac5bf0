//! Exit codes. They are API: scripts and provisioning systems act on them.

use std::process::ExitCode;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is as it should be, also when nothing was needed.
    Converged,
    /// Something that no other code stands for; the message says what.
    Failed,
    /// Called or configured in a way that cannot work.
    Usage,
    /// No network and nothing cached.
    NoNetwork,
    /// Something served or cached failed verification; nothing of it was used.
    Untrusted,
    /// Something was to be built and nothing could be.
    BuildsFailed,
    /// Some of what was to be done is done.
    Partly,
    /// Done, and a reboot or the enrolment of a key is pending.
    Pending,
    /// With `--require-all`: a device has no driver. Also where a package is installed and no driver is bound to its devices.
    Unserved,
    /// With `--detailed-exitcode`: converged, and something changed.
    Changed,
    /// With `--detailed-exitcode`: no package matches any device.
    NoMatch,
    /// Not now: another run is in progress, the disk is full, the index is too old, or what builds need could not be installed.
    TryAgain,
    /// Ended by this signal.
    Interrupted(u8),
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Converged => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoNetwork => 3,
            Self::Untrusted => 4,
            Self::BuildsFailed => 5,
            Self::Partly => 6,
            Self::Pending => 7,
            Self::Unserved => 8,
            Self::Changed => 10,
            Self::NoMatch => 11,
            Self::TryAgain => 75,
            Self::Interrupted(signal) => crate::interrupt::exit_code(signal),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table for `--help` and the manual page.
pub const HELP: &str = "\
Exit codes:
   0  converged, also when nothing was needed
   1  failed; the message says why
   2  called or configured in a way that cannot work
   3  no network and nothing cached
   4  trust refused: something served or cached is not what its keys promise
   5  every build failed
   6  partly done
   7  done, and a reboot or the enrolment of a key is pending
   8  a device has no driver: with --require-all, with check-kernel, or where its package is installed and drives nothing
  75  try again later: another run is in progress, the disk is full, the index is out of date, or apt failed
 130  interrupted by SIGINT (129 by SIGHUP, 143 by SIGTERM); the next run goes on
With --detailed-exitcode also:
  10  converged, and something was changed (with --check: would be)
  11  converged, and no package matches any device";

/// The exit code of a run for several kernels: theirs where it is the same for all; else the work is partly done.
pub fn combined(exits: &[Exit]) -> Exit {
    match exits {
        [] => Exit::Converged,
        exits if exits.contains(&Exit::Untrusted) => Exit::Untrusted,
        [first, rest @ ..] if rest.iter().all(|exit| exit == first) => *first,
        exits if exits.iter().all(|exit| matches!(exit, Exit::Converged | Exit::Pending)) => Exit::Pending,
        exits
            if exits
                .iter()
                .all(|exit| matches!(exit, Exit::Converged | Exit::Unserved)) =>
        {
            Exit::Unserved
        }
        _ => Exit::Partly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_end_differently_are_partly_done() {
        use Exit::{BuildsFailed, Converged, Partly, Pending, Unserved, Untrusted};
        let check = |exits: &[Exit], expected: Exit| assert_eq!(combined(exits), expected, "{exits:?}");
        check(&[], Converged);
        check(&[Converged, Converged], Converged);
        check(&[BuildsFailed], BuildsFailed);
        check(&[BuildsFailed, BuildsFailed], BuildsFailed);
        check(&[BuildsFailed, Converged], Partly);
        check(&[Converged, Pending], Pending);
        check(&[Pending, BuildsFailed], Partly);
        check(&[Converged, Unserved], Unserved);
        check(&[Partly, Untrusted], Untrusted);
    }
}
