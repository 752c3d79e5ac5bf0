//! `mktarball` and `ldtarball`.

use std::path::{Path, PathBuf};

use crate::conf::ConfContext;
use crate::dkms_cli::exit::Exit;
use crate::dkms_cli::request::{KernelName, Kernels, Package, TarballForm};
use crate::dkms_cli::session::{Session, running};
use crate::package::{DkmsId, KernelId};
use crate::script::ScriptConsent;
use crate::tarball::{self, Contents, TarballError, Unpacked};
use crate::tree::{AddOptions, TreeLock};

/// `mktarball`.
pub(in crate::dkms_cli) fn make(session: &Session, package: &Package, kernels: &Kernels, form: TarballForm) -> Exit {
    let package = DkmsId::from(package);
    if let Err(error) = session.tree.require(&package) {
        session.screen.error(&error, error.hint());
        return Exit::from(&error);
    }
    let kernels = match form {
        TarballForm::SourceOnly => Vec::new(),
        _ => match session.kernels_or_complain(kernels, Some(&package)) {
            Ok(kernels) => kernels,
            Err(exit) => return exit,
        },
    };
    if let Some(missing) = kernels.iter().find(|kernel| !session.tree.is_built(&package, kernel)) {
        let hint = format!("dkms build {package} -k {}", missing.release);
        session
            .screen
            .complaint(&format!("{package} is not built for {missing}"), Some(hint));
        return Exit::NOT_INSTALLABLE;
    }
    let source = session.tree.source_dir(&package);
    let contents = Contents {
        conf: session
            .settings
            .conf
            .clone()
            .unwrap_or_else(|| source.join("dkms.conf")),
        source: (form != TarballForm::BinariesOnly).then_some(source),
        built: kernels
            .iter()
            .map(|kernel| (kernel.clone(), session.tree.built_dir(&package, kernel)))
            .collect(),
        package,
    };
    let to = destination(session, &contents.package, &kernels);
    let dir = to.parent().unwrap_or(Path::new("/"));
    if let Err(error) = std::fs::create_dir_all(dir) {
        let hint = format!("ls -ld {}", dir.display());
        session
            .screen
            .complaint(&format!("cannot create {}: {error}", dir.display()), Some(hint));
        return Exit(9);
    }
    match tarball::pack(&contents, &to) {
        Ok(()) => {
            session
                .screen
                .say(&format!("{}: packed into {}", contents.package, to.display()));
            Exit::OK
        }
        Err(error) => {
            session.screen.error(&error, error.hint());
            Exit::NOT_INSTALLABLE
        }
    }
}

/// The path of the tarball: a bare name given with `--archive` is in the default directory, a path is used as it is.
fn destination(session: &Session, package: &DkmsId, kernels: &[KernelId]) -> PathBuf {
    let dir = session.tree.version_dir(package).join("tarball");
    match &session.settings.archive {
        Some(path) if path.components().count() > 1 => path.clone(),
        Some(name) => dir.join(name),
        None => dir.join(tarball::default_name(package, kernels)),
    }
}

/// `ldtarball`.
pub(in crate::dkms_cli) fn run_load(session: &Session, path: &Path) -> Exit {
    match session.lock().and_then(|lock| load(session, &lock, path)) {
        Ok(_) => Exit::OK,
        Err(exit) => exit,
    }
}

/// Unpacks a tarball and adds what is in it, with its builds.
pub(super) fn load(session: &Session, lock: &TreeLock, path: &Path) -> Result<DkmsId, Exit> {
    let complain = |error: &TarballError| {
        session.screen.error(error, error.hint());
        match error {
            TarballError::Missing(_) => Exit::MISSING,
            TarballError::NotDkms(_) => Exit::NOT_ADDED,
            _ => Exit(7),
        }
    };
    let tmp = session.root.join(&session.framework.tmp_location);
    let dir = tempfile::Builder::new()
        .prefix("dkms-ldtarball-")
        .tempdir_in(&tmp)
        .map_err(|error| {
            session.screen.complaint(
                &format!("cannot create a directory in {}: {error}", tmp.display()),
                None,
            );
            Exit::REFUSED
        })?;
    tarball::unpack(path, dir.path()).map_err(|error| complain(&error))?;
    let unpacked = tarball::examine(path, dir.path()).map_err(|error| complain(&error))?;
    let package = name_of(session, &unpacked)?;
    if session.tree.is_added(&package) && !session.settings.force {
        let hint = format!(
            "dkms remove {package} --all, or dkms ldtarball --force {}",
            path.display()
        );
        session
            .screen
            .complaint(&format!("{package} is in the tree already"), Some(hint));
        return Err(Exit(8));
    }
    register(session, lock, &package, &unpacked)?;
    for (kernel, from) in &unpacked.built {
        let loaded = session
            .tree
            .load_build(lock, &package, kernel, from, session.settings.force);
        match loaded {
            Ok(true) => session.screen.done(&package.subject(Some(kernel)), "loaded as built"),
            Ok(false) => {
                let text = format!(
                    "{} is built already; the tarball's build is left out",
                    package.subject(Some(kernel))
                );
                session
                    .screen
                    .warning(&text, Some("dkms ldtarball --force replaces it".into()));
            }
            Err(error) => {
                session.screen.error(&error, error.hint());
                return Err(Exit::from(&error));
            }
        }
    }
    Ok(package)
}

fn name_of(session: &Session, unpacked: &Unpacked) -> Result<DkmsId, Exit> {
    match crate::conf::evaluate(&unpacked.conf_dir, &context(session)) {
        Ok(conf) => Ok(DkmsId {
            module: conf.package_name,
            version: conf.package_version,
        }),
        Err(error) => {
            session.screen.error(&error, error.hint());
            Err(Exit(7))
        }
    }
}

fn context(session: &Session) -> ConfContext {
    let kernel = session.kernel_id(KernelName {
        release: running(),
        arch: None,
    });
    session.tree.context(
        &DkmsId {
            module: String::new(),
            version: String::new(),
        },
        &kernel,
    )
}

fn register(session: &Session, lock: &TreeLock, package: &DkmsId, unpacked: &Unpacked) -> Result<(), Exit> {
    let tree = &session.tree;
    if tree.is_added(package) && tree.source_dir(package).join("dkms.conf").is_file() && !session.settings.force {
        return Ok(());
    }
    let source = tree.source_tree().join(package.dashed());
    let complain = |error: &(dyn std::error::Error + 'static), hint: Option<String>, exit| {
        session.screen.error(error, hint);
        Err(exit)
    };
    if !unpacked.has_source && !source.is_dir() {
        return match tree.add_conf_only(lock, package, &unpacked.conf_dir) {
            Ok(()) => Ok(()),
            Err(error) => complain(&error, error.hint(), Exit::from(&error)),
        };
    }
    if tree.is_added(package) {
        // --force: the new source takes the place of the old one; builds of kernels that the tarball has not stay.
        return match tree.replace_source(lock, package, &unpacked.conf_dir) {
            Ok(()) => Ok(()),
            Err(error) => complain(&error, error.hint(), Exit::from(&error)),
        };
    }
    let options = AddOptions {
        force: session.settings.force,
        scripts: ScriptConsent::All,
        ..AddOptions::default()
    };
    let added = if unpacked.has_source {
        tree.add_directory(lock, &unpacked.conf_dir, &context(session), &options, &session.screen)
    } else {
        tree.add(lock, package, &context(session), &options, &session.screen)
    };
    match added {
        Ok(_) => Ok(()),
        Err(error) => complain(&error, error.hint(), Exit::from(&error)),
    }
}
