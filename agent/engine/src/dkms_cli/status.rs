//! `status`: lines for people and scripts, or one JSON document.

use std::io::{self, Write};

use serde::Serialize;

use super::request::Filter as Wanted;
use super::session::Session;
use crate::tree::{Filter, Status, WeakStatus};

/// What `status --json` prints. `schema` changes when a field changes its meaning or is removed.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: &'static str,
    packages: &'a [Status],
    weak: &'a [WeakStatus],
}

/// Prints the state of everything wanted to `out`.
pub(super) fn print(session: &Session, wanted: &Wanted, out: &mut dyn Write) -> io::Result<()> {
    let (mut packages, mut weak) = (Vec::new(), Vec::new());
    for filter in filters(wanted) {
        for status in session.tree.status(&filter) {
            if !packages.contains(&status) {
                packages.push(status);
            }
        }
        weak.extend(session.tree.weak_status(&filter));
    }
    if session.settings.json {
        let document = Document {
            schema: "dkms-status/1",
            packages: &packages,
            weak: &weak,
        };
        serde_json::to_writer_pretty(&mut *out, &document)?;
        return writeln!(out);
    }
    for status in &packages {
        writeln!(out, "{status}")?;
    }
    for status in &weak {
        writeln!(out, "{status}")?;
    }
    Ok(())
}

/// One filter for each kernel named, one for all if none is.
fn filters(wanted: &Wanted) -> Vec<Filter> {
    let all = Filter {
        module: wanted.module.clone(),
        version: wanted.version.clone(),
        release: None,
        arch: wanted.arch.clone(),
    };
    if wanted.kernels.is_empty() {
        return vec![all];
    }
    let named = wanted.kernels.iter().map(|kernel| Filter {
        release: Some(kernel.release.clone()),
        arch: kernel.arch.clone(),
        ..all.clone()
    });
    named.collect()
}
