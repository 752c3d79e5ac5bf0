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

/// `number` with the word for one or for many.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A JSON document on standard output.
pub(super) fn json(document: &impl Serialize) {
    let text = serde_json::json!(document).to_string();
    anstream::println!("{}", printable_json(&text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_many() {
        let check = |number, expected: &str| assert_eq!(count(number, "state stays", "states stay"), expected);
        check(0, "0 states stay");
        check(1, "1 state stays");
        check(2, "2 states stay");
    }
}
