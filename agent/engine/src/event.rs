//! Progress as values. A [`Sink`] prints, logs or ignores them.

use std::fmt;
use std::path::PathBuf;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// What a step is done to: one package version, for one kernel where that matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Subject {
    /// PACKAGE_NAME.
    pub module: String,
    /// PACKAGE_VERSION.
    pub version: String,
    /// The kernel's release and architecture.
    pub kernel: Option<(String, String)>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.module, self.version)?;
        match &self.kernel {
            Some((release, arch)) => write!(f, " for {release} ({arch})"),
            None => Ok(()),
        }
    }
}

/// The steps of work on a subject, in their usual order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The source is copied and registered.
    Add,
    /// The source is copied to its build directory.
    Prepare,
    /// A patch is applied.
    Patch,
    /// A script of the package runs.
    Script,
    /// make runs.
    Make,
    /// The built modules are examined.
    Check,
    /// The built modules are signed.
    Sign,
    /// The built modules are put into the tree.
    Store,
    /// The modules are installed below /lib/modules.
    Install,
    /// The modules are removed and originals put back.
    Uninstall,
}

impl Step {
    /// The word of a progress line while the step runs.
    pub fn word(self) -> &'static str {
        match self {
            Step::Add => "adding",
            Step::Prepare => "preparing",
            Step::Patch => "patching",
            Step::Script => "running script",
            Step::Make => "building",
            Step::Check => "checking",
            Step::Sign => "signing",
            Step::Store => "saving",
            Step::Install => "installing",
            Step::Uninstall => "uninstalling",
        }
    }

    /// The word of a progress line when this was the last step.
    pub fn outcome(self) -> &'static str {
        match self {
            Step::Add => "added",
            Step::Prepare => "prepared",
            Step::Patch => "patched",
            Step::Script => "ran script",
            Step::Make | Step::Store => "built",
            Step::Check => "checked",
            Step::Sign => "signed",
            Step::Install => "installed",
            Step::Uninstall => "uninstalled",
        }
    }
}

/// A progress event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A step begins.
    Started {
        /// What it is done to.
        subject: Subject,
        /// Which step.
        step: Step,
        /// The patch, script or directory it is about; may be empty.
        detail: String,
    },
    /// The work on a subject succeeded.
    Finished {
        /// What it is done to.
        subject: Subject,
        /// The last step.
        step: Step,
    },
    /// The work on a subject failed; the returned value has the details.
    Failed {
        /// What it is done to.
        subject: Subject,
        /// Why, in one sentence.
        reason: String,
        /// Where the log is.
        log: Option<PathBuf>,
    },
    /// depmod begins, once for all changes to the modules of a kernel; it takes seconds.
    DepmodStarted {
        /// The kernel's release.
        release: String,
    },
    /// depmod ended; the returned value says whether it failed.
    DepmodEnded {
        /// The kernel's release.
        release: String,
    },
    /// Information for the user.
    Note(#[serde(serialize_with = "as_text")] String),
    /// A line that a script of a package printed.
    #[serde(rename = "note")]
    ScriptLine(#[serde(serialize_with = "as_text")] String),
    /// Something that the author of a package should change; it does not matter to a user who installs it.
    Advice {
        /// What is wrong with what.
        text: String,
        /// Suggested fix.
        hint: Option<String>,
    },
    /// Something that the user should look at; the work goes on.
    Warning {
        /// What is wrong with what.
        text: String,
        /// Suggested fix.
        hint: Option<String>,
    },
}

/// Gives the text of a note a name: a tagged event has to be an object.
fn as_text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_struct("Note", 1)?;
    object.serialize_field("text", text)?;
    object.end()
}

/// Takes events; called from several threads at once.
pub trait Sink: Sync {
    /// Takes one event.
    fn emit(&self, event: Event);
}

/// Ignores everything.
impl Sink for () {
    fn emit(&self, _: Event) {}
}

impl<F: Fn(Event) + Sync> Sink for F {
    fn emit(&self, event: Event) {
        self(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_an_object_too() {
        let note = serde_json::to_string(&Event::Note("waiting".into())).expect("JSON");
        assert_eq!(note, r#"{"event":"note","text":"waiting"}"#);
        let line = serde_json::to_string(&Event::ScriptLine("done".into())).expect("JSON");
        assert_eq!(line, r#"{"event":"note","text":"done"}"#);
    }
}
