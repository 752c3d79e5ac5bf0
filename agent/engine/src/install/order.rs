//! BUILD_DEPENDS: what has to be there before what.

use std::collections::{BTreeMap, BTreeSet};

/// A package that cannot have its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked<'a> {
    /// The package.
    pub module: &'a str,
    /// What it waits for.
    pub waits_for: Vec<&'a str>,
}

/// Puts packages into waves: each wave depends on earlier ones only. `depends` gives what each package needs, `present` what is there.
///
/// Packages that wait for something that is neither there nor in the list, or for each other, are blocked.
pub fn waves<'a>(
    depends: &BTreeMap<&'a str, Vec<&'a str>>,
    present: &BTreeSet<&'a str>,
) -> (Vec<Vec<&'a str>>, Vec<Blocked<'a>>) {
    let mut done = present.clone();
    let mut left: BTreeSet<&str> = depends.keys().copied().collect();
    let mut waves = Vec::new();
    let missing = |module: &str, done: &BTreeSet<&'a str>| -> Vec<&'a str> {
        depends
            .get(module)
            .into_iter()
            .flatten()
            .copied()
            .filter(|need| *need != module && !done.contains(need))
            .collect()
    };
    loop {
        let wave: Vec<&str> = left
            .iter()
            .copied()
            .filter(|module| missing(module, &done).is_empty())
            .collect();
        if wave.is_empty() {
            break;
        }
        left.retain(|module| !wave.contains(module));
        done.extend(&wave);
        waves.push(wave);
    }
    let blocked = left
        .iter()
        .map(|module| Blocked {
            module,
            waits_for: missing(module, &done),
        })
        .collect();
    (waves, blocked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order() {
        let depends = BTreeMap::from([
            ("a", vec![]),
            ("b", vec!["a", "there"]),
            ("c", vec!["b"]),
            ("d", vec!["nowhere"]),
            ("e", vec!["f"]),
            ("f", vec!["e"]),
            ("g", vec!["g"]),
        ]);
        let (waves, blocked) = waves(&depends, &BTreeSet::from(["there"]));
        assert_eq!(waves, [vec!["a", "g"], vec!["b"], vec!["c"]]);
        let blocked: Vec<_> = blocked.iter().map(|b| (b.module, b.waits_for.clone())).collect();
        assert_eq!(blocked, [("d", vec!["nowhere"]), ("e", vec!["f"]), ("f", vec!["e"])]);
    }
}
