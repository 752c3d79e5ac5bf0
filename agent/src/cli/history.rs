//! `history`: what was done on this machine.

use std::io::Write as _;

use dkms_support::terminal::printable;

use super::context::Context;
use super::failure::Failure;
use crate::exit::Exit;
use crate::report::Document;
use crate::report::progress::print_json;
use crate::state::records::{NumberedEntry, Records};

pub(super) fn run(context: &Context, last: u32) -> Result<Exit, Failure> {
    let records = Records::open_to_read(&context.paths)?;
    let mut entries = records.numbered_history(last as usize)?;
    entries.reverse();
    if context.options.json {
        let body = serde_json::json!({ "entries": entries });
        print_json(&Document::new("history", Exit::Converged, body));
        return Ok(Exit::Converged);
    }
    let mut out = anstream::stdout();
    for NumberedEntry {
        entry: number,
        what: entry,
    } in &entries
    {
        let at = entry.at.strftime("%Y-%m-%d %H:%M:%S");
        let what = [entry.package.as_str(), &entry.version, &entry.kernel].join(" ");
        let detail = if entry.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", entry.detail)
        };
        let line = format!("{:<10} {} {}{detail}", entry.action, what.trim(), entry.outcome);
        // The reader may close the pipe early.
        let _ = writeln!(out, "{number:>5}  {at}Z  {}", printable(&line));
    }
    Ok(Exit::Converged)
}
