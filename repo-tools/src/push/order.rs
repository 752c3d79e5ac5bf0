//! In which order files are written.

use crate::reach::Named;
use crate::store::TIMESTAMP;

/// One step; each is done before the next one begins.
#[derive(Debug)]
pub(super) enum Phase {
    /// These files, in any order.
    Files(Vec<(String, Named)>),
    /// All that was written has to be durable now.
    Flush,
    /// The timestamp, of so many bytes, which makes all of it visible.
    Timestamp(u64),
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) phases: Vec<Phase>,
}

/// What each kind of file waits for: none of them names a file of a later kind.
fn rank(path: &str) -> usize {
    match path {
        _ if path.starts_with("bundles/") => 0,
        _ if path.starts_with("targets/") => 1,
        _ if is_root(path) => 4,
        _ if path.ends_with(".snapshot.json") => 3,
        _ => 2,
    }
}

pub(super) fn is_root(path: &str) -> bool {
    path.starts_with("metadata/") && path.ends_with(".root.json")
}

/// The number of a root.
pub(super) fn root_version(path: &str) -> Option<u64> {
    let name = path.strip_prefix("metadata/")?;
    name.strip_suffix(".root.json")?.parse().ok()
}

/// Orders the files that are missing. With `is_bridged` the new timestamp is valid under the root that is there and under the new ones, so
/// it comes before them, as on this disk; else machines are refused between the two, and the roots come first. No timestamp is written where it
/// is there already.
pub(super) fn plan(missing: Vec<(String, Named)>, is_bridged: bool, timestamp_bytes: Option<u64>) -> Plan {
    let mut ranks: [Vec<(String, Named)>; 5] = Default::default();
    for file in missing {
        let rank = rank(&file.0);
        if let Some(files) = ranks.get_mut(rank) {
            files.push(file);
        }
    }
    let [bundles, targets, roles, snapshot, mut roots] = ranks;
    roots.sort_by_key(|(path, _)| root_version(path));
    // One by one, for a machine follows them by their numbers.
    let roots = roots
        .into_iter()
        .map(|root| Phase::Files(vec![root]))
        .collect::<Vec<_>>();
    let mut phases = vec![
        Phase::Files(bundles),
        Phase::Files(targets),
        Phase::Files(roles),
        Phase::Files(snapshot),
        Phase::Flush,
    ];
    let timestamp = timestamp_bytes.map(Phase::Timestamp);
    if is_bridged {
        phases.extend(timestamp);
        phases.extend(roots);
    } else {
        phases.extend(roots);
        phases.push(Phase::Flush);
        phases.extend(timestamp);
    }
    phases.push(Phase::Flush);
    Plan { phases }
}

impl Plan {
    /// The files, in the order in which they are written, with their lengths.
    pub(super) fn files(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.phases.iter().flat_map(|phase| match phase {
            Phase::Files(files) => files
                .iter()
                .map(|(path, content)| (path.clone(), content.length.unwrap_or(0)))
                .collect(),
            Phase::Flush => Vec::new(),
            Phase::Timestamp(bytes) => vec![(TIMESTAMP.to_owned(), *bytes)],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_others_comes_after_them() {
        let check = |is_bridged: bool, timestamp_bytes: Option<u64>, expected: &[&str]| {
            let names = [
                "metadata/10.root.json",
                "metadata/3.snapshot.json",
                "metadata/9.root.json",
                "targets/index/x",
                "metadata/3.index.json",
                "bundles/sha256/00/x",
            ];
            let content = Named {
                length: Some(1),
                sha256: None,
            };
            let missing = names.map(|name| (name.to_owned(), content.clone())).into();
            let plan = plan(missing, is_bridged, timestamp_bytes);
            let order: Vec<String> = plan.files().map(|(path, _)| path).collect();
            assert_eq!(
                order[..4],
                [
                    "bundles/sha256/00/x",
                    "targets/index/x",
                    "metadata/3.index.json",
                    "metadata/3.snapshot.json"
                ]
            );
            assert_eq!(order[4..], *expected);
        };
        check(
            true,
            Some(1),
            &[TIMESTAMP, "metadata/9.root.json", "metadata/10.root.json"],
        );
        check(
            false,
            Some(1),
            &["metadata/9.root.json", "metadata/10.root.json", TIMESTAMP],
        );
        check(true, None, &["metadata/9.root.json", "metadata/10.root.json"]);
    }
}
