//! The key that signs modules here: said before anything is built, and where the kernel refused it.

use dkms_engine::kbuild::{NewKeys, ensure_key_pair};

use super::{Goal, Worker};
use crate::candidate::Rules;
use crate::host::SecureBoot;
use crate::mok::{self, Key, Place};
use crate::report::progress::ProgressEvent;
use crate::survey::{Machine, Survey};

impl Worker<'_> {
    fn signing_key(&self, machine: &Machine<'_>, survey: &Survey) -> Key {
        let host = machine.host;
        let release = Some(survey.kernel.release.as_str());
        mok::look_in(&host.root, self.tree, host.distribution.is_ubuntu(), release)
    }

    /// The suggested fix where the kernel does not trust the key that signs modules here.
    pub(super) fn enrolment(&self, machine: &Machine<'_>, survey: &Survey) -> String {
        let is_ubuntu = machine.host.distribution.is_ubuntu();
        let release = Some(survey.kernel.release.as_str());
        match ensure_key_pair(
            self.tree,
            self.lock,
            is_ubuntu,
            release,
            NewKeys::AtDefaultPlace,
            self.reporter,
        ) {
            Ok(_) => enrol_hint(machine.host.signatures.secure_boot, &self.signing_key(machine, survey)),
            Err(error) => error.hint().unwrap_or_else(|| "dkms generate_mok".to_owned()),
        }
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
    if key.is_accepted() {
        return None;
    }
    let text = format!(
        "this machine loads only modules signed by a key that it knows, and its key for modules is not accepted ({}); \
         what is built now is loaded once it is",
        key.words()
    );
    Some((text, key.next_step(true)))
}

/// Suggested fix where the kernel refuses the key: what its enrolment waits for. Without Secure Boot there is no list of keys to add it to.
fn enrol_hint(secure_boot: SecureBoot, key: &Key) -> String {
    let certificate = key.certificate.display();
    match (secure_boot, key.next_step(true)) {
        (SecureBoot::Absent | SecureBoot::Disabled, _) => format!(
            "switch Secure Boot on and run: mokutil --import {certificate}; or start the kernel without module.sig_enforce=1"
        ),
        (SecureBoot::Enabled, Some(next)) => next,
        // CONFIG_INTEGRITY_MACHINE_KEYRING. Without it some distributions take these keys by a change of their own.
        _ if key.place == Some(Place::MokList) => {
            "this kernel does not take the keys of shim's list for modules: boot another one, or let \
             mok_signing_key in /etc/dkms/framework.conf name a key that it takes"
                .to_owned()
        }
        // Only some distributions take keys of the firmware's own database for modules: shim's list is another place.
        _ => format!(
            "mokutil --import {certificate}, then restart, choose `Enroll MOK` and give the password that mokutil asked for"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mok::Enrolment;

    fn key(state: Enrolment) -> Key {
        Key {
            certificate: "/var/lib/dkms/mok.pub".into(),
            sha256: None,
            state,
            place: None,
            list_trusted: None,
        }
    }

    #[test]
    fn the_hint_fits_the_state_of_secure_boot() {
        let check = |secure_boot: SecureBoot, words: &[&str]| {
            let hint = enrol_hint(secure_boot, &key(Enrolment::None));
            assert!(hint.starts_with(words[0]), "{secure_boot:?}: {hint}");
            assert!(
                words.iter().all(|words| hint.contains(words)),
                "{secure_boot:?}: {hint}"
            );
        };
        let import = "mokutil --import /var/lib/dkms/mok.pub";
        check(SecureBoot::Enabled, &["dkms-fetch mok enroll"]);
        check(SecureBoot::Unknown, &[import]);
        check(SecureBoot::Absent, &["switch Secure Boot on", import]);
        check(SecureBoot::Disabled, &["switch Secure Boot on", import]);
        // The kernel refused a key that the firmware knows.
        let check = |place: Place, list_trusted: Option<bool>, words: &str| {
            let key = Key {
                place: Some(place),
                list_trusted,
                ..key(Enrolment::Enrolled)
            };
            let hint = enrol_hint(SecureBoot::Enabled, &key);
            assert!(hint.starts_with(words), "{hint}");
        };
        check(Place::Db, Some(false), import);
        check(Place::MokList, Some(false), "mokutil --trust-mok");
        check(
            Place::MokList,
            Some(true),
            "this kernel does not take the keys of shim's list",
        );
        check(
            Place::MokList,
            None,
            "this kernel does not take the keys of shim's list",
        );
    }

    #[test]
    fn a_key_that_is_not_enrolled_is_warned_about_with_the_way_out() {
        let check = |state: Enrolment, expected: Option<(&str, Option<&str>)>| {
            let found = warning(&key(state));
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

    #[test]
    fn a_key_in_a_list_that_the_kernel_is_told_not_to_trust_is_warned_about() {
        let of = |place: Place, list_trusted: Option<bool>| {
            warning(&Key {
                place: Some(place),
                list_trusted,
                ..key(Enrolment::Enrolled)
            })
        };
        let (text, hint) = of(Place::MokList, Some(false)).expect("a warning");
        assert!(
            text.contains("not accepted (enrolled in shim's list, which the kernel is told not to trust)"),
            "{text}"
        );
        assert_eq!(hint.as_deref(), Some("mokutil --trust-mok, then restart"));
        for (place, list_trusted) in [
            (Place::MokList, Some(true)),
            (Place::MokList, None),
            (Place::Db, Some(false)),
        ] {
            assert_eq!(of(place, list_trusted), None);
        }
    }
}
