//! Progress and errors on stderr, one line a step. stdout is for `status` alone.

use std::error::Error;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use dkms_support::chain;
use dkms_support::terminal::printable;

use crate::event::{Event, Sink, Step, Subject};
use crate::excerpt;
use crate::kbuild::BuildFailure;

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verbosity {
    /// Errors.
    Quiet,
    /// Also each build and each result.
    Normal,
    /// Also each step and note.
    Verbose,
}

/// Prints to stderr, in color only where that is wanted (not with NO_COLOR or in a pipe).
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// What is shown.
    pub(super) verbosity: Verbosity,
}

impl Screen {
    /// An error with all its causes, the place in a dkms.conf that it is about, and the suggested fix.
    pub(super) fn error(self, error: &(dyn Error + 'static), hint: Option<String>) {
        anstream::eprintln!("{RED}error:{RED:#} {}", printable(&chain(error)));
        excerpt::of(error).iter().for_each(|text| plain(text));
        hint_line(hint);
    }

    /// A failed build: as [`Screen::error`], then the last lines of its log.
    pub(super) fn failure(self, failure: &BuildFailure) {
        let subject = failure.package.subject(Some(&failure.kernel));
        let text = format!("build of {subject} failed: {failure}");
        anstream::eprintln!("{RED}error:{RED:#} {}", printable(&text));
        excerpt::of(&failure.error).iter().for_each(|text| plain(text));
        hint_line(failure.hint());
        self.tail(failure.log.as_deref(), &failure.tail);
    }

    /// An error given as a text.
    pub(super) fn complaint(self, text: &str, hint: Option<String>) {
        anstream::eprintln!("{RED}error:{RED:#} {}", printable(text));
        hint_line(hint);
    }

    /// A warning; the work goes on.
    pub(super) fn warning(self, text: &str, hint: Option<String>) {
        if self.verbosity >= Verbosity::Normal {
            anstream::eprintln!("{YELLOW}warning:{YELLOW:#} {}", printable(text));
            hint_line(hint);
        }
    }

    /// A result.
    pub(super) fn say(self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            plain(text);
        }
    }

    /// The last lines of a log.
    fn tail(self, log: Option<&Path>, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        if let Some(log) = log {
            plain(&format!("the last lines of {}:", log.display()));
        }
        lines.iter().for_each(|line| plain(&format!("    {line}")));
    }

    /// A result about one package.
    pub(super) fn done(self, subject: &Subject, word: &str) {
        if self.verbosity >= Verbosity::Normal {
            anstream::eprintln!("{subject}: {GREEN}{word}{GREEN:#}");
        }
    }
}

impl Sink for Screen {
    fn emit(&self, event: Event) {
        match event {
            Event::Started { subject, step, detail } => {
                let shown = if step == Step::Make {
                    Verbosity::Normal
                } else {
                    Verbosity::Verbose
                };
                if self.verbosity >= shown {
                    let detail = if detail.is_empty() {
                        detail
                    } else {
                        format!(" {detail}")
                    };
                    plain(&format!("{subject}: {}{detail}", step.word()));
                }
            }
            Event::Finished { subject, step } => self.done(&subject, past(step)),
            Event::Failed { subject, reason, log } => {
                let log = log.map(|log| format!("less {}", log.display()));
                self.complaint(&format!("{subject}: {reason}"), log);
            }
            Event::DepmodStarted { release } => self.say(&format!("{release}: running depmod")),
            Event::DepmodEnded { .. } => {}
            Event::Note(text) if self.verbosity >= Verbosity::Verbose => plain(&text),
            Event::Note(_) => {}
            Event::ScriptLine(line) => self.say(&line),
            Event::Advice { text, hint } | Event::Warning { text, hint } => self.warning(&text, hint),
        }
    }
}

/// One or more lines without colours.
fn plain(text: &str) {
    anstream::eprintln!("{}", printable(text));
}

fn hint_line(hint: Option<String>) {
    if let Some(hint) = hint {
        anstream::eprintln!("{CYAN}hint:{CYAN:#} {}", printable(&hint));
    }
}

/// What was done when the last step was `step`.
fn past(step: Step) -> &'static str {
    match step {
        Step::Add => "added",
        Step::Prepare | Step::Patch | Step::Script => "prepared",
        Step::Make | Step::Check | Step::Sign | Step::Store => "built",
        Step::Install => "installed",
        Step::Uninstall => "uninstalled",
    }
}
