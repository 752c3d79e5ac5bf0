//! Progress of many builds: a bar on a terminal, one line for each build elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};

use dkms_engine::event::{Event, Step, Subject};
use dkms_support::terminal::printable;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far the builds are.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
    done: AtomicUsize,
}

impl Progress {
    /// For `total` builds, which are called `what`.
    pub(super) fn new(total: usize, what: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64);
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(std::time::Duration::from_millis(500));
            bar
        });
        if bar.is_none() {
            anstream::eprintln!("{total} {what}");
        }
        Self {
            bar,
            total,
            done: AtomicUsize::new(0),
        }
    }

    /// Takes one event of the engine.
    pub(super) fn take(&self, event: Event) {
        match event {
            Event::Started {
                subject,
                step: Step::Make,
                ..
            } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(printable(&subject.to_string()).into_owned());
                }
            }
            Event::Finished {
                subject,
                step: Step::Store,
            } => self.ended(&subject, "built"),
            Event::Failed { subject, .. } => self.ended(&subject, "failed"),
            Event::Advice { text, .. } | Event::Warning { text, .. } => self.say(&format!("warning: {text}")),
            Event::Started { .. }
            | Event::Finished { .. }
            | Event::DepmodStarted { .. }
            | Event::DepmodEnded { .. }
            | Event::Note(_)
            | Event::ScriptLine(_) => {}
        }
    }

    fn ended(&self, subject: &Subject, how: &str) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        match &self.bar {
            Some(bar) => bar.set_position(done as u64),
            None => self.say(&format!("{done:>3}/{} {how:<6} {subject}", self.total)),
        }
    }

    fn say(&self, line: &str) {
        let line = printable(line);
        match &self.bar {
            Some(bar) => bar.suspend(|| anstream::eprintln!("{line}")),
            None => anstream::eprintln!("{line}"),
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
