//! A jobserver for one build: the pipe from which its makes take tokens (GNU make, "Sharing Job Slots").
//!
//! Both ends are kept apart, so that a write into the pipe of a package that filled it fails when its build ends.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use command_fds::FdMapping;

use super::run::is_writable;

/// The numbers of the ends in the programs: far above those that programs open.
const READ_FD: i32 = 202;
const WRITE_FD: i32 = 203;

/// What a token is written as; make writes back what it read.
const TOKEN: u8 = b'+';

/// A pipe with tokens. Every make has one job without a token.
#[derive(Debug, Clone)]
pub struct Jobserver {
    read: Arc<OwnedFd>,
    write: Arc<OwnedFd>,
}

impl Jobserver {
    /// Makes one for `jobs` jobs in sum.
    ///
    /// # Errors
    /// When the pipe cannot be made.
    pub fn new(jobs: usize) -> io::Result<Jobserver> {
        let (read, write) = io::pipe()?;
        let jobserver = Jobserver {
            read: Arc::new(read.into()),
            write: Arc::new(write.into()),
        };
        jobserver.handle().add(jobs.saturating_sub(1))?;
        Ok(jobserver)
    }

    /// The end by which tokens are added later.
    pub fn handle(&self) -> JobserverHandle {
        JobserverHandle(Arc::clone(&self.write))
    }

    /// The value of MAKEFLAGS. Older makes read `--jobserver-fds`.
    pub(super) fn makeflags() -> String {
        format!("-j --jobserver-fds={READ_FD},{WRITE_FD} --jobserver-auth={READ_FD},{WRITE_FD}")
    }

    /// The ends, for a program that is about to start.
    pub(super) fn mappings(&self) -> io::Result<Vec<FdMapping>> {
        let mapping = |end: &OwnedFd, child_fd| -> io::Result<FdMapping> {
            let parent_fd = end.try_clone()?;
            Ok(FdMapping { parent_fd, child_fd })
        };
        Ok(vec![mapping(&self.read, READ_FD)?, mapping(&self.write, WRITE_FD)?])
    }
}

/// Adds tokens to a [`Jobserver`].
#[derive(Debug, Clone)]
pub struct JobserverHandle(Arc<OwnedFd>);

impl JobserverHandle {
    /// Adds `tokens`. A pipe that its package has filled gets none.
    ///
    /// # Errors
    /// When the build has ended.
    pub fn add(&self, tokens: usize) -> io::Result<()> {
        if tokens == 0 || !is_writable(&self.0, Duration::ZERO) {
            return Ok(());
        }
        std::fs::File::from(self.0.try_clone()?).write_all(&vec![TOKEN; tokens])
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn one_job_needs_no_token() {
        for (jobs, tokens) in [(0, 0), (1, 0), (4, 3)] {
            let Jobserver { read, write } = Jobserver::new(jobs).expect("a pipe");
            drop(write);
            let mut text = String::new();
            let mut reader = std::fs::File::from(read.try_clone().expect("a descriptor"));
            reader.read_to_string(&mut text).expect("reads");
            assert_eq!(text.len(), tokens, "{jobs} jobs");
        }
    }

    #[test]
    fn a_full_pipe_and_one_without_a_reader_hold_nobody_up() {
        let jobserver = Jobserver::new(1).expect("a pipe");
        let handle = jobserver.handle();
        while is_writable(&handle.0, Duration::ZERO) {
            handle.add(1024).expect("writes");
        }
        handle.add(1).expect("it is passed over");
        drop(jobserver);
        assert!(handle.add(1).is_err(), "its build has ended");
    }
}
