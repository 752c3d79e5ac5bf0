//! What a document changes, in sentences for those who sign it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::document::Body;
use crate::roles::TOP_LEVEL;
use crate::signed::{Delegation, RoleKeys, Root, Target, Targets};

/// All that `after` says which `before` does not, and its lifetime. `now` is the clock of whoever reads it.
pub(super) fn sentences(role: &str, before: Option<&Body>, after: &Body, now: Timestamp) -> Vec<String> {
    let version = after.version();
    let mut lines = vec![match before {
        Some(before) => format!("{role} version {version} replaces version {}.", before.version()),
        None => format!("{role} version {version} is the first version."),
    }];
    let hours = after.expires().duration_since(now).as_hours();
    lines.push(if hours < 0 {
        format!("It expired at {}, by the clock of this machine.", after.expires())
    } else {
        format!(
            "It is good until {}, that is {} days from now.",
            after.expires(),
            hours / 24
        )
    });
    lines.extend(differences(before, after));
    lines
}

/// What differs, without version and lifetime.
pub(super) fn differences(before: Option<&Body>, after: &Body) -> Vec<String> {
    match (before, after) {
        (Some(Body::Root(before)), Body::Root(after)) => of_roots(before, after),
        (None, Body::Root(_)) => vec!["It is the first root.".to_owned()],
        (Some(Body::Targets(before)), Body::Targets(after)) => of_targets(Some(before), after),
        (None, Body::Targets(after)) => of_targets(None, after),
        (Some(_), _) => vec!["It is of another type.".to_owned()],
    }
}

/// In what two documents of one role and version differ: `ours` was prepared.
pub(super) fn disagreements(ours: &Body, theirs: &Body) -> Vec<String> {
    let mut lines = Vec::new();
    if ours.version() != theirs.version() {
        lines.push(format!(
            "It is version {} and not {}.",
            theirs.version(),
            ours.version()
        ));
    }
    if ours.expires() != theirs.expires() {
        lines.push(format!(
            "It expires at {} and not at {}.",
            theirs.expires(),
            ours.expires()
        ));
    }
    lines.extend(differences(Some(ours), theirs));
    lines
}

fn of_roots(before: &Root, after: &Root) -> Vec<String> {
    let mut lines = Vec::new();
    changed(
        &mut lines,
        "The specification",
        &before.spec_version,
        &after.spec_version,
    );
    if before.consistent_snapshot != after.consistent_snapshot {
        lines.push(format!("consistent_snapshot becomes {}.", after.consistent_snapshot));
    }
    for role in TOP_LEVEL {
        lines.extend(of_keys(role, before.roles.get(role), after.roles.get(role)));
    }
    let roles: BTreeSet<&String> = before.roles.keys().chain(after.roles.keys()).collect();
    for role in roles.into_iter().filter(|role| !TOP_LEVEL.contains(&role.as_str())) {
        lines.extend(of_keys(role, before.roles.get(role), after.roles.get(role)));
    }
    let used: BTreeSet<&String> = after.roles.values().flat_map(|keys| &keys.keyids).collect();
    let unused = after.keys.keys().filter(|id| !used.contains(id));
    lines.extend(unused.map(|id| format!("It lists key {id}, which no role has.")));
    lines
}

fn changed(lines: &mut Vec<String>, what: &str, before: &str, after: &str) {
    if before != after {
        lines.push(format!("{what} changes from {before} to {after}."));
    }
}

/// The keys of a role, all of them: who signs sees also what stays.
fn of_keys(role: &str, before: Option<&RoleKeys>, after: Option<&RoleKeys>) -> Vec<String> {
    let Some(after) = after else {
        return vec![format!("Role {role} has no keys any more.")];
    };
    let quorum = |keys: &RoleKeys| format!("{} of {}", keys.threshold, keys.keyids.len());
    let mut lines = vec![match before {
        Some(before) if before == after => format!("Role {role} stays as it is: {} keys sign for it.", quorum(after)),
        Some(before) if quorum(before) == quorum(after) => {
            format!("Role {role} gets other keys: {} sign for it, as before.", quorum(after))
        }
        Some(before) => format!(
            "Role {role} changes: {} keys sign for it, before {}.",
            quorum(after),
            quorum(before)
        ),
        None => format!("Role {role} is new: {} keys sign for it.", quorum(after)),
    }];
    let old: &[String] = before.map_or(&[], |before| &before.keyids);
    for id in old.iter().filter(|id| !after.keyids.contains(id)) {
        lines.push(format!("  goes   {id}"));
    }
    for id in &after.keyids {
        lines.push(format!("  {} {id}", if old.contains(id) { "stays " } else { "comes " }));
    }
    lines
}

fn of_targets(before: Option<&Targets>, after: &Targets) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(before) = before {
        changed(
            &mut lines,
            "The specification",
            &before.spec_version,
            &after.spec_version,
        );
    }
    let nothing = BTreeMap::new();
    lines.extend(of_files(
        before.map_or(&nothing, |before| &before.targets),
        &after.targets,
    ));
    let old = before.and_then(|before| before.delegations.as_ref());
    let none: &[Delegation] = &[];
    let (old, new) = (
        old.map_or(none, |delegations| &delegations.roles),
        after
            .delegations
            .as_ref()
            .map_or(none, |delegations| &delegations.roles),
    );
    lines.extend(of_delegations(old, new));
    if let Some(delegations) = &after.delegations {
        let used: BTreeSet<&String> = new.iter().flat_map(|role| &role.keys.keyids).collect();
        let unused = delegations.keys.keys().filter(|id| !used.contains(id));
        lines.extend(unused.map(|id| format!("It lists key {id}, which no role has.")));
    }
    lines
}

fn of_files(before: &BTreeMap<String, Target>, after: &BTreeMap<String, Target>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut stay = 0;
    for (path, target) in after {
        let how = match before.get(path) {
            Some(old) if old == target => {
                stay += 1;
                continue;
            }
            Some(_) => "changes",
            None => "comes",
        };
        let custom = target
            .custom
            .as_ref()
            .map_or_else(String::new, |custom| format!(", {custom}"));
        lines.push(format!(
            "File {path} {how}: {} bytes, sha256 {}{custom}.",
            target.length,
            target.sha256()
        ));
    }
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    lines.extend(gone.map(|path| format!("File {path} goes.")));
    if stay > 0 || !lines.is_empty() {
        lines.push(format!("{stay} files stay as they are."));
    }
    lines
}

fn of_delegations(before: &[Delegation], after: &[Delegation]) -> Vec<String> {
    let mut lines = Vec::new();
    for delegation in after {
        let old = before.iter().find(|old| old.name == delegation.name);
        if old == Some(delegation) {
            continue;
        }
        let name = &delegation.name;
        lines.extend(of_keys(name, old.map(|old| &old.keys), Some(&delegation.keys)));
        let scope = |delegation: &Delegation| {
            let end = if delegation.terminating {
                ""
            } else {
                ", and roles after it are asked, too"
            };
            format!("{}{end}", delegation.paths.join(", "))
        };
        match old {
            Some(old) if scope(old) == scope(delegation) => {}
            Some(old) => lines.push(format!(
                "Role {name} may sign {}; before {}.",
                scope(delegation),
                scope(old)
            )),
            None => lines.push(format!("Role {name} may sign {}.", scope(delegation))),
        }
    }
    let names = |roles: &[Delegation]| roles.iter().map(|role| role.name.clone()).collect::<Vec<_>>();
    let (old, new) = (names(before), names(after));
    lines.extend(
        old.iter()
            .filter(|name| !new.contains(name))
            .map(|name| format!("Role {name} goes.")),
    );
    let stay = after.iter().filter(|delegation| before.contains(delegation)).count();
    if stay > 0 {
        lines.push(format!("{stay} delegations stay as they are."));
    }
    let kept = |names: &[String], others: &[String]| {
        names
            .iter()
            .filter(|name| others.contains(name))
            .cloned()
            .collect::<Vec<_>>()
    };
    if kept(&old, &new) != kept(&new, &old) {
        lines.push(format!("Roles are asked in another order: {}.", new.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn targets(change: impl FnOnce(&mut Value)) -> Body {
        let key = |id: &str| json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": id}});
        let role = |name: &str, key: &str| json!({"name": name, "keyids": [key], "threshold": 1, "paths": [format!("{name}/*")], "terminating": true});
        let mut body = json!({
            "_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": "2026-01-02T00:00:00Z",
            "targets": {"a/x": {"length": 1, "hashes": {"sha256": "aa"}}},
            "delegations": {"keys": {"k1": key("1"), "k2": key("2")}, "roles": [role("one", "k1"), role("two", "k2")]}
        });
        change(&mut body);
        Body::Targets(serde_json::from_value(body).unwrap())
    }

    /// Every part of a targets file that can be changed is told when it is.
    #[test]
    fn each_change_has_its_sentence() {
        fn check(change: impl FnOnce(&mut Value), expected: &[&str]) {
            let found = differences(Some(&targets(|_| {})), &targets(change));
            for line in expected {
                assert!(
                    found.iter().any(|sentence| sentence == line),
                    "{line:?} is not in {found:#?}"
                );
            }
            let told = found.iter().filter(|line| !line.contains("stay as they are"));
            assert_eq!(told.count(), expected.len(), "{found:#?}");
        }
        check(|_| {}, &[]);
        check(
            |body| body["spec_version"] = json!("1.0.32"),
            &["The specification changes from 1.0.31 to 1.0.32."],
        );
        check(
            |body| body["targets"] = json!({"b": {"length": 2, "hashes": {"sha256": "bb"}, "custom": {"c": 1}}}),
            &["File b comes: 2 bytes, sha256 bb, {\"c\":1}.", "File a/x goes."],
        );
        check(
            |body| body["targets"]["a/x"]["hashes"]["sha256"] = json!("cc"),
            &["File a/x changes: 1 bytes, sha256 cc."],
        );
        check(
            |body| body["delegations"]["roles"][0]["keyids"] = json!(["k2"]),
            &[
                "Role one gets other keys: 1 of 1 sign for it, as before.",
                "  goes   k1",
                "  comes  k2",
                "It lists key k1, which no role has.",
            ],
        );
        check(
            |body| {
                body["delegations"]["roles"][0]["paths"] = json!(["*", "x/*"]);
                body["delegations"]["roles"][0]["terminating"] = json!(false);
            },
            &[
                "Role one stays as it is: 1 of 1 keys sign for it.",
                "  stays  k1",
                "Role one may sign *, x/*, and roles after it are asked, too; before one/*.",
            ],
        );
        check(
            |body| body["delegations"]["roles"].as_array_mut().unwrap().swap(0, 1),
            &["Roles are asked in another order: two, one."],
        );
        check(
            |body| drop(body["delegations"]["roles"].as_array_mut().unwrap().pop()),
            &["Role two goes.", "It lists key k2, which no role has."],
        );
    }

    #[test]
    fn lifetimes_are_told_by_the_reader_s_clock() {
        let now = |text: &str| text.parse::<Timestamp>().unwrap();
        let (before, after) = (targets(|_| {}), targets(|body| body["version"] = json!(2)));
        assert_eq!(
            sentences("curated", Some(&before), &after, now("2025-12-30T00:00:00Z"))[..2],
            [
                "curated version 2 replaces version 1.",
                "It is good until 2026-01-02T00:00:00Z, that is 3 days from now."
            ]
        );
        let late = sentences("curated", None, &after, now("2026-02-01T00:00:00Z"));
        assert_eq!(
            late[..2],
            [
                "curated version 2 is the first version.",
                "It expired at 2026-01-02T00:00:00Z, by the clock of this machine."
            ]
        );
    }
}
