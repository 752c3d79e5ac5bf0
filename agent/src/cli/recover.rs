//! `recover`: takes back a driver that stopped the machine when it was loaded for the first time, or kept it from starting.

use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::rollback;
use super::work;
use crate::apply;
use crate::exit::Exit;
use crate::report::Document;
use crate::report::progress::{print_json, print_note, print_text};
use crate::state::records::{Quarantined, Records};

pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    let check = context.options.check;
    let Recovered { quarantined, undone } = if check {
        Recovered::default()
    } else {
        let _lock = context.writer()?;
        take_back(context, &Records::open(&context.paths)?)?
    };
    let has_changed = !quarantined.is_empty() || !undone.is_empty();
    let exit = context.exit(has_changed);
    if context.options.json {
        let undone: Vec<_> = undone.iter().map(rollback::document).collect();
        let body = json!({ "check": check, "quarantined": quarantined, "undone": undone });
        print_json(&Document::new("recover", exit, body));
        return Ok(exit);
    }
    if check {
        let records = Records::open_to_read(&context.paths)?;
        for mark in records.first_loads()? {
            print_text(format_args!(
                "would look at {} for kernel {}: it was being loaded for the first time",
                mark.offer, mark.kernel
            ));
        }
        if let Some(undo) = apply::undo(context.root()) {
            let (entry, kernel) = (undo.entry, &undo.kernel);
            print_text(format_args!(
                "would go back to entry {entry} of the history for {} on kernel {kernel}: boots have ended before {} was reached",
                undo.packages.join(", "),
                undo.target
            ));
        }
        return Ok(exit);
    }
    for step in &undone {
        print_text(rollback::sentence(step, true));
    }
    for Quarantined {
        package,
        version,
        kernel,
        reason,
        ..
    } in &quarantined
    {
        print_text(format_args!(
            "removed {package} {version} from kernel {kernel}: {reason}"
        ));
    }
    if !has_changed {
        print_note("no driver stopped this machine when it was loaded for the first time");
    }
    Ok(exit)
}

/// What was taken back before a run begins.
#[derive(Default)]
pub(super) struct Recovered {
    /// Versions that stopped this machine when they were loaded for the first time.
    pub(super) quarantined: Vec<Quarantined>,
    /// What was undone because boots ended early.
    pub(super) undone: Vec<rollback::Step>,
}

/// Takes back what was being loaded for the first time when this machine stopped, and what kept it from starting; ends a rollback that was
/// killed. Mostly there is nothing.
pub(super) fn take_back(context: &Context, records: &Records) -> Result<Recovered, Failure> {
    let undone = rollback::undo_trial(context, records)?;
    rollback::resume(context, records)?;
    let mut recovered = Recovered {
        undone,
        ..Recovered::default()
    };
    if !records.first_loads()?.is_empty() || apply::has_first_load_file(context.root()) {
        let tree = context.tree()?;
        let work = work::begin(context, &tree, records)?;
        recovered.quarantined = work.worker().recover()?;
    }
    Ok(recovered)
}
