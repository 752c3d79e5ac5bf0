//! What the fuzz targets share: the limits that every input below 1 MiB has to keep.

use std::alloc::System;
use std::time::Duration;

use cap::Cap;
use rustix::time::{ClockId, clock_gettime};

/// Larger inputs are not tried.
pub const INPUT_MAX_BYTES: usize = 1 << 20;
/// What the work on one input may allocate at a time, besides what was allocated before.
const MEMORY_MAX_BYTES: usize = 64 << 20;
/// CPU time of one input. Not wall time: other processes must not make an input slow. Code that is instrumented or not optimised takes several
/// times as long as what is shipped.
const TIME_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Runs `work` within the limits. An allocation beyond them, or too much time, ends the process as a panic does.
///
/// # Panics
/// When the work takes too long.
pub(crate) fn bounded(input: &[u8], work: impl FnOnce()) {
    if input.len() >= INPUT_MAX_BYTES {
        return;
    }
    let limit = ALLOCATOR.allocated().saturating_add(MEMORY_MAX_BYTES);
    ALLOCATOR.set_limit(limit).expect("a limit above what is allocated");
    let start = cpu_time();
    work();
    let spent = cpu_time().saturating_sub(start);
    ALLOCATOR.set_limit(usize::MAX).expect("no limit");
    assert!(spent < TIME_MAX, "the input took {spent:?} of CPU time");
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.try_into().unwrap_or_default())
}
