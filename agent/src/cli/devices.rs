//! `devices`, the default: every device with its verdict.

use std::io::Write as _;

use dkms_engine::tree::Tree;

use super::context::Context;
use super::failure::Failure;
use super::requirement;
use super::view::View;
use crate::exit::{self, Exit};
use crate::report::progress::{print_json, print_text};
use crate::report::table::{self, Look};
use crate::report::{KernelReport, Report};
use crate::state::index::Index;
use crate::state::records::Records;

/// A machine that was looked at, and what it was looked at with.
pub(super) struct Seen {
    /// Every device with its verdict, for each target kernel; without exit code and duration.
    pub(super) report: Report,
    pub(super) index: Index,
    pub(super) records: Records,
    pub(super) tree: Tree,
}

/// Looks at the devices of a machine; changes nothing.
pub(super) fn look(context: &Context) -> Result<Seen, Failure> {
    let (devices, here) = context.devices()?;
    let index = context.any_index();
    let records = Records::open_to_read(&context.paths)?;
    let rules = context.rules(&index, &records)?;
    let view = View::open(context, &devices, here, &index, &records)?;
    let mut report = view.report(context, "devices", &index)?;
    for survey in &view.surveys {
        view.warn_about(context, survey, &rules, &mut report);
        report
            .kernels
            .push(view.kernel(survey, &view.machine.plan(survey, &rules)));
    }
    let tree = view.tree;
    Ok(Seen {
        report,
        index,
        records,
        tree,
    })
}

pub(super) fn run(context: &Context, all: bool) -> Result<Exit, Failure> {
    let Seen { mut report, index, .. } = look(context)?;
    let exits: Vec<Exit> = report
        .kernels
        .iter()
        .map(|kernel| requirement::apply(context, kernel, Exit::Converged))
        .collect();
    let exit = exit::combined(&exits);
    report.exit = exit.code();
    report.duration_ms = context.elapsed_ms();
    if context.options.json {
        super::warn_without_index(context, &index);
        print_json(&report);
    } else {
        report
            .kernels
            .iter()
            .for_each(|kernel| show(kernel, all, context.options.wide));
        report
            .kernels
            .iter()
            .filter_map(table::next_step)
            .take(1)
            .for_each(print_text);
        super::warn_without_index(context, &index);
    }
    Ok(exit)
}

/// The table of one kernel, with its heading and sum.
pub(super) fn show(kernel: &KernelReport, all: bool, wide: bool) {
    let bold = anstyle::Style::new().bold();
    let text = format!(
        "{bold}kernel {}{bold:#} ({})\n{}{}\n",
        kernel.release,
        kernel.arch,
        table::devices(kernel, table_look(all, wide)),
        table::summary(&kernel.devices)
    );
    print(&text);
}

/// The table of one kernel alone.
pub(super) fn show_devices(kernel: &KernelReport, wide: bool) {
    print(&table::devices(kernel, table_look(false, wide)));
}

fn table_look(all: bool, wide: bool) -> Look {
    Look {
        columns: terminal_columns().filter(|_| !wide),
        all,
        ascii: !is_utf8(|name| std::env::var(name).ok()),
    }
}

fn print(text: &str) {
    // The reader may close the pipe early.
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// How wide the terminal is; none where standard output is none.
pub(super) fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether the locale has UTF-8 (locale(7): the first of these that is set and not empty counts). `C.UTF-8` has it, `C` has not.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty());
    let locale = set.unwrap_or_default().to_ascii_lowercase();
    locale.ends_with("utf-8") || locale.ends_with("utf8") || locale.contains("utf-8@") || locale.contains("utf8@")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides_on_ascii() {
        let check = |set: &[(&str, &str)], expected: bool| {
            let variable = |name: &str| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(is_utf8(variable), expected, "{set:?}");
        };
        check(&[], false);
        check(&[("LANG", "de_DE.UTF-8")], true);
        check(&[("LANG", "de_DE.utf8@euro")], true);
        check(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")], false);
        check(&[("LC_ALL", ""), ("LANG", "C.UTF-8")], true);
        check(&[("LC_CTYPE", "C.UTF-8"), ("LANG", "C")], true);
    }
}
