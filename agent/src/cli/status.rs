//! `status`: what is installed, held and quarantined.

use std::path::Path;

use serde::Serialize;

use dkms_engine::package::DkmsId;
use dkms_engine::tree::{Filter, State, Status, Tree};

use super::context::Context;
use super::failure::Failure;
use crate::exit::Exit;
use crate::report::Document;
use crate::report::progress::{path_in_root, print_json, print_note, print_text};
use crate::state::records::{Hold, InstallRecord, Quarantined, Records};

/// The whole answer.
#[derive(Serialize)]
struct Answer {
    installed: Vec<Line>,
    held: Vec<Hold>,
    quarantined: Vec<QuarantinedLine>,
}

/// A version that failed here.
#[derive(Serialize)]
struct QuarantinedLine {
    #[serde(flatten)]
    entry: Quarantined,
    /// What is left of it on this machine: its source, and its directory in the tree, where the log of its build is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<String>,
}

/// One package for one kernel.
#[derive(Serialize)]
struct Line {
    package: String,
    dkms_version: String,
    kernel: String,
    state: State,
    /// Where it came from; absent when it was not installed by this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<InstallRecord>,
    /// What is wrong with it, in words; empty when nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

/// What is wrong with a package in the tree, in words.
pub(super) fn problems(status: &Status) -> Vec<String> {
    let missing = status
        .modules_missing
        .then(|| "modules are missing below /lib/modules".to_owned());
    let differ = status
        .modules_differ
        .then(|| "installed modules are not those that were built".to_owned());
    missing.into_iter().chain(differ).collect()
}

/// What the records say of a package in the tree.
pub(super) fn record_of<'r>(records: &'r [InstallRecord], package: &DkmsId, kernel: &str) -> Option<&'r InstallRecord> {
    records
        .iter()
        .find(|one| one.package == package.module && one.dkms_version == package.version && one.kernel == kernel)
}

pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    let tree = context.tree()?;
    let records = Records::open_to_read(&context.paths)?;
    let noted = records.installed()?;
    let installed = tree
        .status(&Filter::default())
        .into_iter()
        .filter(|status| status.kernel.is_some())
        .map(|status| {
            let problems = problems(&status);
            let kernel = status.kernel.map(|kernel| kernel.release).unwrap_or_default();
            Line {
                source: record_of(&noted, &status.package, &kernel).cloned(),
                package: status.package.module,
                dkms_version: status.package.version,
                kernel,
                state: status.state,
                problems,
            }
        });
    let answer = Answer {
        installed: installed.collect(),
        held: records.holds()?,
        quarantined: quarantined(context, &tree, &records)?,
    };
    if context.options.json {
        print_json(&Document::new("status", Exit::Converged, &answer));
    } else {
        show(&answer);
    }
    Ok(Exit::Converged)
}

/// The quarantined versions, each with what is left of it.
fn quarantined(context: &Context, tree: &Tree, records: &Records) -> Result<Vec<QuarantinedLine>, Failure> {
    let shown = |path: &Path| path_in_root(context.root(), path).display().to_string();
    let packages = tree.packages();
    let line = |entry: Quarantined| -> Result<QuarantinedLine, Failure> {
        let mut left = Vec::new();
        for directory in records.directories_of(&entry.bundle_sha256)? {
            let source = tree.source_tree().join(&directory);
            let package = packages.iter().find(|package| package.dashed() == directory);
            let in_tree = package.map(|package| tree.version_dir(package));
            let paths = [Some(source), in_tree].into_iter().flatten();
            left.extend(paths.filter(|path| path.exists()).map(|path| shown(&path)));
        }
        Ok(QuarantinedLine { entry, left })
    };
    records.quarantined()?.into_iter().map(line).collect()
}

fn show(answer: &Answer) {
    for line in &answer.installed {
        let from = match &line.source {
            Some(source) if source.version == line.dkms_version => format!("  from {}", source.repository),
            Some(source) => format!("  {} from {}", source.version, source.repository),
            None => String::new(),
        };
        let problems = line
            .problems
            .iter()
            .map(|problem| format!("  ({problem})"))
            .collect::<String>();
        print_text(format_args!(
            "{:<10} {} {}  kernel {}{from}{problems}",
            line.state.word(),
            line.package,
            line.dkms_version,
            line.kernel
        ));
    }
    for hold in &answer.held {
        print_text(format_args!("{:<10} {}", "held", hold.package));
    }
    for QuarantinedLine { entry, left } in &answer.quarantined {
        let Quarantined {
            package,
            version,
            kernel,
            reason,
            ..
        } = entry;
        print_text(format_args!(
            "{:<10} {package} {version}  kernel {kernel}: {reason}",
            "quarantine"
        ));
        if !left.is_empty() {
            print_text(format_args!(
                "{:<10} left of it: {}; `dkms-fetch remove {package}={version}` removes that",
                "",
                left.join(", ")
            ));
        }
    }
    if answer.installed.is_empty() && answer.held.is_empty() && answer.quarantined.is_empty() {
        print_note("nothing is installed, held or quarantined");
    }
}
