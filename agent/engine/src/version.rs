//! Ordering of version strings, as `dkms` orders them.

use std::cmp::Ordering;

/// Compares two versions of kernels or packages: every run of digits counts as a number, all else byte by byte.
///
/// The rule is upstream's (numbers padded to one width, then compared as text), without its limit on the width.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (Some(x), Some(y)) = (a.first(), b.first()) else {
            return a.len().cmp(&b.len());
        };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (left, rest_a) = number(a);
            let (right, rest_b) = number(b);
            let order = left.len().cmp(&right.len()).then_with(|| left.cmp(right));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (rest_a, rest_b);
        } else {
            if x != y {
                return x.cmp(y);
            }
            (a, b) = (&a[1..], &b[1..]);
        }
    }
}

/// The leading number without its zeros, and what follows it.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().position(|&b| b != b'0').unwrap_or(digits.len());
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order() {
        let check = |a: &str, b: &str, expected: Ordering| {
            assert_eq!(compare(a, b), expected, "{a} and {b}");
            assert_eq!(compare(b, a), expected.reverse(), "{b} and {a}");
        };
        check("6.1", "6.12", Ordering::Less);
        check("6.9", "6.12", Ordering::Less);
        check("6.1.0-56-amd64", "6.1.0-47-amd64", Ordering::Greater);
        check("6.8.0-31", "6.8", Ordering::Greater);
        check("1.02", "1.2", Ordering::Equal);
        check("2.6.9-1cvs200409091247", "2.6.9-1cvs200409091246", Ordering::Greater);
        check("", "1", Ordering::Less);
        check("20240229123456789012", "20240229123456789013", Ordering::Less);
    }
}
