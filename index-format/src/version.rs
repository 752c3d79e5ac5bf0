//! Which of two versions in the index is newer.
//!
//! The rule is that of Debian Policy, chapter 5.6.12 (dpkg): most versions in an index are those of distribution packages,
//! and plain version numbers are ordered as expected. Epochs do not occur; the last `-` separates a revision.
//! The two parts are compared one after the other. In each, stretches without digits compare by their bytes, letters
//! before all else and `~` before even the end, and stretches of digits compare as numbers of any length.

use std::cmp::Ordering;

/// Compares two versions. Different spellings of one version (`1.0`, `1.00`) are equal.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (upstream_a, revision_a) = split(a);
    let (upstream_b, revision_b) = split(b);
    part(upstream_a, upstream_b).then_with(|| part(revision_a, revision_b))
}

fn split(version: &str) -> (&[u8], &[u8]) {
    let (upstream, revision) = version.rsplit_once('-').unwrap_or((version, ""));
    (upstream.as_bytes(), revision.as_bytes())
}

fn part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b) = (
            take(&mut a, |c| !c.is_ascii_digit()),
            take(&mut b, |c| !c.is_ascii_digit()),
        );
        let order = text(text_a, text_b).then_with(|| {
            let (number_a, number_b) = (number(&mut a), number(&mut b));
            number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b))
        });
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Compares two stretches without digits; the end of a stretch has the weight 0.
fn text(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |text: &[u8], at: usize| match text.get(at) {
        None => 0,
        Some(b'~') => -1,
        Some(&c) if c.is_ascii_alphabetic() => i32::from(c),
        Some(&c) => i32::from(c) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|at| weight(a, at).cmp(&weight(b, at)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Takes the digits at the front, without their leading zeros.
fn number<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let digits = take(rest, |c| c.is_ascii_digit());
    let zeros = digits.iter().take_while(|&&c| c == b'0').count();
    &digits[zeros..]
}

fn take<'a>(rest: &mut &'a [u8], wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = rest.iter().position(|c| !wanted(c)).unwrap_or(rest.len());
    let (taken, after) = rest.split_at(end);
    *rest = after;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, expected: Ordering) {
        assert_eq!(compare(a, b), expected, "{a} and {b}");
        assert_eq!(compare(b, a), expected.reverse(), "{b} and {a}");
    }

    #[test]
    fn the_rule() {
        check("1.9", "1.10", Ordering::Less);
        check("1.0", "1.00", Ordering::Equal);
        check("0.43", "0.44-1~bpo12+1", Ordering::Less);
        check("0.44-1~bpo12+1", "0.44-1", Ordering::Less);
        check("0.20220830+dfsg-6.3", "0.20220830+dfsg-7~bpo12+1", Ordering::Less);
        check("8.051.02-2", "8.051.02-2+deb12u1", Ordering::Less);
        check("1.0-1", "1.0+dfsg-1", Ordering::Less);
        check("1.0rc1", "1.0", Ordering::Greater);
        check("1.0~rc1", "1.0", Ordering::Less);
        check("1.0a", "1.0.1", Ordering::Less);
        check(
            "20240229123456789012345678901",
            "20240229123456789012345678902",
            Ordering::Less,
        );
        check("", "", Ordering::Equal);
        check("1", "", Ordering::Greater);
    }
}
