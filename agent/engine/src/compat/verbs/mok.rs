//! `generate_mok`: the key pair that signs modules.

use crate::compat::exit::Exit;
use crate::compat::session::Session;
use crate::distribution::Distribution;

/// Makes the key pair if there is none, and says how the firmware gets to know it.
pub(in crate::compat) fn run(session: &Session) -> Exit {
    let lock = match session.lock() {
        Ok(lock) => lock,
        Err(exit) => return exit,
    };
    let is_ubuntu = Distribution::of(&session.root).is_ubuntu();
    match crate::build::ensure_key_pair(&session.tree, &lock, is_ubuntu, None, &session.screen) {
        Ok(pair) => {
            let made = if pair.is_new { "made" } else { "there already" };
            session.screen.say(&format!("signing key {}: {made}", pair.key));
            session.screen.say(&format!(
                "to have Secure Boot accept it: mokutil --import {}",
                pair.certificate.display()
            ));
            Exit::OK
        }
        Err(error) => {
            session.screen.error(&error, error.hint());
            Exit::REFUSED
        }
    }
}
