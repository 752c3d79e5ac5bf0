//! A machine at a glance: what it has, what became of it, and what happened last. One value, written as JSON, as a page and as metrics.
//!
//! Nothing in it identifies the machine, unless that is asked for: no host name, no machine id, no path of a device, whose parts may
//! be serial numbers.

pub mod html;
pub mod metrics;

use jiff::Timestamp;
use serde::Serialize;

use crate::report::{DeviceReport, RepositoryReport, Warning};
use crate::state::records::{Entry, Hold, Quarantined};

/// The machine at a glance.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// When it was made.
    pub time: Timestamp,
    /// Who the machine is; only where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// As in `/etc/os-release`.
    pub distribution: String,
    /// Whether modules have to be signed by a key that the machine knows.
    pub signatures_required: bool,
    /// Where packages come from.
    pub repositories: Vec<RepositoryReport>,
    /// One for each target kernel, oldest first.
    pub kernels: Vec<KernelOverview>,
    /// What is in the DKMS tree.
    pub installed: Vec<Installed>,
    /// What `--auto` leaves as it is.
    pub held: Vec<Hold>,
    /// What failed here.
    pub failed: Vec<Failed>,
    /// What was done, the newest last.
    pub history: Vec<Entry>,
    /// What a person should check.
    pub warnings: Vec<Warning>,
}

/// Who a machine is.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    /// Its name in the network.
    pub hostname: String,
    /// `/etc/machine-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
}

/// What holds for one kernel.
#[derive(Debug, Clone, Serialize)]
pub struct KernelOverview {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub arch: String,
    /// Whether it is the one that runs.
    pub running: bool,
    /// Every device with its verdict.
    pub devices: Vec<DeviceReport>,
}

/// A package in the DKMS tree for one kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Installed {
    /// `PACKAGE_NAME`.
    pub package: String,
    /// `PACKAGE_VERSION`.
    pub version: String,
    /// The kernel.
    pub kernel: String,
    /// `added`, `built` or `installed`.
    pub state: String,
    /// The repository that it came from; absent where this program did not install it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// What is wrong with it, in words.
    pub problems: Vec<String>,
}

/// What failed here, with the end of its log.
#[derive(Debug, Clone, Serialize)]
pub struct Failed {
    /// The entry in the records.
    #[serde(flatten)]
    pub entry: Quarantined,
    /// The last lines of the build's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_end: Option<String>,
}

impl Overview {
    /// Takes out what tells this machine from others.
    pub fn anonymize(&mut self, identity: &Identity) {
        for kernel in &mut self.kernels {
            for (number, report) in (1..).zip(&mut kernel.devices) {
                report.device.path = format!("device:{number}");
            }
        }
        let ids = [Some(identity.hostname.as_str()), identity.machine_id.as_deref()];
        let hide = |text: &mut String| {
            for id in ids.into_iter().flatten() {
                *text = without_word(text, id);
            }
        };
        for failed in &mut self.failed {
            hide(&mut failed.entry.reason);
            failed.log_end.iter_mut().for_each(hide);
        }
        self.history.iter_mut().for_each(|entry| hide(&mut entry.detail));
        for warning in &mut self.warnings {
            hide(&mut warning.text);
            warning.hint.iter_mut().for_each(hide);
        }
    }

    /// How many devices of a kernel have each verdict, by the verdict's label.
    pub fn verdicts(kernel: &KernelOverview) -> Vec<(&'static str, usize)> {
        let count = |label: &str| kernel.devices.iter().filter(|one| one.verdict.label() == label).count();
        crate::verdict::Verdict::LABELS
            .into_iter()
            .map(|label| (label, count(label)))
            .collect()
    }
}

/// The text with `[this machine]` in the place of a word.
fn without_word(text: &str, word: &str) -> String {
    if word.is_empty() || !text.contains(word) {
        return text.to_owned();
    }
    let is_part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, from) = rest.split_at(at);
        let after = &from[word.len()..];
        hidden.push_str(before);
        let inside = is_part(hidden.chars().next_back()) || is_part(after.chars().next());
        hidden.push_str(if inside { word } else { "[this machine]" });
        rest = after;
    }
    hidden.push_str(rest);
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_hidden_where_it_is_a_word() {
        let check = |text: &str, expected: &str| assert_eq!(without_word(text, "box"), expected);
        check("on box: box-1 failed", "on [this machine]: [this machine]-1 failed");
        check("virtualbox boxes box", "virtualbox boxes [this machine]");
        check("", "");
    }
}
