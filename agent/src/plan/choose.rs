//! Which package serves which device, decided for the whole machine at once.
//!
//! A package may rule out another, so the best for one device can cost a second device its only driver. The choice that
//! serves most devices wins; among those, the one whose packages rank best. The search is exact for the handful of
//! packages that conflict on a real machine. On a hostile index it stops after a bounded number of steps with the best answer so far.

use std::collections::BTreeMap;

/// How many partial choices are looked at before the best one so far is taken.
const STEPS_MAX: u32 = 50_000;

/// The input of the choice: which packages may serve which devices. Packages are numbers.
pub(super) struct Assignment<'a> {
    /// For each device the packages that can serve it, best first.
    pub(super) preferences: &'a [Vec<usize>],
    /// For each package all that is installed with it: what must be built before it, and itself.
    pub(super) with_dependencies: &'a [Vec<usize>],
    /// Whether two packages may not be installed together.
    pub(super) conflict: &'a dyn Fn(usize, usize) -> bool,
}

/// Devices with equal preferences get the same package.
struct Group<'a> {
    preferences: &'a [usize],
    devices: Vec<usize>,
}

impl Assignment<'_> {
    /// The package of each device, as an index into its preferences; `None` where none could be had.
    pub(super) fn solve(&self) -> Vec<Option<usize>> {
        let mut chosen = vec![None; self.preferences.len()];
        for component in self.components() {
            let picks = Search::new(self, &component).run();
            for (group, pick) in component.iter().zip(picks) {
                for &device in &group.devices {
                    chosen[device] = pick;
                }
            }
        }
        chosen
    }

    /// Groups that can influence each other, each set decided by itself.
    fn components(&self) -> Vec<Vec<Group<'_>>> {
        let mut by_preferences: BTreeMap<&[usize], Vec<usize>> = BTreeMap::new();
        for (device, preferences) in self.preferences.iter().enumerate() {
            if !preferences.is_empty() {
                by_preferences.entry(preferences).or_default().push(device);
            }
        }
        let mut components: Vec<Vec<Group<'_>>> = Vec::new();
        for (preferences, devices) in by_preferences {
            let mut merged = vec![Group { preferences, devices }];
            let (touching, apart) = components.into_iter().partition(|c: &Vec<Group<'_>>| {
                c.iter()
                    .any(|other| self.depend_on_each_other(preferences, other.preferences))
            });
            components = apart;
            let touching: Vec<Vec<Group<'_>>> = touching;
            merged.extend(touching.into_iter().flatten());
            merged.sort_by_key(|group| group.devices[0]);
            components.push(merged);
        }
        components
    }

    fn depend_on_each_other(&self, one: &[usize], other: &[usize]) -> bool {
        one.iter().any(|&a| {
            other
                .iter()
                .any(|&b| a != b && self.any_conflict(&self.with_dependencies[a], &self.with_dependencies[b]))
        })
    }

    fn any_conflict(&self, ours: &[usize], theirs: &[usize]) -> bool {
        ours.iter()
            .any(|&a| theirs.iter().any(|&b| a != b && (self.conflict)(a, b)))
    }
}

/// A depth-first search that tries the best package first, so that the first complete answer is the greedy one.
struct Search<'a> {
    assignment: &'a Assignment<'a>,
    groups: &'a [Group<'a>],
    accepted: Vec<usize>,
    picks: Vec<Option<usize>>,
    best: Option<(Score, Vec<Option<usize>>)>,
    steps: u32,
}

/// Devices without a package, then the sum of the ranks of the packages chosen. Lower is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    unserved: usize,
    ranks: usize,
}

impl<'a> Search<'a> {
    fn new(assignment: &'a Assignment<'a>, groups: &'a [Group<'a>]) -> Self {
        Self {
            assignment,
            groups,
            accepted: Vec::new(),
            picks: Vec::new(),
            best: None,
            steps: 0,
        }
    }

    fn run(mut self) -> Vec<Option<usize>> {
        self.descend(Score { unserved: 0, ranks: 0 });
        self.best
            .map_or_else(|| vec![None; self.groups.len()], |(_, picks)| picks)
    }

    fn descend(&mut self, score: Score) {
        self.steps += 1;
        if self.steps > STEPS_MAX || self.best.as_ref().is_some_and(|(best, _)| score >= *best) {
            return;
        }
        let Some(group) = self.groups.get(self.picks.len()) else {
            self.best = Some((score, self.picks.clone()));
            return;
        };
        let weight = group.devices.len();
        for (rank, &package) in group.preferences.iter().enumerate() {
            let with_dependencies = &self.assignment.with_dependencies[package];
            if self.assignment.any_conflict(with_dependencies, &self.accepted)
                || self.assignment.any_conflict(with_dependencies, with_dependencies)
            {
                continue;
            }
            let before = self.accepted.len();
            self.accepted.extend(with_dependencies);
            self.picks.push(Some(rank));
            self.descend(Score {
                ranks: score.ranks + rank * weight,
                ..score
            });
            self.picks.pop();
            self.accepted.truncate(before);
        }
        self.picks.push(None);
        self.descend(Score {
            unserved: score.unserved + weight,
            ..score
        });
        self.picks.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        preferences: &[&[usize]],
        with_dependencies: &[&[usize]],
        conflicts: &[(usize, usize)],
        expected: &[Option<usize>],
    ) {
        let preferences: Vec<Vec<usize>> = preferences.iter().map(|w| w.to_vec()).collect();
        let with_dependencies: Vec<Vec<usize>> = with_dependencies.iter().map(|b| b.to_vec()).collect();
        let conflict = |a, b| conflicts.contains(&(a, b)) || conflicts.contains(&(b, a));
        let assignment = Assignment {
            preferences: &preferences,
            with_dependencies: &with_dependencies,
            conflict: &conflict,
        };
        assert_eq!(
            assignment.solve(),
            expected,
            "{preferences:?} {with_dependencies:?} {conflicts:?}"
        );
    }

    #[test]
    fn most_devices_then_best_ranks() {
        let alone: &[&[usize]] = &[&[0], &[1], &[2], &[3]];
        check(&[], alone, &[], &[]);
        check(&[&[]], alone, &[], &[None]);
        check(&[&[0, 1]], alone, &[], &[Some(0)]);
        // Identical devices get the same package, and one package may serve several devices.
        check(&[&[0, 1], &[0, 1], &[0]], alone, &[], &[Some(0), Some(0), Some(0)]);
        // The best package for the first device conflicts with the only one for the second.
        check(&[&[0, 1], &[2]], alone, &[(0, 2)], &[Some(1), Some(0)]);
        // With no way to serve both, the earlier device keeps its own.
        check(&[&[0], &[2]], alone, &[(0, 2)], &[Some(0), None]);
        // Three devices count more than one.
        check(
            &[&[0], &[1], &[1], &[1]],
            alone,
            &[(0, 1)],
            &[None, Some(0), Some(0), Some(0)],
        );
        // A chain of conflicts: the package in the middle is not chosen.
        check(&[&[0], &[1], &[2]], alone, &[(0, 1), (1, 2)], &[Some(0), None, Some(0)]);
    }

    #[test]
    fn what_a_package_needs_counts_too() {
        let with_dependencies: &[&[usize]] = &[&[0, 3], &[1], &[2], &[3]];
        // 0 needs 3, and 3 conflicts with 2.
        check(&[&[0, 1], &[2]], with_dependencies, &[(3, 2)], &[Some(1), Some(0)]);
        // A package that conflicts with its own build dependency is never chosen.
        check(&[&[0, 1]], with_dependencies, &[(0, 3)], &[Some(1)]);
    }

    #[test]
    fn a_hostile_index_ends_in_time() {
        let packages = 200;
        let preferences: Vec<Vec<usize>> = (0..60)
            .map(|d| (0..packages).map(|p| (p + d) % packages).collect())
            .collect();
        let with_dependencies: Vec<Vec<usize>> = (0..packages).map(|p| vec![p]).collect();
        let conflict = |_: usize, _: usize| true;
        let chosen = Assignment {
            preferences: &preferences,
            with_dependencies: &with_dependencies,
            conflict: &conflict,
        }
        .solve();
        assert!(
            chosen.iter().all(Option::is_some),
            "one package serves them all: {chosen:?}"
        );
    }
}
