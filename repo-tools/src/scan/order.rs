//! In which order trial builds are made: packages that share a name take turns, and each comes after those it depends on.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use dkms_index::version;

/// A staged package as far as the order is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'a> {
    /// `PACKAGE_NAME`.
    pub name: &'a str,
    /// The version in the DKMS tree.
    pub dkms_version: &'a str,
    /// `BUILD_DEPENDS`: names.
    pub depends: &'a [String],
}

/// A package and the kernels to build it for, both by index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    /// Which package.
    pub package: usize,
    /// All kernels to build it for.
    pub kernels: BTreeSet<usize>,
    /// Those whose outcome was asked for; the others are built for packages that depend on it.
    pub asked: BTreeSet<usize>,
}

/// What is built in one tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The jobs of one wave may be built in parallel, after all earlier waves.
    pub waves: Vec<Vec<Job>>,
    /// Packages that cannot be built with what is staged: why, and the kernels that were asked for.
    pub blocked: Vec<(usize, BTreeSet<usize>, Blocked)>,
}

/// Why a package cannot be built with what is staged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// What it depends on is not there.
    #[error("it needs {0}, which is not staged")]
    NotStaged(String),
    /// Packages that wait for each other, or for one that is blocked.
    #[error("it needs {0}, which cannot be built before it")]
    Waits(String),
    /// What it depends on did not build.
    #[error("it needs {0}, which does not build on this kernel")]
    Unbuilt(String),
}

/// Puts what is `asked` (packages and kernels by index) in order.
///
/// A tree holds each name and version once, so that packages which share both come in different batches. What a package
/// depends on is built in the same batch for the same kernels, asked for or not: the newest staged version of that name.
pub fn plan(staged: &[Needs<'_>], asked: &[(usize, Vec<usize>)]) -> Vec<Batch> {
    batches(staged, asked)
        .into_iter()
        .map(|jobs| waves(staged, with_dependencies(staged, jobs)))
        .collect()
}

type Jobs = BTreeMap<usize, Job>;

fn batches(staged: &[Needs<'_>], asked: &[(usize, Vec<usize>)]) -> Vec<Jobs> {
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut batches: Vec<Jobs> = Vec::new();
    for (package, kernels) in asked {
        let needs = &staged[*package];
        let batch = seen.entry((needs.name, needs.dkms_version)).or_default();
        if batches.len() == *batch {
            batches.push(Jobs::new());
        }
        let kernels: BTreeSet<usize> = kernels.iter().copied().collect();
        let job = Job {
            package: *package,
            asked: kernels.clone(),
            kernels,
        };
        batches[*batch].insert(*package, job);
        *batch += 1;
    }
    batches
}

/// Adds what the jobs depend on, for the kernels of those that need it, until nothing is missing.
fn with_dependencies(staged: &[Needs<'_>], mut jobs: Jobs) -> Jobs {
    loop {
        let mut added = false;
        let wanted: Vec<(String, BTreeSet<usize>)> = jobs
            .values()
            .flat_map(|job| {
                staged[job.package]
                    .depends
                    .iter()
                    .map(|name| (name.clone(), job.kernels.clone()))
            })
            .collect();
        for (name, kernels) in wanted {
            let Some(package) = provider(staged, &jobs, &name) else {
                continue;
            };
            let job = jobs.entry(package).or_insert_with(|| Job {
                package,
                ..Job::default()
            });
            let before = job.kernels.len();
            job.kernels.extend(kernels);
            added |= job.kernels.len() > before;
        }
        if !added {
            return jobs;
        }
    }
}

/// The package that stands for a name in this batch: the newest that is in it already, else the newest staged.
fn provider(staged: &[Needs<'_>], jobs: &Jobs, name: &str) -> Option<usize> {
    let newest = |candidates: &mut dyn Iterator<Item = usize>| {
        candidates
            .filter(|index| staged[*index].name == name)
            .max_by(|a, b| version::compare(staged[*a].dkms_version, staged[*b].dkms_version))
    };
    newest(&mut jobs.keys().copied()).or_else(|| newest(&mut (0..staged.len())))
}

fn waves(staged: &[Needs<'_>], jobs: Jobs) -> Batch {
    let mut batch = Batch::default();
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    let mut waiting: Vec<Job> = jobs.into_values().collect();
    while !waiting.is_empty() {
        let names: BTreeSet<&str> = waiting.iter().map(|job| staged[job.package].name).collect();
        // All versions of a name come before the packages that need it, unless one of them can never be built.
        let all_there = |name: &String| placed.contains(name.as_str()) && !names.contains(name.as_str());
        let one_there = |name: &String| placed.contains(name.as_str());
        let is_ready = |job: &Job, there: &dyn Fn(&String) -> bool| staged[job.package].depends.iter().all(there);
        let there: &dyn Fn(&String) -> bool = if waiting.iter().any(|job| is_ready(job, &all_there)) {
            &all_there
        } else {
            &one_there
        };
        let (ready, rest): (Vec<Job>, Vec<Job>) = waiting.into_iter().partition(|job| is_ready(job, there));
        waiting = rest;
        if ready.is_empty() {
            break;
        }
        placed.extend(ready.iter().map(|job| staged[job.package].name));
        batch.waves.push(ready);
    }
    for job in waiting.into_iter().filter(|job| !job.asked.is_empty()) {
        let missing = |name: &&String| !placed.contains(name.as_str());
        let depends = &staged[job.package].depends;
        let absent = |name: &&String| !staged.iter().any(|other| other.name == name.as_str());
        let why = match depends.iter().find(absent) {
            Some(name) => Blocked::NotStaged(name.clone()),
            None => Blocked::Waits(depends.iter().find(missing).cloned().unwrap_or_default()),
        };
        batch.blocked.push((job.package, job.asked, why));
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `staged` as `name/version:dep,dep …`, asked as `index:kernel,kernel …`. The plan as waves of `index:kernels`, built
    /// for others only in brackets; batches apart by `|`, blocked ones behind `!`.
    fn check(staged: &str, asked: &str, expected: &str) {
        let owned: Vec<(String, String, Vec<String>)> = staged
            .split(' ')
            .map(|text| {
                let (package, depends) = text.split_once(':').unwrap_or((text, ""));
                let (name, version) = package.split_once('/').unwrap_or((package, "1"));
                let depends = depends.split(',').filter(|d| !d.is_empty()).map(str::to_owned);
                (name.to_owned(), version.to_owned(), depends.collect())
            })
            .collect();
        let staged: Vec<Needs<'_>> = owned
            .iter()
            .map(|(name, dkms_version, depends)| Needs {
                name,
                dkms_version,
                depends,
            })
            .collect();
        let number = |text: &str| text.parse::<usize>().unwrap();
        let asked: Vec<(usize, Vec<usize>)> = asked
            .split(' ')
            .map(|text| {
                let (package, kernels) = text.split_once(':').unwrap();
                (number(package), kernels.split(',').map(number).collect())
            })
            .collect();
        let list = |kernels: &BTreeSet<usize>| kernels.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let shown: Vec<String> = plan(&staged, &asked)
            .iter()
            .map(|batch| {
                let wave = |wave: &Vec<Job>| {
                    let job = |job: &Job| {
                        let others: BTreeSet<usize> = job.kernels.difference(&job.asked).copied().collect();
                        match others.is_empty() {
                            true => format!("{}:{}", job.package, list(&job.asked)),
                            false => format!("{}:{}[{}]", job.package, list(&job.asked), list(&others)),
                        }
                    };
                    wave.iter().map(job).collect::<Vec<_>>().join(" ")
                };
                let mut text = batch.waves.iter().map(wave).collect::<Vec<_>>().join(" > ");
                for (package, kernels, why) in &batch.blocked {
                    text.push_str(&format!(" !{package}:{} {why}", list(kernels)));
                }
                text
            })
            .collect();
        assert_eq!(shown.join(" | "), expected);
    }

    #[test]
    fn what_a_package_needs_is_built_before_it() {
        check("a b", "0:0,1 1:1", "0:0,1 1:1");
        // A tree holds a name and version once.
        check("a a", "0:0 1:0", "0:0 | 1:0");
        check("a/1 a/2", "0:0 1:0", "0:0 1:0");
        check("a b:a c:b", "0:0 1:0 2:0", "0:0 > 1:0 > 2:0");
        // Nobody asked for `a`, or not on this kernel.
        check("a b:a", "1:0,1", "0:[0,1] > 1:0,1");
        check("a b:a", "0:0 1:1", "0:0[1] > 1:1");
        check("a/1 a/3 a/2 b:a", "3:0", "1:[0] > 3:0");
        check("a/1 a/3 b:a", "0:0 2:0", "0:0 > 2:0");
        // In each batch anew.
        check("a b:a b:a", "0:0 1:0 2:0", "0:0 > 1:0 | 0:[0] > 2:0");
    }

    #[test]
    fn what_cannot_be_had_blocks() {
        check("a b:x", "0:0 1:0", "0:0 !1:0 it needs x, which is not staged");
        check(
            "a:b b:a c",
            "0:0 2:0",
            "2:0 !0:0 it needs b, which cannot be built before it",
        );
        check("a:x b:a", "1:0", " !1:0 it needs a, which cannot be built before it");
        check("a:a", "0:0", " !0:0 it needs a, which cannot be built before it");
    }
}
