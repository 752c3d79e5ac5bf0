//! How two machines that did the same differ, and the document that says why.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Fact, Machine, Outcome, Snapshot};
use crate::inputs;

/// What follows the path of a file that both have in the column of ours.
const OTHER_CONTENT: &str = ", other content";

/// One thing that the two programs did differently.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The scenario's name.
    pub scenario: String,
    /// The words of the call.
    pub step: String,
    /// What Debian's did.
    pub debian: String,
    /// What ours did.
    pub ours: String,
}

impl Difference {
    /// True when it is about a file, which stays so for the steps that follow.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        let places = ["dkms/", "src/", "modules/"];
        places
            .iter()
            .any(|place| self.debian.starts_with(place) || self.ours.starts_with(place))
    }

    /// The path of a file that both have, with other content.
    #[must_use]
    pub fn of_content(&self) -> Option<&str> {
        self.ours.strip_suffix(OTHER_CONTENT)
    }

    /// As a row of the document, without the reason.
    #[must_use]
    pub fn row(&self) -> String {
        let cell = |text: &str| {
            if text.is_empty() {
                "—".to_owned()
            } else {
                format!("`{}`", text.replace('|', "\\|"))
            }
        };
        format!(
            "| {} | `{}` | {} | {} |",
            self.scenario,
            self.step,
            cell(&self.debian),
            cell(&self.ours)
        )
    }
}

/// docs/dkms-compat.md, read.
#[derive(Debug, Default)]
pub struct Documented {
    /// Paths that one of the two has and the other has not, everywhere: patterns for the whole path.
    pub paths: Vec<glob::Pattern>,
    /// The rows about behaviour.
    pub behaviour: BTreeSet<Difference>,
    /// How upstream's 3.2 differs from ours: the rows in which it does as Debian's 3.0.10, and those about it alone.
    pub upstream: BTreeSet<Difference>,
}

impl Documented {
    /// Reads the tables of the document.
    ///
    /// # Panics
    /// When the document is missing, or a row gives no reason.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut documented = Self::default();
        for line in text.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
            let cells: Vec<String> = line.trim_matches('|').split(" | ").map(cell).collect();
            assert!(
                cells.last().is_some_and(|why| why.len() > 10),
                "{}: no reason: {line}",
                path.display()
            );
            match cells.as_slice() {
                [pattern, _whose, _why] => {
                    documented
                        .paths
                        .push(glob::Pattern::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")));
                }
                [scenario, step, debian, upstream, ours, _why] => {
                    assert!(
                        ["as ours", "as Debian's", "otherwise"].contains(&upstream.as_str()),
                        "{}: nothing is said of upstream: {line}",
                        path.display()
                    );
                    let difference = difference([scenario, step, debian, ours]);
                    if upstream == "as Debian's" {
                        documented.upstream.insert(difference.clone());
                    }
                    documented.behaviour.insert(difference);
                }
                [scenario, step, upstream, ours, _why] => {
                    documented.upstream.insert(difference([scenario, step, upstream, ours]));
                }
                _ => panic!("{}: not a row of any table: {line}", path.display()),
            }
        }
        documented
    }

    /// The document of this workspace.
    #[must_use]
    pub fn of_workspace() -> Self {
        Self::read(&inputs::workspace().join("docs/dkms-compat.md"))
    }

    /// What was found and is not here, and what is here of the stories that `is_played` names and was not found. Empty when
    /// the document is right.
    #[must_use]
    pub fn disagreements(&self, found: &BTreeSet<Difference>, is_played: impl Fn(&str) -> bool) -> String {
        disagreements(&self.behaviour, found, is_played)
    }

    /// [`Documented::disagreements`] about upstream's 3.2.
    #[must_use]
    pub fn upstream_disagreements(&self, found: &BTreeSet<Difference>, is_played: impl Fn(&str) -> bool) -> String {
        disagreements(&self.upstream, found, is_played)
    }

    fn explains_path(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| pattern.matches(path))
    }
}

fn disagreements(
    rows: &BTreeSet<Difference>,
    found: &BTreeSet<Difference>,
    is_played: impl Fn(&str) -> bool,
) -> String {
    let listed = rows.iter().filter(|row| is_played(&row.scenario));
    let listed: BTreeSet<Difference> = listed.cloned().collect();
    let only = |head: &str, some: &BTreeSet<Difference>, others: &BTreeSet<Difference>| -> String {
        let rows = some.difference(others).map(|row| format!("{head}: {}\n", row.row()));
        rows.collect()
    };
    only("not in docs/dkms-compat.md", found, &listed) + &only("in docs/dkms-compat.md, but not so", &listed, found)
}

/// A row: the story, the call, what the other program did, what ours did.
fn difference(cells: [&String; 4]) -> Difference {
    let [scenario, step, debian, ours] = cells.map(Clone::clone);
    Difference {
        scenario,
        step,
        debian,
        ours,
    }
}

fn cell(text: &str) -> String {
    let text = text.trim();
    if text == "—" {
        String::new()
    } else {
        text.trim_matches('`').replace("\\|", "|")
    }
}

/// What is different after both machines have run `step`: the exit code, what `status` prints, what lies on disk.
#[must_use]
pub fn compare(
    scenario: &str,
    step: &str,
    [debian, ours]: [(&Machine, &Outcome); 2],
    known: &Documented,
) -> Vec<Difference> {
    let mut pairs = vec![(format!("exit {}", debian.1.code), format!("exit {}", ours.1.code))];
    if step.starts_with("status") {
        let mut lines = [sorted_lines(&debian.1.stdout), sorted_lines(&ours.1.stdout)];
        let common: BTreeSet<String> = lines[0].intersection(&lines[1]).cloned().collect();
        lines
            .iter_mut()
            .for_each(|lines| lines.retain(|line| !common.contains(line)));
        if lines.iter().all(BTreeSet::is_empty) && debian.1.stdout != ours.1.stdout {
            lines = [&debian.1.stdout, &ours.1.stdout]
                .map(|text| BTreeSet::from([format!("in this order: {}", text.trim().replace('\n', " / "))]));
        }
        pairs.push(
            lines
                .map(|lines| lines.into_iter().collect::<Vec<_>>().join(" / "))
                .into(),
        );
    }
    pairs.extend(on_disk(&debian.0.snapshot(), &ours.0.snapshot(), known));
    let different = pairs.into_iter().filter(|(debian, ours)| debian != ours);
    let difference = |(debian, ours)| Difference {
        scenario: scenario.to_owned(),
        step: step.to_owned(),
        debian,
        ours,
    };
    different.map(difference).collect()
}

/// The paths that differ and are not explained; of a directory that only one has, not what is in it.
fn on_disk(debian: &Snapshot, ours: &Snapshot, known: &Documented) -> Vec<(String, String)> {
    let (theirs, mine) = (&debian.0, &ours.0);
    let paths: BTreeSet<&String> = theirs.keys().chain(mine.keys()).collect();
    let mut pairs = Vec::new();
    let mut covered: Option<&str> = None;
    for path in paths.into_iter().filter(|path| !known.explains_path(path)) {
        if covered.is_some_and(|dir| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))) {
            continue;
        }
        pairs.push(match (theirs.get(path), mine.get(path)) {
            (Some(debian), Some(ours)) if debian == ours => continue,
            (Some(Fact::Link(debian)), Some(Fact::Link(ours))) => {
                (format!("{path} -> {debian}"), format!("{path} -> {ours}"))
            }
            (Some(_), Some(_)) => (path.clone(), format!("{path}{OTHER_CONTENT}")),
            (debian, _) => {
                covered = Some(path);
                if debian.is_some() {
                    (path.clone(), String::new())
                } else {
                    (String::new(), path.clone())
                }
            }
        });
    }
    pairs
}

fn sorted_lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}
