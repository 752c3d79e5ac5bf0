//! Overrides: single wrong aliases, of a package or of the kernel itself, taken out of matching.

use std::collections::HashMap;

use crate::document::record::OverrideRecord;
use crate::pattern::Pattern;

/// All overrides of an index.
#[derive(Debug, Default)]
pub struct Overrides {
    /// By pattern, because hardly any pattern has one.
    by_pattern: HashMap<Vec<u8>, Vec<OverrideRecord>>,
}

impl Overrides {
    /// The override that takes this alias of a package out of matching, if there is one.
    pub fn of_package(&self, name: &str, pattern: &Pattern) -> Option<&OverrideRecord> {
        self.find("package:", name, pattern)
    }

    /// The override that takes this alias of an in-tree module out of matching, if there is one. In module names `-` and `_` are the same.
    pub fn of_module(&self, name: &str, pattern: &Pattern) -> Option<&OverrideRecord> {
        self.find("kernel:", name, pattern)
    }

    fn find(&self, kind: &str, name: &str, pattern: &Pattern) -> Option<&OverrideRecord> {
        let same = |subject: &str| match subject.strip_prefix(kind) {
            Some(subject) if kind == "kernel:" => subject.replace('-', "_") == name.replace('-', "_"),
            Some(subject) => subject == name,
            None => false,
        };
        let records = self.by_pattern.get(pattern.as_bytes())?;
        records.iter().find(|record| same(&record.subject))
    }
}

impl FromIterator<OverrideRecord> for Overrides {
    fn from_iter<I: IntoIterator<Item = OverrideRecord>>(records: I) -> Self {
        let mut overrides = Self::default();
        for record in records {
            let same_pattern = overrides
                .by_pattern
                .entry(record.pattern.clone().into_bytes())
                .or_default();
            same_pattern.push(record);
        }
        overrides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_applies_to_one_alias_of_one_subject() {
        let record = |subject: &str, pattern: &str| OverrideRecord {
            subject: subject.into(),
            pattern: pattern.into(),
            reason: "too broad".into(),
        };
        let broad = "pci:v*d*sv*sd*bc02sc80i*";
        let overrides: Overrides = [record("package:broadcom-sta", broad), record("kernel:snd-hda", "hda*")]
            .into_iter()
            .collect();
        let pattern = |text: &str| text.parse::<Pattern>().unwrap();
        let check = |found: Option<&OverrideRecord>, expected: bool| assert_eq!(found.is_some(), expected, "{found:?}");
        check(overrides.of_package("broadcom-sta", &pattern(broad)), true);
        check(
            overrides.of_package("broadcom-sta", &pattern("pci:v000014E4d*sv*sd*bc02sc80i*")),
            false,
        );
        check(overrides.of_package("other", &pattern(broad)), false);
        check(overrides.of_module("broadcom-sta", &pattern(broad)), false);
        check(overrides.of_module("snd_hda", &pattern("hda*")), true);
    }
}
