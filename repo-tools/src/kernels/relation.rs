//! Dependencies as packages write them (Debian Policy, chapter 7.1), and the order of versions.

use std::cmp::Ordering;

/// One of the packages that would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alternative<'a> {
    pub(super) name: &'a str,
    /// An operator and a version.
    pub(super) bound: Option<(&'a str, &'a str)>,
}

impl<'a> Alternative<'a> {
    /// `name`, `name:any`, `name (>= 1)`.
    fn parse(text: &'a str) -> Self {
        let (name, rest) = text.split_once('(').unwrap_or((text, ""));
        let name = name.trim();
        let bound = rest.trim().trim_end_matches(')').trim();
        let digits = bound.find(|c: char| !"<>=".contains(c)).unwrap_or(bound.len());
        let (operator, version) = bound.split_at(digits);
        Self {
            name: name.split_once(':').map_or(name, |(name, _)| name),
            bound: (!operator.is_empty()).then(|| (operator, version.trim())),
        }
    }

    /// Whether a version is one of those.
    pub(super) fn allows(&self, version: &str) -> bool {
        self.bound.is_none_or(|(operator, than)| {
            let order = compare(version, than);
            match operator {
                "<<" => order.is_lt(),
                "<=" | "<" => order.is_le(),
                "=" => order.is_eq(),
                ">=" | ">" => order.is_ge(),
                _ => order.is_gt(),
            }
        })
    }
}

/// The relations of a field: of each, one alternative has to be there.
pub(super) fn relations(field: &str) -> impl Iterator<Item = Vec<Alternative<'_>>> {
    field
        .split(',')
        .filter(|relation| !relation.trim().is_empty())
        .map(|relation| relation.split('|').map(Alternative::parse).collect())
}

/// Compares two versions with their epochs, as dpkg does.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let split = |version| {
        let (epoch, rest) = str::split_once(version, ':').unwrap_or(("0", version));
        (epoch.parse::<u64>().unwrap_or(0), rest)
    };
    let ((epoch_a, a), (epoch_b, b)) = (split(a), split(b));
    epoch_a.cmp(&epoch_b).then_with(|| dkms_index::version::compare(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_packages_write() {
        let parsed: Vec<String> = relations("a, b:any (>= 1:2-3) | c (<<4), , d(= 1)")
            .map(|all| format!("{:?}", all.iter().map(|one| (one.name, one.bound)).collect::<Vec<_>>()))
            .collect();
        let expected = [
            r#"[("a", None)]"#,
            r#"[("b", Some((">=", "1:2-3"))), ("c", Some(("<<", "4")))]"#,
            r#"[("d", Some(("=", "1")))]"#,
        ];
        assert_eq!(parsed, expected);
    }

    #[test]
    fn versions_within_bounds() {
        let check = |text: &str, version: &str, expected: bool| {
            assert_eq!(Alternative::parse(text).allows(version), expected, "{text} {version}");
        };
        check("a", "1", true);
        check("a (>= 1:1)", "2", false);
        check("a (>= 1:1)", "1:1", true);
        check("a (>> 1)", "1", false);
        check("a (<< 1)", "1~rc1", true);
        check("a (= 6.12.117-1)", "6.12.117-1", true);
        check("a (<= 1)", "1+b1", false);
    }
}
