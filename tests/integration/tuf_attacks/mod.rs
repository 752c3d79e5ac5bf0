//! What a hostile mirror, a thief of keys or a mere accident can do to a client: nothing but delay it.

mod delegates;
mod keys;
mod mirror;

/// The packages of `TestRepo::with_packages`.
const ALL: [&str; 3] = ["ddcci", "r8168", "r8169x"];
