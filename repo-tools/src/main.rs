//! The `dkms-repo` program.
fn main() {}
