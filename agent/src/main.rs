//! The `dkms-fetch` program.
fn main() {}
