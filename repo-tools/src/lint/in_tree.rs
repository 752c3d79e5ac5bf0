//! What a kernel's own modules claim.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dkms_index::pattern::{FieldPattern, FieldValue, Pattern};

use crate::files::{self, FileError};

/// The fields of each bus that tell one device from another; classes are left out, because a driver for a class is
/// no driver for a device.
const IDENTITY: [(&str, &[&str]); 4] = [
    ("pci", &["v", "d", "sv", "sd"]),
    ("usb", &["v", "p"]),
    ("hid", &["v", "p"]),
    ("sdio", &["v", "d"]),
];

/// The aliases of one kernel's own modules.
#[derive(Debug, Clone)]
pub struct InTree {
    release: String,
    /// Patterns and modules by bus, vendor and device; patterns without these are known by their whole text.
    by_key: BTreeMap<String, Vec<(String, String)>>,
}

impl InTree {
    /// Reads `modules.alias` in a kernel's module directory, `/lib/modules/<release>`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read(directory: &Path) -> Result<Self, FileError> {
        let text = files::read(&directory.join("modules.alias"))?;
        let release = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self::parse(&release, &String::from_utf8_lossy(&text)))
    }

    /// Reads the lines `alias <pattern> <module>`; others are passed over.
    pub fn parse(release: &str, text: &str) -> Self {
        let mut by_key: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for line in text.lines() {
            // A pattern may hold spaces; a module's name cannot.
            let Some((pattern, module)) = line.strip_prefix("alias ").and_then(|rest| rest.rsplit_once(' ')) else {
                continue;
            };
            if let Some(key) = key(pattern) {
                by_key
                    .entry(key)
                    .or_default()
                    .push((pattern.to_owned(), module.to_owned()));
            }
        }
        Self {
            release: release.to_owned(),
            by_key,
        }
    }

    /// The kernel's release.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The modules that share a device with one of `patterns`, and how many of the patterns do.
    pub fn claims(&self, patterns: &BTreeSet<&str>) -> (Vec<String>, usize) {
        let mut modules = BTreeSet::new();
        let mut claimed = 0;
        for pattern in patterns {
            let candidates = key(pattern).and_then(|key| self.by_key.get(&key));
            let before: Vec<&String> = candidates
                .into_iter()
                .flatten()
                .filter(|(other, _)| overlap(pattern, other))
                .map(|(_, module)| module)
                .collect();
            claimed += usize::from(!before.is_empty());
            modules.extend(before.into_iter().cloned());
        }
        (modules.into_iter().collect(), claimed)
    }
}

fn fields(pattern: &str) -> Option<FieldPattern> {
    Pattern::parse(pattern).ok()?.fields()
}

fn identity(fields: &FieldPattern) -> Option<&'static [&'static str]> {
    IDENTITY
        .iter()
        .find(|(bus, _)| *bus == fields.bus())
        .map(|(_, names)| *names)
}

/// The key that two patterns must share to be compared; `None` for patterns of no particular device.
fn key(pattern: &str) -> Option<String> {
    let Some(fields) = fields(pattern) else {
        return pattern.contains(':').then(|| pattern.to_owned());
    };
    let [vendor, device, ..] = identity(&fields)? else {
        return None;
    };
    match (fields.get(vendor)?, fields.get(device)?) {
        (FieldValue::Fixed(v), FieldValue::Fixed(d)) => Some(format!("{}:{v:x}:{d:x}", fields.bus())),
        _ => None,
    }
}

/// Whether one device can match both: no field asks for two different numbers.
fn overlap(a: &str, b: &str) -> bool {
    let (Some(left), Some(right)) = (fields(a), fields(b)) else {
        return a == b;
    };
    left.bus() == right.bus()
        && identity(&left).is_some_and(|names| {
            names.iter().all(|name| match (left.get(name), right.get(name)) {
                (Some(FieldValue::Fixed(x)), Some(FieldValue::Fixed(y))) => x == y,
                _ => true,
            })
        })
}
