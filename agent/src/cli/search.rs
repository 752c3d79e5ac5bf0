//! `search`: packages by name, words, modalias or numbers.

use std::collections::BTreeSet;
use std::io::Write as _;

use dkms_index::modalias::Modalias;
use dkms_support::terminal::printable;
use serde::Serialize;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::nearest::nearest;
use crate::exit::Exit;
use crate::report::Document;
use crate::report::progress::print_json;
use crate::state::index::{Index, PackageRow};

/// One package version that was found.
#[derive(Serialize)]
struct Found {
    name: String,
    version: String,
    repository: String,
    summary: String,
    modules: Vec<String>,
    /// The kernels it is known to build for.
    builds_on: Vec<String>,
}

pub(super) fn run(context: &Context, terms: &[String]) -> Result<Exit, Failure> {
    let index = context.index()?;
    if index.repositories().next().is_none() {
        return Err(super::nothing_cached(context));
    }
    let mut found: Option<BTreeSet<PackageRow>> = None;
    for term in terms {
        let hits = look_up(&index, term)?;
        found = Some(match found {
            Some(before) => before.intersection(&hits).copied().collect(),
            None => hits,
        });
    }
    let mut packages = Vec::new();
    for id in found.unwrap_or_default() {
        let record = index.record(id)?;
        let built = |fact: &&dkms_index::document::record::BuildFact| {
            fact.outcome == dkms_index::document::record::BuildOutcome::Built
        };
        let built_on = record.builds.iter().filter(built).map(|fact| fact.kernel.clone());
        let mut builds_on: Vec<String> = built_on.collect();
        // By several compilers.
        builds_on.dedup();
        packages.push(Found {
            builds_on,
            name: record.name,
            version: record.version,
            repository: index.repository(id).to_string(),
            summary: record.summary,
            modules: record.modules,
        });
    }
    if packages.is_empty() && !context.options.detailed_exitcode {
        let terms = terms.join(" ");
        let nearest = nearest(super::packages::parse(&terms).0, &index.names()?);
        return Err(Failure::NothingFound { terms, nearest });
    }
    let exit = if packages.is_empty() {
        Exit::NoMatch
    } else {
        Exit::Converged
    };
    if context.options.json {
        print_json(&Document::new("search", exit, json!({ "packages": packages })));
    } else {
        let mut out = anstream::stdout();
        let bold = anstyle::Style::new().bold();
        for package in &packages {
            let Found {
                name,
                version,
                repository,
                summary,
                ..
            } = package;
            let rest = format!("{version} ({repository})  {summary}");
            // The reader may close the pipe early.
            let _ = writeln!(out, "{bold}{}{bold:#} {}", printable(name), printable(&rest));
            let kernels = if package.builds_on.is_empty() {
                "not tried".to_owned()
            } else {
                package.builds_on.join(", ")
            };
            let modules = package.modules.join(", ");
            let _ = writeln!(
                out,
                "    {}",
                printable(&format!("modules {modules}; builds on {kernels}"))
            );
        }
    }
    Ok(exit)
}

/// What one term finds: a modalias or `vendor:device` by the patterns, everything else by the text.
fn look_up(index: &Index, term: &str) -> Result<BTreeSet<PackageRow>, Failure> {
    let mut hits: BTreeSet<PackageRow> = BTreeSet::new();
    for modalias in modaliases(term) {
        hits.extend(index.find(&modalias)?.into_iter().map(|hit| hit.package));
    }
    if hits.is_empty() {
        hits.extend(index.search(term)?);
    }
    Ok(hits)
}

/// The modaliases to look up for a term: the term itself, or one for each bus with vendor and device numbers.
fn modaliases(term: &str) -> Vec<Modalias> {
    let number = |text: &str| {
        (1..=4)
            .contains(&text.len())
            .then(|| u16::from_str_radix(text, 16).ok())
            .flatten()
    };
    let texts = match term
        .split_once(':')
        .map(|(vendor, device)| (number(vendor), number(device)))
    {
        Some((Some(v), Some(d))) => vec![
            format!("pci:v{v:08X}d{d:08X}sv00000000sd00000000bc00sc00i00"),
            format!("usb:v{v:04X}p{d:04X}d0000dc00dsc00dp00ic00isc00ip00in00"),
            format!("hid:b0003g0001v{v:08X}p{d:08X}"),
            format!("sdio:c00v{v:04X}d{d:04X}"),
        ],
        _ if term.contains(':') => vec![term.to_owned()],
        _ => Vec::new(),
    };
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_mean_devices() {
        let check = |term: &str, expected: usize| assert_eq!(modaliases(term).len(), expected, "{term}");
        check("10ec:8168", 4);
        check("pci:v000010ECd00008168sv*", 1);
        check("realtek", 0);
        check("10ec:", 1);
    }
}
