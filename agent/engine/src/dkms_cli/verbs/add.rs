//! `add`, and the adding that other verbs begin with.

use crate::conf::ConfContext;
use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::request::{KernelName, Subject};
use crate::dkms_cli::session::{Session, absolute, running};
use crate::package::DkmsId;
use crate::script::ScriptConsent;
use crate::tree::{AddOptions, TreeLock};

/// `add`: it is an error when the package is known already.
pub(in crate::dkms_cli) fn run(session: &Session, subject: &Subject) -> Exit {
    let lock = match session.lock() {
        Ok(lock) => lock,
        Err(exit) => return exit,
    };
    // Also where the package is known already: a newer release of an rpm with the same version removes the old release afterwards,
    // and what that one added has to stay.
    if let Subject::Package(package) = subject {
        session.note_rpm_transaction(&package.into());
    }
    match add(session, &lock, subject) {
        Ok(package) => {
            if !matches!(subject, Subject::Package(_)) {
                session.note_rpm_transaction(&package);
            }
            Exit::OK
        }
        Err(exit) => exit,
    }
}

/// The package that `build` and `install` are about, added if it is not yet.
pub(super) fn ensure(session: &Session, lock: &TreeLock, subject: &Subject) -> Result<DkmsId, Exit> {
    if let Subject::Package(package) = subject {
        let package = DkmsId::from(package);
        if session.tree.is_added(&package) {
            return Ok(package);
        }
        if let (true, Err(error)) = (session.tree.has_lost_its_link(&package), session.tree.require(&package)) {
            session.screen.error(&error, error.hint());
            return Err(Exit::from(&error));
        }
    }
    let known = match subject {
        Subject::Directory(dir) => session.tree.package_of_directory(&absolute(dir), &context(session)),
        _ => None,
    };
    match known {
        Some(package) if session.tree.is_added(&package) && !session.settings.force => Ok(package),
        _ => add(session, lock, subject),
    }
}

fn add(session: &Session, lock: &TreeLock, subject: &Subject) -> Result<DkmsId, Exit> {
    let options = AddOptions {
        force: session.settings.force,
        scripts: ScriptConsent::All,
        ..AddOptions::default()
    };
    let (tree, screen, context) = (&session.tree, &session.screen, context(session));
    let added = match subject {
        Subject::Package(package) => tree.add(lock, &package.into(), &context, &options, screen),
        Subject::Directory(dir) => tree.add_directory(lock, &absolute(dir), &context, &options, screen),
        Subject::Archive(path) => return super::tarball::load(session, lock, path),
    };
    added.map(|added| added.package).map_err(|error| {
        screen.error(&error, error.hint());
        Exit::from(&error)
    })
}

/// The context in which the conf of a new package is evaluated: that of the running kernel, as far as it is there.
pub(super) fn context(session: &Session) -> ConfContext {
    let kernel = session.kernel_id(KernelName {
        release: running(),
        arch: None,
    });
    let nothing = DkmsId {
        module: String::new(),
        version: String::new(),
    };
    let mut context = session.tree.context(&nothing, &kernel);
    context.conf_file.clone_from(&session.settings.conf);
    context.directives = session.directives();
    context
}
