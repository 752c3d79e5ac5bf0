//! `dkms hooks …`: what our own scripts and packaging call. Not for people, so not in the help.

use std::path::Path;

use super::exit::Exit;
use super::request::{KernelName, Kernels, Package, Settings, Subject};
use super::screen::{Screen, Verbosity};
use super::session::{Session, running};
use super::verbs;
use crate::hooks::{self, KernelsHere, Reason, kernels_for_package};
use crate::package::DkmsId;
use crate::root::Root;

const USAGE: &str = "dkms hooks install ROOT [PREFIX] | man | completions SHELL | package-postinst NAME VERSION [SHARE [ARCH [OLD-VERSION]]]";

pub(super) fn run(args: &[String]) -> Exit {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let screen = Screen {
        verbosity: Verbosity::Normal,
    };
    match words.as_slice() {
        ["install", root, prefix @ ..] if prefix.len() <= 1 => {
            match hooks::install(&Root::at(root), Path::new(prefix.first().copied().unwrap_or("/usr"))) {
                Ok(files) => super::print_all(
                    files
                        .iter()
                        .map(|file| format!("{}\n", file.display()))
                        .collect::<String>()
                        .as_bytes(),
                ),
                Err(error) => {
                    screen.complaint(
                        &format!("dkms's files cannot be written below {root}: {error}"),
                        Some(format!("ls -ld {root}")),
                    );
                    Exit::REFUSED
                }
            }
        }
        ["man"] => {
            let mut man = Vec::new();
            match hooks::write_man_page(&mut man) {
                Ok(()) => super::print_all(&man),
                Err(_) => Exit::REFUSED,
            }
        }
        ["completions", shell] => match shell.parse() {
            Ok(shell) => {
                let mut text = Vec::new();
                hooks::write_completions(shell, &mut text);
                super::print_all(&text)
            }
            Err(_) => usage(screen),
        },
        ["package-postinst", name, version, rest @ ..] => {
            let at = |index: usize| rest.get(index).copied().filter(|text| !text.is_empty());
            package_postinst(&Postinst {
                name,
                version,
                share: at(0),
                arch: at(1),
                is_upgrade: at(2).is_some(),
            })
        }
        _ => usage(screen),
    }
}

fn usage(screen: Screen) -> Exit {
    screen.complaint("this is not a way to call `dkms hooks`", Some(USAGE.to_owned()));
    Exit::MISSING
}

/// The arguments of `package-postinst`, which a *-dkms package's postinst calls.
struct Postinst<'a> {
    name: &'a str,
    version: &'a str,
    share: Option<&'a str>,
    arch: Option<&'a str>,
    is_upgrade: bool,
}

/// Adds the package's version again, then builds and installs it for the kernels that `kernels_for_package` chooses.
fn package_postinst(call: &Postinst<'_>) -> Exit {
    let session = match Session::open(Settings::default()) {
        Ok(session) => session,
        Err(error) => {
            Screen {
                verbosity: Verbosity::Normal,
            }
            .error(&error, error.hint());
            return Exit::REFUSED;
        }
    };
    if session.root.join("/etc/dkms/no-autoinstall").exists() {
        session
            .screen
            .say("nothing is built: /etc/dkms/no-autoinstall is there");
        return Exit::OK;
    }
    let Some(id) = DkmsId::new(call.name, call.version) else {
        session.screen.complaint(
            &format!("{}/{} cannot be a module and its version", call.name, call.version),
            None,
        );
        return Exit::REFUSED;
    };
    let package = Package {
        module: id.module.clone(),
        version: id.version.clone(),
    };
    // The files in /usr/src are new, even if the version is the same.
    if session.tree.is_added(&id) {
        let removed = verbs::remove::run(&session, &package, &Kernels::EveryBuilt);
        if removed != Exit::OK {
            return removed;
        }
    }
    let taken_in = add_again(&session, call, &package);
    if taken_in != Exit::OK {
        return taken_in;
    }
    let (releases, reason) = kernels_for_package(
        &kernels_here(&session),
        call.is_upgrade,
        session.framework.autoinstall_all_kernels,
    );
    if matches!(reason, Reason::AllInChroot | Reason::NewestInChroot) {
        session.screen.say(&format!(
            "{} is not a kernel of this system, which seems to be a chroot",
            running()
        ));
    }
    releases.iter().fold(Exit::OK, |exit, release| {
        exit.and(build_for(&session, call, &package, release))
    })
}

fn add_again(session: &Session, call: &Postinst<'_>, package: &Package) -> Exit {
    let tarball = format!("{}-{}.dkms.tar.gz", call.name, call.version);
    let tarball = call
        .share
        .map(|share| Path::new(share).join(tarball))
        .filter(|path| path.is_file());
    match tarball {
        Some(tarball) => verbs::tarball::run_load(session, &tarball),
        None => verbs::add::run(session, &Subject::Package(package.clone())),
    }
}

/// A kernel without headers, an exclusion, and a module that the kernel has itself are reported, but are no failures.
fn build_for(session: &Session, call: &Postinst<'_>, package: &Package, release: &str) -> Exit {
    let kernel = session.kernel_id(KernelName {
        release: release.to_owned(),
        arch: call.arch.map(machine_name),
    });
    let is_built = session.tree.is_built(&package.into(), &kernel);
    if let Err(error) = session.target(&kernel)
        && !is_built
    {
        session.screen.warning(
            &format!("{}/{} is not built for {release}: no headers", call.name, call.version),
            error.hint(),
        );
        return Exit::OK;
    }
    let named = Kernels::Named(vec![KernelName {
        release: kernel.release,
        arch: Some(kernel.arch),
    }]);
    match verbs::install::run(session, &Subject::Package(package.clone()), &named) {
        Exit::EXCLUDED | Exit::NOT_INSTALLABLE => Exit::OK,
        exit => exit,
    }
}

/// The name that `uname -m` prints for an architecture of Debian.
fn machine_name(arch: &str) -> String {
    match arch {
        "amd64" => "x86_64",
        "i386" | "lpia" => "i686",
        "arm64" => "aarch64",
        other => other,
    }
    .to_owned()
}

fn kernels_here(session: &Session) -> KernelsHere {
    let boot = std::fs::read_dir(session.root.join("/boot"))
        .into_iter()
        .flatten()
        .flatten();
    let names = boot.filter_map(|entry| entry.file_name().into_string().ok());
    KernelsHere {
        running: running(),
        installed: session.installed_releases(),
        bootable: names
            .filter_map(|name| name.strip_prefix("config-").map(str::to_owned))
            .collect(),
    }
}
