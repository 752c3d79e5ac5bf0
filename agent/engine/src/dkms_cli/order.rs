//! In which order packages are built: each after those it depends on.

use std::collections::BTreeSet;

use crate::package::DkmsId;

/// A package to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) package: DkmsId,
    /// BUILD_DEPENDS: names of packages.
    pub(super) depends: Vec<String>,
}

/// The packages that can be built, in order, and those that cannot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// The packages of one wave may be built in parallel, after all earlier waves.
    pub(super) waves: Vec<Vec<DkmsId>>,
    /// Packages that wait for others which dkms does not know (yet): no failure, the next run finds them.
    pub(super) deferred: Vec<(DkmsId, Vec<String>)>,
    /// Packages that need others which are known but will not be installed, or which need each other.
    pub(super) impossible: Vec<(DkmsId, Vec<String>)>,
}

/// Puts `wanted` in order. `installed` and `known` answer by a package's name.
pub(super) fn order(wanted: &[Wanted], installed: impl Fn(&str) -> bool, known: impl Fn(&str) -> bool) -> Order {
    let mut order = Order::default();
    let mut waiting: Vec<&Wanted> = wanted.iter().collect();
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    loop {
        let is_there = |name: &String| installed(name) || placed.contains(name.as_str());
        let (ready, rest): (Vec<&Wanted>, Vec<&Wanted>) = waiting
            .into_iter()
            .partition(|wanted| wanted.depends.iter().all(is_there));
        waiting = rest;
        if ready.is_empty() {
            break;
        }
        placed.extend(ready.iter().map(|wanted| wanted.package.module.as_str()));
        order
            .waves
            .push(ready.iter().map(|wanted| wanted.package.clone()).collect());
    }
    let missing = |wanted: &Wanted| -> Vec<String> {
        let is_missing = |name: &&String| !installed(name) && !placed.contains(name.as_str());
        wanted.depends.iter().filter(is_missing).cloned().collect()
    };
    // What waits for a deferred package is deferred too.
    let mut absent: BTreeSet<&str> = BTreeSet::new();
    loop {
        let unknown = |name: &String| !known(name) || absent.contains(name.as_str());
        let (deferred, rest): (Vec<&Wanted>, Vec<&Wanted>) = waiting
            .into_iter()
            .partition(|wanted| missing(wanted).iter().any(unknown));
        waiting = rest;
        if deferred.is_empty() {
            break;
        }
        absent.extend(deferred.iter().map(|wanted| wanted.package.module.as_str()));
        order
            .deferred
            .extend(deferred.iter().map(|wanted| (wanted.package.clone(), missing(wanted))));
    }
    order.impossible = waiting
        .into_iter()
        .map(|wanted| (wanted.package.clone(), missing(wanted)))
        .collect();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> DkmsId {
        DkmsId {
            module: name.to_owned(),
            version: "1".to_owned(),
        }
    }

    /// `wanted` as `a b:a c:a,b`; names in capitals are installed, `x…` are unknown. The answer as `a|b|c deferred impossible`.
    fn check(wanted: &str, waves: &str, deferred: &str, impossible: &str) {
        let wanted: Vec<Wanted> = wanted
            .split(' ')
            .map(|text| {
                let (name, depends) = text.split_once(':').unwrap_or((text, ""));
                let depends = depends
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect();
                Wanted {
                    package: id(name),
                    depends,
                }
            })
            .collect();
        let found = order(
            &wanted,
            |name| name.chars().all(char::is_uppercase),
            |name| !name.starts_with('x'),
        );
        let names = |packages: &[DkmsId]| packages.iter().map(|p| p.module.clone()).collect::<Vec<_>>().join(",");
        let pairs = |pairs: &[(DkmsId, Vec<String>)]| {
            let text = pairs
                .iter()
                .map(|(package, missing)| format!("{}:{}", package.module, missing.join("+")));
            text.collect::<Vec<_>>().join(",")
        };
        let shown = found.waves.iter().map(|wave| names(wave)).collect::<Vec<_>>().join("|");
        assert_eq!(
            (shown.as_str(), &*pairs(&found.deferred), &*pairs(&found.impossible)),
            (waves, deferred, impossible)
        );
    }

    #[test]
    fn dependencies_come_first() {
        check("a b c", "a,b,c", "", "");
        check("c:b b:a a", "a|b|c", "", "");
        check("a:B b", "a,b", "", "");
        check("a:xy b", "b", "a:xy", "");
        check("a:xy b:a c", "c", "a:xy,b:a", "");
        check("a:known b", "b", "", "a:known");
        check("a:b b:a c", "c", "", "a:b,b:a");
        check("a:a", "", "", "a:a");
        check("d:b,c b:a c:a a", "a|b,c|d", "", "");
    }
}
