//! `report`: the machine at a glance, as JSON, as a page, or as metrics.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::Path;

use dkms_engine::package::{DkmsId, KernelId};
use dkms_engine::tree::{Filter, Tree};

use super::context::Context;
use super::devices::{self, Seen};
use super::failure::Failure;
use super::named_file;
use super::status::{problems, record_of};
use crate::exit::Exit;
use crate::files;
use crate::overview::{Failed, Identity, Installed, KernelOverview, Overview, html, metrics};
use crate::report::progress::{print_json, print_text};
use crate::report::{Document, count, table};
use crate::state::records::{Quarantined, Records};

/// How many entries of the history it has.
const HISTORY: usize = 50;
/// How much of the end of a log.
const LOG_LINES: usize = 25;
const LOG_BYTES: u64 = 16 << 10;

/// What to write.
#[derive(Debug)]
pub(super) struct Outputs<'a> {
    pub(super) html: Option<&'a Path>,
    pub(super) openmetrics: Option<&'a Path>,
    pub(super) identify: bool,
}

pub(super) fn run(context: &Context, outputs: &Outputs<'_>) -> Result<Exit, Failure> {
    let overview = overview(context, outputs.identify)?;
    let mut printed = false;
    let files = [
        (outputs.html, html::page as fn(&Overview) -> String),
        (outputs.openmetrics, metrics::text),
    ];
    for (path, text) in files {
        let Some(path) = path else { continue };
        printed = true;
        let text = text(&overview);
        if path.as_os_str() == "-" {
            // The reader may close the pipe early.
            let _ = std::io::stdout().write_all(text.as_bytes());
        } else {
            named_file::write(context, path, text.as_bytes())?;
        }
    }
    if context.options.json {
        print_json(&Document::new("overview", Exit::Converged, &overview));
    } else if !printed {
        show(&overview);
    }
    Ok(Exit::Converged)
}

/// A few lines for a terminal.
fn show(overview: &Overview) {
    for kernel in &overview.kernels {
        let sum = table::summary(&kernel.devices);
        print_text(format_args!("kernel {}, {sum}", kernel.release));
    }
    print_text(format_args!(
        "{} in the DKMS tree, {} held, {} failed here",
        count(overview.installed.len(), "package"),
        overview.held.len(),
        overview.failed.len()
    ));
    print_text("--html FILE writes a page, --openmetrics FILE metrics, --json all of it");
}

fn overview(context: &Context, identify: bool) -> Result<Overview, Failure> {
    let Seen {
        report, records, tree, ..
    } = devices::look(context)?;
    let kernels = report.kernels.into_iter().map(|kernel| KernelOverview {
        running: context.host.running.as_deref() == Some(&kernel.release),
        release: kernel.release,
        arch: kernel.arch,
        devices: kernel.devices,
    });
    let failed = records.quarantined()?;
    let failed = failed.into_iter().map(|entry| Failed {
        log_end: log_end(&tree, &entry, &context.host.arch),
        entry,
    });
    let mut overview = Overview {
        time: context.now,
        identity: None,
        distribution: context.host.distribution.name().to_owned(),
        signatures_required: context.host.signatures.required(),
        repositories: report.repositories,
        kernels: kernels.collect(),
        installed: installed(&tree, &records)?,
        held: records.holds()?,
        failed: failed.collect(),
        history: records.history(HISTORY)?,
        warnings: report.warnings,
    };
    let identity = identity(context);
    if identify {
        overview.identity = Some(identity);
    } else {
        overview.anonymize(&identity);
    }
    Ok(overview)
}

fn installed(tree: &Tree, records: &Records) -> Result<Vec<Installed>, Failure> {
    let noted = records.installed()?;
    let one = |status: dkms_engine::tree::Status| {
        let problems = problems(&status);
        let kernel = status.kernel.map(|kernel| kernel.release).unwrap_or_default();
        let record = record_of(&noted, &status.package, &kernel);
        Installed {
            repository: record.map(|record| record.repository.clone()),
            package: status.package.module,
            version: status.package.version,
            kernel,
            state: status.state.word().to_owned(),
            problems,
        }
    };
    Ok(tree.status(&Filter::default()).into_iter().map(one).collect())
}

fn identity(context: &Context) -> Identity {
    let name = fs::read_to_string(context.root().join("/etc/hostname")).unwrap_or_default();
    Identity {
        hostname: name.trim().to_owned(),
        machine_id: context.host.machine_id.clone(),
    }
}

/// The end of the log of a build that failed, where it is still there.
fn log_end(tree: &Tree, entry: &Quarantined, arch: &str) -> Option<String> {
    let kernel = KernelId::new(&entry.kernel, arch)?;
    // The version in the tree may be another one than that in the index.
    let named = DkmsId::new(&entry.package, &entry.version);
    let others = tree.packages().into_iter().filter(|id| id.module == entry.package);
    let mut logs = named
        .into_iter()
        .chain(others)
        .map(|id| tree.failed_dir(&id, &kernel).join("make.log"));
    end_of(&logs.find(|log| log.is_file())?)
}

fn end_of(log: &Path) -> Option<String> {
    let mut file = files::open_regular(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Some(lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
}
