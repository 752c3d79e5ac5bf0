//! Lines on standard output and standard error. Names, summaries and reasons are other people's: no control character of theirs is printed.

use dkms_support::terminal::{printable, printable_json};
use serde::Serialize;

/// A line on standard output.
pub(super) fn line(text: &str) {
    anstream::println!("{}", printable(text));
}

/// A line on standard error.
pub(super) fn note(text: &str) {
    anstream::eprintln!("{}", printable(text));
}

/// A JSON document on standard output.
pub(super) fn json(document: &impl Serialize) {
    let text = serde_json::json!(document).to_string();
    anstream::println!("{}", printable_json(&text));
}
