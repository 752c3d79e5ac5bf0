//! `recover`: takes back a driver that stopped the machine when it was loaded for the first time.

use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::work;
use crate::exit::Exit;
use crate::report::Document;
use crate::report::progress::{print_json, print_note, print_text};
use crate::state::records::{Quarantined, Records};

pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    let check = context.options.check;
    let quarantined = if check {
        Vec::new()
    } else {
        let _lock = context.writer()?;
        work::recover(context, &Records::open(&context.paths)?)?
    };
    let exit = if !quarantined.is_empty() && context.options.detailed_exitcode {
        Exit::Changed
    } else {
        Exit::Converged
    };
    if context.options.json {
        let body = json!({ "check": check, "quarantined": quarantined });
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
        return Ok(exit);
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
    if quarantined.is_empty() {
        print_note("no driver stopped this machine when it was loaded for the first time");
    }
    Ok(exit)
}
