//! Everything that reads what others wrote, as functions of bytes, each within limits of time and memory.
//!
//! `tests/mutations.rs` tries inputs that are made from seeds, in each run of the tests; the programs in `fuzz/` let libFuzzer make
//! them. The seeds of a target are in `fixtures/fuzz/TARGET`.

mod limits;
mod mutate;
mod targets;

pub use limits::INPUT_MAX_BYTES;
pub use mutate::Mutator;
pub use targets::*;

use limits::bounded;
