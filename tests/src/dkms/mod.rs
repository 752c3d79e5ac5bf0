//! Running a `dkms` (Debian's or ours) on a machine of its own: private /var/lib/dkms, /usr/src, /lib/modules and
//! /etc/dkms, the host's kernel headers and toolchain. Debian's program has most paths built in, so each run gets a
//! mount namespace; nothing outside the temporary directory is written.

mod differences;
mod hello;
mod machine;
pub mod package;
mod program;
mod scenario;
mod snapshot;
pub mod upstream_conf;

pub use differences::{Difference, Documented, compare};
pub use hello::{Hello, prebuilt};
pub use machine::{Machine, Outcome};
pub use program::{Program, ours};
pub use scenario::{Comparison, Scenario};
pub use snapshot::{Fact, Snapshot};
