//! Which packages a mirror has.

use std::collections::BTreeSet;

use dkms_index::document::record::{BuildOutcome, PackageRecord};
use dkms_index::modalias::VendorId;
use dkms_index::pattern::Pattern;

/// What is asked for. What is empty asks for nothing, so that all empty is every package; else a package is taken that is of one of the
/// buses or vendors or has one of the names, and builds on one of the kernels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Buses of devices, such as `usb`.
    pub buses: Vec<String>,
    /// Vendors of devices, such as `pci-10ec`.
    pub vendors: Vec<VendorId>,
    /// Names of packages.
    pub packages: Vec<String>,
    /// Beginnings of kernel releases, such as `6.12`.
    pub kernels: Vec<String>,
}

impl Choice {
    /// Whether it is every package.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// The packages that are chosen, and those that they need to be built.
    pub fn of<'a>(&self, packages: &'a [PackageRecord]) -> Vec<&'a PackageRecord> {
        let mut chosen: BTreeSet<usize> = (0..packages.len()).filter(|nth| self.takes(&packages[*nth])).collect();
        let mut new: Vec<usize> = chosen.iter().copied().collect();
        while let Some(nth) = new.pop() {
            let needed = &packages[nth].recipe.build_depends;
            let more = (0..packages.len()).filter(|other| needed.contains(&packages[*other].name));
            for other in more.collect::<Vec<_>>() {
                if chosen.insert(other) {
                    new.push(other);
                }
            }
        }
        chosen.into_iter().map(|nth| &packages[nth]).collect()
    }

    fn takes(&self, package: &PackageRecord) -> bool {
        let mut patterns = package.patterns.iter().filter_map(|text| Pattern::parse(text).ok());
        let of_bus = |pattern: &Pattern| {
            let bus = pattern.bus();
            self.buses.iter().any(|wanted| bus == Some(wanted.as_bytes()))
        };
        let of_vendor = |pattern: &Pattern| pattern.vendor_id().is_some_and(|vendor| self.vendors.contains(&vendor));
        let is_open = self.buses.is_empty() && self.vendors.is_empty() && self.packages.is_empty();
        let is_for = is_open
            || self.packages.contains(&package.name)
            || patterns.any(|pattern| of_bus(&pattern) || of_vendor(&pattern));
        is_for && self.builds(package)
    }

    /// Whether it builds on one of the kernels, or that was not tried.
    fn builds(&self, package: &PackageRecord) -> bool {
        let is_open = |wanted: &String| {
            let mut tried = package
                .builds
                .iter()
                .filter(|fact| is_of(&fact.kernel, wanted))
                .peekable();
            tried.peek().is_none() || tried.any(|fact| fact.outcome == BuildOutcome::Built)
        };
        self.kernels.is_empty() || self.kernels.iter().any(is_open)
    }
}

/// Whether a release begins with these numbers: `6.1` is 6.1.0-56 and not 6.12.
fn is_of(release: &str, wanted: &str) -> bool {
    let rest = release.strip_prefix(wanted);
    rest.is_some_and(|rest| rest.is_empty() || !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn packages_are_chosen_with_what_they_need() {
        let record = |name: &str, pattern: &str, needs: &[&str], facts: &[(&str, &str)]| -> PackageRecord {
            let facts: Vec<_> = facts
                .iter()
                .map(|(kernel, outcome)| json!({"kernel": kernel, "arch": "x86_64", "compiler": "", "date": "2026-01-01", "outcome": outcome}))
                .collect();
            serde_json::from_value(json!({
                "name": name, "version": "1", "manifest": format!("curated/{name}@1.json"),
                "bundle": {"sha256": "0", "length": 1, "format": "tar-zst"}, "modules": [], "patterns": [pattern],
                "recipe": {"build_depends": needs}, "builds": facts
            }))
            .unwrap()
        };
        let packages = [
            record(
                "net",
                "pci:v000010ECd00008168sv*sd*bc*sc*i*",
                &["base"],
                &[("6.1.0-56-amd64", "built"), ("6.12.1", "failed")],
            ),
            record(
                "stick",
                "usb:v0BDAp8812d*dc*dsc*dp*ic*isc*ip*in*",
                &[],
                &[("6.1.0-56-amd64", "failed")],
            ),
            record("base", "acpi*:X:*", &[], &[]),
            record("base", "acpi*:X:*", &[], &[]),
        ];
        let check = |choice: Choice, expected: &[&str]| {
            let names: Vec<&str> = choice
                .of(&packages)
                .iter()
                .map(|package| package.name.as_str())
                .collect();
            assert_eq!(names, expected, "{choice:?}");
        };
        let none = Choice::default;
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        check(none(), &["net", "stick", "base", "base"]);
        check(
            Choice {
                buses: text(&["usb"]),
                ..none()
            },
            &["stick"],
        );
        check(
            Choice {
                vendors: vec!["pci-10ec".parse().unwrap()],
                ..none()
            },
            &["net", "base", "base"],
        );
        check(
            Choice {
                packages: text(&["stick"]),
                buses: text(&["pci"]),
                ..none()
            },
            &["net", "stick", "base", "base"],
        );
        check(
            Choice {
                kernels: text(&["6.12"]),
                ..none()
            },
            &["stick", "base", "base"],
        );
        check(
            Choice {
                kernels: text(&["6.1"]),
                buses: text(&["usb"]),
                ..none()
            },
            &[],
        );
        check(
            Choice {
                kernels: text(&["6.1", "6.12"]),
                ..none()
            },
            &["net", "stick", "base", "base"],
        );
        check(
            Choice {
                buses: text(&["of"]),
                ..none()
            },
            &[],
        );
    }
}
