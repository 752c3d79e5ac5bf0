//! `devices`, the default: every device with its verdict.

use std::io::Write as _;

use super::context::Context;
use super::failure::Failure;
use super::view::View;
use crate::exit::Exit;
use crate::report::progress::print_json;
use crate::report::{KernelReport, table};
use crate::state::records::Records;

pub(super) fn run(context: &Context, all: bool) -> Result<Exit, Failure> {
    let (devices, here) = context.devices()?;
    let index = context.any_index();
    let records = Records::open_to_read(&context.paths)?;
    let rules = context.rules(&index, &records)?;
    let view = View::open(context, &devices, here, &index, &records)?;
    let mut report = view.report("devices", &index)?;
    for survey in &view.surveys {
        view.warn_about(context, survey, &rules, &mut report);
        report
            .kernels
            .push(view.kernel(survey, &view.machine.plan(survey, &rules)));
    }
    if context.options.json {
        super::warn_without_index(context, &index);
        print_json(&report);
    } else {
        report.kernels.iter().for_each(|kernel| show(kernel, all));
        super::warn_without_index(context, &index);
    }
    Ok(Exit::Converged)
}

/// The table of one kernel, with its heading and sum.
pub(super) fn show(kernel: &KernelReport, all: bool) {
    let mut out = anstream::stdout();
    let bold = anstyle::Style::new().bold();
    let text = format!(
        "{bold}kernel {}{bold:#} ({})\n{}{}\n",
        kernel.release,
        kernel.arch,
        table::devices(kernel, width(), all),
        table::summary(kernel)
    );
    // The reader may close the pipe early.
    let _ = out.write_all(text.as_bytes());
}

/// How wide the terminal is; 80 columns where there is none.
pub(super) fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or(80, |size| usize::from(size.ws_col))
        .max(1)
}
