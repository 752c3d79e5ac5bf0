//! What differs between two states of a repository, for people and in JSON.

mod side;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

pub use side::{DiffError, Side};

/// All that differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The one state: an address, or `what is staged`.
    pub from: String,
    /// The other one.
    pub to: String,
    /// By name and version.
    pub packages: Vec<PackageChange>,
    /// Revocations that only the second one has.
    pub revoked: Vec<Value>,
    /// Revocations that only the first one has.
    pub unrevoked: Vec<Value>,
    /// Overrides that only the second one has.
    pub overrides_added: Vec<Value>,
    /// Overrides that only the first one has.
    pub overrides_removed: Vec<Value>,
    /// Roles that differ, where both states are published.
    pub roles: Vec<RoleChange>,
}

impl Difference {
    /// Whether the two are the same.
    pub fn is_empty(&self) -> bool {
        let same = Self {
            from: self.from.clone(),
            to: self.to.clone(),
            ..Self::default()
        };
        *self == same
    }
}

/// How a package version differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Only the second state has it.
    Added,
    /// Only the first one has it.
    Removed,
    /// Both have it, and it is not the same.
    Changed,
}

/// A package version that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it differs.
    pub change: Change,
    /// Where it was changed, what differs.
    pub fields: Vec<Changed>,
}

/// A role that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleChange {
    /// Its name.
    pub name: String,
    /// What differs.
    pub fields: Vec<Changed>,
}

/// A field that differs. Of lists there is what was added and removed, of others the two values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its name, with those of the objects that it is in: `bundle.sha256`.
    pub field: String,
    /// What it was; null where there was nothing, and for lists.
    pub from: Value,
    /// What it is.
    pub to: Value,
    /// Of lists: what only the second has.
    pub added: Vec<Value>,
    /// Of lists: what only the first has.
    pub removed: Vec<Value>,
}

/// Compares two states.
pub fn difference(from: &Side, to: &Side) -> Difference {
    let mut found = Difference {
        from: from.name.clone(),
        to: to.name.clone(),
        revoked: only(&to.revocations, &from.revocations),
        unrevoked: only(&from.revocations, &to.revocations),
        overrides_added: only(&to.overrides, &from.overrides),
        overrides_removed: only(&from.overrides, &to.overrides),
        ..Difference::default()
    };
    let names: BTreeSet<&(String, String)> = from.packages.keys().chain(to.packages.keys()).collect();
    for key in names {
        let (change, fields) = match (from.packages.get(key), to.packages.get(key)) {
            (None, _) => (Change::Added, Vec::new()),
            (_, None) => (Change::Removed, Vec::new()),
            (Some(one), Some(other)) if one == other => continue,
            (Some(one), Some(other)) => (Change::Changed, fields("", one, other)),
        };
        found.packages.push(PackageChange {
            name: key.0.clone(),
            version: key.1.clone(),
            change,
            fields,
        });
    }
    if let (Some(one), Some(other)) = (&from.roles, &to.roles) {
        found.roles = roles(one, other);
    }
    found
}

fn roles(from: &BTreeMap<String, Value>, to: &BTreeMap<String, Value>) -> Vec<RoleChange> {
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let nothing = Value::Object(Map::new());
    let role = |name: &&String| RoleChange {
        name: (*name).clone(),
        fields: fields(
            "",
            from.get(*name).unwrap_or(&nothing),
            to.get(*name).unwrap_or(&nothing),
        ),
    };
    names.iter().map(role).filter(|role| !role.fields.is_empty()).collect()
}

fn only(these: &[Value], others: &[Value]) -> Vec<Value> {
    these.iter().filter(|one| !others.contains(one)).cloned().collect()
}

/// The fields of two objects that differ.
fn fields(above: &str, from: &Value, to: &Value) -> Vec<Changed> {
    let (Value::Object(one), Value::Object(other)) = (from, to) else {
        return vec![field(above, from, to)];
    };
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let (from, to) = (
            one.get(name).unwrap_or(&Value::Null),
            other.get(name).unwrap_or(&Value::Null),
        );
        if from != to {
            let name = if above.is_empty() {
                name.clone()
            } else {
                format!("{above}.{name}")
            };
            found.extend(fields(&name, from, to));
        }
    }
    found
}

fn field(name: &str, from: &Value, to: &Value) -> Changed {
    let list = |value: &Value| match value {
        Value::Array(items) => Some(items.clone()),
        Value::Null => Some(Vec::new()),
        _ => None,
    };
    let is_list = from.is_array() || to.is_array();
    match (list(from), list(to)) {
        (Some(one), Some(other)) if is_list => Changed {
            field: name.to_owned(),
            from: Value::Null,
            to: Value::Null,
            added: only(&other, &one),
            removed: only(&one, &other),
        },
        _ => Changed {
            field: name.to_owned(),
            from: from.clone(),
            to: to.clone(),
            added: Vec::new(),
            removed: Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_told_by_their_names() {
        let one =
            json!({"summary": "a", "bundle": {"sha256": "1", "length": 1}, "patterns": ["a", "b"], "status": "active"});
        let other = json!({"summary": "b", "bundle": {"sha256": "2", "length": 1}, "patterns": ["b", "c"], "rings": ["lab"], "status": "active"});
        let found = fields("", &one, &other);
        let names: Vec<&str> = found.iter().map(|one| one.field.as_str()).collect();
        assert_eq!(names, ["bundle.sha256", "patterns", "rings", "summary"]);
        assert_eq!((&found[0].from, &found[0].to), (&json!("1"), &json!("2")));
        assert_eq!(
            (&found[1].added[..], &found[1].removed[..]),
            (&[json!("c")][..], &[json!("a")][..])
        );
        assert_eq!(
            (&found[2].added[..], &found[2].removed[..]),
            (&[json!("lab")][..], &[][..])
        );
        assert_eq!(fields("", &one, &one), []);
    }
}
