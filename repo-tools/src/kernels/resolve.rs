//! Which packages are needed: the dependencies of a few, and theirs. No package is left out for a conflict with another one, and nothing that is
//! only recommended is taken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use deb822_fast::Paragraph;

use super::relation::{Alternative, compare, relations};
use crate::import::{self, Offered};

/// The kernel itself, which the headers of some releases want to be installed with: nothing is compiled with it.
const LEFT_OUT: &str = "linux-image-";

/// A package of an index.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) file: Offered,
    depends: String,
    provides: String,
    is_essential: bool,
    /// The less the more systems have it.
    rank: u8,
}

impl Entry {
    /// Reads the fields of one.
    pub(super) fn of(fields: &Paragraph) -> Result<Self, String> {
        let field = |name: &str| fields.get(name).unwrap_or_default().replace('\n', " ");
        Ok(Self {
            file: import::offered(fields)?,
            depends: format!("{}, {}", field("Pre-Depends"), field("Depends")),
            provides: field("Provides"),
            is_essential: field("Essential").trim() == "yes",
            rank: match field("Priority").trim() {
                "required" => 0,
                "important" => 1,
                "standard" => 2,
                _ => 3,
            },
        })
    }

    /// The package that it needs whose name begins so.
    pub(super) fn depends_on(&self, prefix: &str) -> Option<&str> {
        let mut names = relations(&self.depends).flatten().map(|one| one.name);
        names.find(|name| name.starts_with(prefix))
    }

    fn satisfies(&self, wanted: &Alternative<'_>) -> bool {
        (self.file.package == wanted.name && wanted.allows(&self.file.version)) || self.provides(wanted)
    }

    fn provides(&self, wanted: &Alternative<'_>) -> bool {
        // A bound is only met by a name that is provided with a version.
        let is_met = |provided: &Alternative<'_>| match provided.bound {
            _ if provided.name != wanted.name => false,
            Some((_, version)) => wanted.allows(version),
            None => wanted.bound.is_none(),
        };
        relations(&self.provides).flatten().any(|provided| is_met(&provided))
    }
}

/// What a package needs and the indexes do not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) package: String,
    pub(super) needed_by: String,
}

/// The packages of some suites, by name.
#[derive(Debug)]
pub(super) struct Index<'a> {
    /// The suite that others build on first, and in each the newest version first.
    by_name: BTreeMap<&'a str, Vec<&'a Entry>>,
    providers: BTreeMap<&'a str, Vec<&'a Entry>>,
}

impl<'a> Index<'a> {
    /// Those of `layers`: a suite comes after the one that it builds on.
    pub(super) fn of(layers: &[&'a [Entry]]) -> Self {
        let (mut by_name, mut providers) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for layer in layers {
            let mut newest: Vec<&Entry> = layer.iter().collect();
            newest.sort_by(|a, b| compare(&b.file.version, &a.file.version));
            for entry in newest {
                by_name.entry(entry.file.package.as_str()).or_default().push(entry);
                for provided in relations(&entry.provides).flatten() {
                    providers.entry(provided.name).or_default().push(entry);
                }
            }
        }
        for entries in providers.values_mut() {
            entries.sort_by_key(|entry| (entry.rank, entry.file.package.as_str()));
        }
        Self { by_name, providers }
    }

    fn pick(&self, wanted: &Alternative<'_>) -> Option<&'a Entry> {
        let real = self.by_name.get(wanted.name).into_iter().flatten();
        let provided = self.providers.get(wanted.name).into_iter().flatten();
        real.chain(provided).copied().find(|entry| entry.satisfies(wanted))
    }

    /// `first`, all essential packages, those called `names`, and what these need; by name.
    pub(super) fn closure(&self, first: &'a Entry, names: &[&'a str]) -> Result<Vec<&'a Entry>, Missing> {
        let mut chosen: BTreeMap<&str, &'a Entry> = BTreeMap::new();
        // A version that was replaced by another one does not come again.
        let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
        let essential = self.by_name.iter().filter(|(_, all)| all[0].is_essential);
        let asked = essential.map(|(name, _)| *name).chain(names.iter().copied());
        let mut open: VecDeque<(Vec<Alternative<'a>>, &'a str)> = asked
            .map(|name| (vec![Alternative { name, bound: None }], "a build"))
            .collect();
        chosen.insert(&first.file.package, first);
        open.extend(relations(&first.depends).map(|all| (all, first.file.package.as_str())));
        while let Some((alternatives, needed_by)) = open.pop_front() {
            let is_there = |one: &Alternative<'_>| {
                one.name.starts_with(LEFT_OUT)
                    || chosen.get(one.name).is_some_and(|entry| entry.satisfies(one))
                    || self.providers.get(one.name).into_iter().flatten().any(|entry| {
                        let of_name = chosen.get(entry.file.package.as_str());
                        of_name.is_some_and(|chosen| chosen.provides(one))
                    })
            };
            if alternatives.iter().any(is_there) {
                continue;
            }
            let found = alternatives.iter().find_map(|one| self.pick(one));
            let found = found.filter(|entry| seen.insert((&entry.file.package, &entry.file.version)));
            let Some(entry) = found else {
                return Err(Missing {
                    package: alternatives.iter().map(written).collect::<Vec<_>>().join(" or "),
                    needed_by: needed_by.to_owned(),
                });
            };
            chosen.insert(&entry.file.package, entry);
            open.extend(relations(&entry.depends).map(|all| (all, entry.file.package.as_str())));
        }
        Ok(chosen.into_values().collect())
    }
}

/// The newest of one name.
pub(super) fn newest<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    let named = entries.iter().filter(|entry| entry.file.package == name);
    named.max_by(|a, b| compare(&a.file.version, &b.file.version))
}

fn written(one: &Alternative<'_>) -> String {
    match one.bound {
        Some((operator, version)) => format!("{} ({operator} {version})", one.name),
        None => one.name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<Entry> {
        let all = text.split('\n').filter(|line| !line.trim().is_empty());
        all.map(|line| {
            let (name, fields) = line.trim().split_once(' ').unwrap();
            let (version, fields) = fields.split_once(' ').unwrap_or((fields, ""));
            let fields = fields.replace("; ", "\n");
            let text = format!(
                "Package: {name}\nVersion: {version}\n{fields}\nFilename: {name}_{version}.deb\nSize: 1\nSHA256: 00\n"
            )
            .replace("\n\n", "\n");
            Entry::of(&import::paragraph(&text).unwrap()).unwrap()
        })
        .collect()
    }

    fn closure(layers: &[&str], names: &[&str]) -> Result<Vec<String>, Missing> {
        let layers: Vec<Vec<Entry>> = layers.iter().map(|text| entries(text)).collect();
        let all: Vec<&[Entry]> = layers.iter().map(Vec::as_slice).collect();
        let first = newest(all[all.len() - 1], "h").expect("headers");
        let chosen = Index::of(&all).closure(first, names)?;
        Ok(chosen
            .iter()
            .map(|entry| format!("{} {}", entry.file.package, entry.file.version))
            .collect())
    }

    #[test]
    fn dependencies_are_followed() {
        let check = |layers: &[&str], names: &[&str], expected: &[&str]| {
            assert_eq!(closure(layers, names).unwrap(), expected, "{layers:?}");
        };
        // Each once, the newest version, the first alternative that there is, also in circles.
        check(
            &[
                "h 1 Depends: a (>= 1), none | b\na 1 Depends: h\na 2 Pre-Depends: c\na 10~rc1\nb 1\nc 1 Depends: a\nd 1",
            ],
            &[],
            &["a 10~rc1", "b 1", "h 1"],
        );
        // What every system has, what is asked for, and a name that is provided: by what systems have rather than others.
        check(
            &[
                "h 1\ne 1 Essential: yes; Pre-Depends: awk\ngawk 1 Provides: awk; Priority: optional\nmawk 1 Provides: awk; Priority: required\nmake 1",
            ],
            &["make"],
            &["e 1", "h 1", "make 1", "mawk 1"],
        );
        // Of a suite that builds on another one only what the other does not have.
        check(
            &["h 1\nc 1\nk 1", "h 2 Depends: c, k (= 2)\nc 2\nk 2"],
            &[],
            &["c 1", "h 2", "k 2"],
        );
        // A version that another package needs replaces the one that was taken first.
        check(
            &["h 1\nc 1\nx 1", "h 2 Depends: c, x\nc 2\nx 2 Depends: c (>= 2)"],
            &[],
            &["c 1", "h 2", "x 1"],
        );
        check(
            &["h 1\nc 1", "h 2 Depends: c, x\nc 2\nx 2 Depends: c (>= 2)"],
            &[],
            &["c 2", "h 2", "x 2"],
        );
        // The kernel itself is not needed.
        check(
            &["h 1 Depends: linux-image-6 (= 1) | linux-image-6-unsigned (= 1), a\na 1"],
            &[],
            &["a 1", "h 1"],
        );
        // With a version, a name has to be provided with one.
        check(
            &["h 1 Depends: v (>= 2)\na 1 Provides: v\nb 1 Provides: v (= 1)\nc 1 Provides: v (= 2)"],
            &[],
            &["c 1", "h 1"],
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |text: &str, package: &str, needed_by: &str| {
            let missing = Missing {
                package: package.to_owned(),
                needed_by: needed_by.to_owned(),
            };
            assert_eq!(closure(&[text], &["make"]), Err(missing), "{text}");
        };
        check("h 1", "make", "a build");
        check("h 1 Depends: k (= 2)\nk 1\nmake 1", "k (= 2)", "h");
        check("h 1 Depends: a | b (<< 1)\nb 1\nmake 1", "a or b (<< 1)", "h");
        // Two that need different versions of one package.
        check(
            "h 1 Depends: k (= 1), a\na 1 Depends: k (= 2)\nb 1\nk 1\nk 2\nmake 1 Depends: k (= 1), b (= 2)",
            "b (= 2)",
            "make",
        );
    }

    #[test]
    fn versions_that_exclude_each_other_end() {
        let text = "h 1 Depends: k (= 1), a\na 1 Depends: k (= 2), b\nb 1 Depends: k (= 1)\nk 1\nk 2";
        let missing = closure(&[text], &[]).unwrap_err();
        assert_eq!((missing.package.as_str(), missing.needed_by.as_str()), ("k (= 1)", "b"));
    }

    #[test]
    fn the_newest_of_a_name() {
        let all = entries("h 9\nh 1:1\nh 10\nx 11");
        assert_eq!(newest(&all, "h").unwrap().file.version, "1:1");
        assert!(newest(&all, "y").is_none());
    }
}
