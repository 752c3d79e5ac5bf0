//! Said before anything is built: whether the machine will load what is signed here.

use dkms_engine::kbuild::certificate_path;

use super::{Goal, Worker};
use crate::candidate::Rules;
use crate::mok::{self, Enrolment, Key};
use crate::report::progress::ProgressEvent;
use crate::state::Paths;
use crate::survey::{Machine, Survey};

impl Worker<'_> {
    /// The key that signs modules on this machine.
    pub(super) fn signing_key(&self, machine: &Machine<'_>, survey: &Survey) -> Key {
        let root = &machine.host.root;
        let release = Some(survey.kernel.release.as_str());
        let certificate = certificate_path(self.tree, machine.host.distribution.is_ubuntu(), release);
        mok::look(root, &certificate, &Paths::of(root).mok_request())
    }

    /// Warns where something is to be installed for the running kernel, which loads only signed modules, and the key is not enrolled.
    pub(super) fn warn_of_signing_key(&self, goal: &Goal<'_>, machine: &Machine<'_>, survey: &Survey, rules: &Rules) {
        if !machine.host.signatures.required() {
            return;
        }
        let has_steps = match goal {
            Goal::Devices => !machine.plan(survey, rules).steps.is_empty(),
            Goal::Named(plan) => !plan.steps.is_empty(),
        };
        if !has_steps {
            return;
        }
        if let Some((text, hint)) = warning(&self.signing_key(machine, survey)) {
            self.reporter.report(ProgressEvent::Warning { text, hint });
        }
    }
}

/// The warning about a key on a machine that loads only signed modules.
fn warning(key: &Key) -> Option<(String, Option<String>)> {
    if key.state == Enrolment::Enrolled {
        return None;
    }
    let text = format!(
        "this machine loads only modules signed by a key that it knows, and its key for modules is not enrolled ({}); \
         what is built now is loaded once it is",
        key.state.words()
    );
    Some((text, key.next_step(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_enrolled_is_warned_about_with_the_way_out() {
        let check = |state: Enrolment, expected: Option<(&str, Option<&str>)>| {
            let key = Key {
                certificate: "/var/lib/dkms/mok.pub".into(),
                sha256: None,
                state,
                place: None,
                list_trusted: None,
            };
            let found = warning(&key);
            let found = found.as_ref().map(|(text, hint)| (text.as_str(), hint.as_deref()));
            match (found, expected) {
                (Some((text, hint)), Some((words, beginning))) => {
                    assert!(text.contains(words), "{text}");
                    assert_eq!(hint.and_then(|hint| hint.get(..beginning?.len())), beginning, "{text}");
                }
                (found, expected) => assert_eq!(found, expected),
            }
        };
        check(Enrolment::Enrolled, None);
        check(
            Enrolment::NoKey,
            Some(("there is no key yet", Some("dkms-fetch mok enroll"))),
        );
        check(Enrolment::None, Some(("was not asked", Some("dkms-fetch mok enroll"))));
        check(Enrolment::Pending, Some(("pending", Some("restart"))));
        check(
            Enrolment::Declined,
            Some(("declined", Some("dkms-fetch mok enroll asks once more"))),
        );
        check(Enrolment::NoFirmware, Some(("no EFI variables", None)));
    }
}
