//! One file of metadata that is to be signed, read strictly: nothing is signed that is not understood and shown.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use dkms_index::trust::limits::TARGETS_MAX_BYTES;
use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::error::CeremonyError;
use crate::canonical::canonical;
use crate::files::FileError;
use crate::keys::{PublicKey, Signature};
use crate::signed::{RoleKeys, Root, SignError, Signed, Targets};

/// The signed part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Of the root.
    Root(Root),
    /// Of `targets`, or a role that it delegates to.
    Targets(Targets),
}

/// A file of metadata with the signatures that it has so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The role.
    pub role: String,
    /// What is signed.
    pub body: Body,
    /// The signatures; not verified.
    pub signatures: Vec<Signature>,
}

impl Body {
    /// The version.
    pub fn version(&self) -> u64 {
        match self {
            Self::Root(root) => root.version,
            Self::Targets(targets) => targets.version,
        }
    }

    /// The end of its lifetime.
    pub fn expires(&self) -> Timestamp {
        match self {
            Self::Root(root) => root.expires,
            Self::Targets(targets) => targets.expires,
        }
    }

    fn canonical(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Root(root) => canonical(root),
            Self::Targets(targets) => canonical(targets),
        }
        .map_err(|error| error.to_string())
    }
}

impl Document {
    /// A root that was signed, or is to be.
    pub fn of_root(root: Signed<Root>) -> Self {
        Self {
            role: "root".to_owned(),
            body: Body::Root(root.signed),
            signatures: root.signatures,
        }
    }

    /// What a role signed, or is to sign.
    pub fn of_targets(role: &str, targets: Signed<Targets>) -> Self {
        Self {
            role: role.to_owned(),
            body: Body::Targets(targets.signed),
            signatures: targets.signatures,
        }
    }

    /// Reads a file, `VERSION.ROLE.json`.
    ///
    /// # Errors
    /// When it cannot be read, is not metadata of this role and version, or has anything in it that this program does not know.
    pub fn read(path: &Path) -> Result<Self, CeremonyError> {
        let (version, role) = name_parts(path).ok_or_else(|| CeremonyError::Name(path.to_owned()))?;
        let bytes = read_bytes(path)?;
        let malformed = |why: String| CeremonyError::Malformed {
            path: path.to_owned(),
            why,
        };
        let document = parse(&role, &bytes).map_err(malformed)?;
        if document.body.version() != version {
            return Err(malformed(format!(
                "its name says version {version}, and it is version {}",
                document.body.version()
            )));
        }
        Ok(document)
    }

    /// Reads a root, whatever the name of its file is.
    ///
    /// # Errors
    /// As [`Document::read`].
    pub fn read_root(path: &Path) -> Result<Self, CeremonyError> {
        parse("root", &read_bytes(path)?).map_err(|why| CeremonyError::Malformed {
            path: path.to_owned(),
            why,
        })
    }

    /// The name of its file.
    pub fn name(&self) -> String {
        format!("{}.{}.json", self.body.version(), self.role)
    }

    /// What signatures cover.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn message(&self) -> Result<Vec<u8>, SignError> {
        match &self.body {
            Body::Root(root) => crate::signed::message(&self.role, root),
            Body::Targets(targets) => crate::signed::message(&self.role, targets),
        }
    }

    /// The file, as it is published.
    pub fn to_bytes(&self) -> Vec<u8> {
        let signatures = self.signatures.clone();
        match &self.body {
            Body::Root(signed) => Signed {
                signatures,
                signed: signed.clone(),
            }
            .to_bytes(),
            Body::Targets(signed) => Signed {
                signatures,
                signed: signed.clone(),
            }
            .to_bytes(),
        }
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(TARGETS_MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(FileError::on("read", path))?;
    Ok(bytes)
}

/// Version and role, from the name of a file of metadata.
pub(super) fn name_parts(path: &Path) -> Option<(u64, String)> {
    let (version, role) = path.file_name()?.to_str()?.strip_suffix(".json")?.split_once('.')?;
    let is_plain = |role: &str| {
        !role.is_empty()
            && role
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // As it is written, so that no two names are those of one version.
    let version: u64 = version
        .parse()
        .ok()
        .filter(|number: &u64| number.to_string() == version)?;
    is_plain(role).then(|| (version, role.to_owned()))
}

fn parse(role: &str, bytes: &[u8]) -> Result<Document, String> {
    if bytes.len() as u64 > TARGETS_MAX_BYTES {
        return Err(format!("it is longer than {TARGETS_MAX_BYTES} bytes"));
    }
    let Strict(value) = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let Value::Object(mut parts) = value else {
        return Err("it is not a JSON object".to_owned());
    };
    let (signatures, signed) = (parts.remove("signatures"), parts.remove("signed"));
    if let Some(name) = parts.keys().next() {
        return Err(format!("it has a field {name:?} beside `signed` and `signatures`"));
    }
    let (Some(signatures), Some(signed)) = (signatures, signed) else {
        return Err("`signed` or `signatures` is missing".to_owned());
    };
    let signatures: Vec<Signature> =
        serde_json::from_value(signatures).map_err(|error| format!("its signatures: {error}"))?;
    let said = signed.get("_type").and_then(Value::as_str).unwrap_or_default();
    let expected = if role == "root" { "root" } else { "targets" };
    if said != expected {
        return Err(format!("it is of the type {said:?}, and role {role} has {expected:?}"));
    }
    let whole = canonical(&signed).map_err(|error| error.to_string())?;
    let body = if role == "root" {
        serde_json::from_value(signed).map(Body::Root)
    } else {
        serde_json::from_value(signed).map(Body::Targets)
    }
    .map_err(|error| error.to_string())?;
    // What was not understood would be signed and not shown.
    if body.canonical()? != whole {
        return Err(
            "it has fields that this program does not know, or a value that is not written as it has to be".to_owned(),
        );
    }
    check(&body)?;
    Ok(Document {
        role: role.to_owned(),
        body,
        signatures,
    })
}

/// Refuses what machines would refuse, or what would make one key count for several.
fn check(body: &Body) -> Result<(), String> {
    if body.version() == 0 {
        return Err("its version is 0".to_owned());
    }
    match body {
        Body::Root(root) => {
            for role in crate::roles::TOP_LEVEL {
                let keys = root.roles.get(role).ok_or_else(|| format!("it has no role {role}"))?;
                check_keys(role, keys, &root.keys)?;
            }
            check_distinct(root.keys.iter())
        }
        Body::Targets(targets) => {
            let Some(delegations) = &targets.delegations else {
                return Ok(());
            };
            let mut names = BTreeSet::new();
            for delegation in &delegations.roles {
                if !names.insert(&delegation.name) {
                    return Err(format!("it delegates to role {} twice", delegation.name));
                }
                check_keys(&delegation.name, &delegation.keys, &delegations.keys)?;
            }
            check_distinct(delegations.keys.iter())
        }
    }
}

fn check_keys(
    role: &str,
    keys: &RoleKeys,
    known: &std::collections::BTreeMap<String, PublicKey>,
) -> Result<(), String> {
    let different: BTreeSet<&String> = keys.keyids.iter().collect();
    if different.len() != keys.keyids.len() {
        return Err(format!("role {role} names a key twice"));
    }
    if !(1..=different.len()).contains(&keys.threshold) {
        return Err(format!(
            "role {role} needs {} signatures and has {} keys",
            keys.threshold,
            different.len()
        ));
    }
    match keys.keyids.iter().find(|id| !known.contains_key(*id)) {
        Some(id) => Err(format!("role {role} names the key {id}, which is not there")),
        None => Ok(()),
    }
}

/// One key under two ids would count for two.
fn check_distinct<'a>(keys: impl Iterator<Item = (&'a String, &'a PublicKey)>) -> Result<(), String> {
    let mut seen: Vec<&PublicKey> = Vec::new();
    for (id, key) in keys {
        if seen.contains(&key) {
            return Err(format!("the key {id} is there under another id, too"));
        }
        seen.push(key);
    }
    Ok(())
}

/// JSON in which no name is there twice, and no number has a fraction: every reader sees the same in it.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without fractions")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom(format!("the name {name:?} is there twice")));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}
