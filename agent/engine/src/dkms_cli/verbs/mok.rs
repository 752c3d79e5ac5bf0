//! `generate_mok`: the key pair that signs modules.

use crate::distribution::Distribution;
use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::session::Session;
use crate::kbuild::NewKeys;

/// Makes the key pair if there is none, and prints how it is enrolled.
pub(in crate::dkms_cli) fn run(session: &Session) -> Exit {
    let lock = match session.lock() {
        Ok(lock) => lock,
        Err(exit) => return exit,
    };
    let is_ubuntu = Distribution::of(&session.root).is_ubuntu();
    match crate::kbuild::ensure_key_pair(
        &session.tree,
        &lock,
        is_ubuntu,
        None,
        NewKeys::WhereNamed,
        &session.screen,
    ) {
        Ok(pair) => {
            crate::kbuild::warn_of_shared_key(&session.tree, &pair, &session.screen);
            let made = if pair.is_new { "made" } else { "there already" };
            session.screen.say(&format!("signing key {}: {made}", pair.key));
            session.screen.say(&format!(
                "to have Secure Boot accept it: {}",
                crate::kbuild::enrolment(&session.root, &pair.certificate)
            ));
            Exit::OK
        }
        Err(error) => {
            session.screen.error(&error, error.hint());
            Exit::REFUSED
        }
    }
}
