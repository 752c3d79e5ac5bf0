//! `history`: what was done on this machine.

use super::context::Context;
use super::devices::terminal_columns;
use super::failure::Failure;
use crate::exit::Exit;
use crate::report::progress::{print_json, print_text};
use crate::report::{Document, history};
use crate::state::records::Records;

pub(super) fn run(context: &Context, last: u32) -> Result<Exit, Failure> {
    let records = Records::open_to_read(&context.paths)?;
    let mut entries = records.numbered_history(last as usize)?;
    entries.reverse();
    if context.options.json {
        let body = serde_json::json!({ "entries": entries });
        print_json(&Document::new("history", Exit::Converged, body));
        return Ok(Exit::Converged);
    }
    let columns = terminal_columns().filter(|_| !context.options.wide);
    history::lines(&entries, columns).iter().for_each(print_text);
    Ok(Exit::Converged)
}
