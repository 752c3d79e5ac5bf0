//! The `dkms` command line: verbs, options, exit codes and status lines as scripts and packages know them.
//!
//! ```text
//! words ─args─→ Request ─verbs─→ engine, progress to the screen ─→ exit code
//! ```

mod after;
pub mod args;
pub mod command;
mod exit;
mod hook_verbs;
mod order;
pub mod request;
mod rpm;
mod screen;
mod session;
mod status;
pub mod usage;
mod verbs;

use std::io::Write;
use std::process::ExitCode;

use crate::distribution::Distribution;
use crate::sandbox::Layers;
use exit::Exit;
use request::{Action, Request};
use screen::{Screen, Verbosity};
use session::Session;
use usage::UsageError;

/// Runs `dkms` with these words, the program's name not among them.
pub fn main(args: Vec<String>) -> ExitCode {
    if let Some((first, rest)) = args.split_first()
        && first == "hooks"
    {
        return hook_verbs::run(rest).into();
    }
    match args::parse(&args, &args::word_kind) {
        Ok(request) => run(request).into(),
        Err(error) => {
            complain(&error);
            ExitCode::from(error.code())
        }
    }
}

fn complain(error: &UsageError) {
    match error {
        // clap's own text, with its hints.
        UsageError::Syntax(text) => anstream::eprint!("{text}"),
        _ => Screen {
            verbosity: Verbosity::Normal,
        }
        .complaint(&error.to_string(), error.hint()),
    }
}

/// Carries a request out.
fn run(request: Request) -> Exit {
    let text = match &request.action {
        Action::Help(text) => text.clone(),
        Action::Version => format!("{}\n", command::VERSION),
        _ => return run_action(request),
    };
    print_all(text.as_bytes())
}

fn run_action(request: Request) -> Exit {
    let session = match Session::open(request.settings) {
        Ok(session) => session,
        Err(error) => {
            Screen {
                verbosity: Verbosity::Normal,
            }
            .error(&error, error.hint());
            return Exit::REFUSED;
        }
    };
    request
        .notices
        .iter()
        .for_each(|notice| session.screen.warning(notice, None));
    if session.root.is_host() && !Distribution::has_os_release(&session.root) {
        let text = "this system has no os-release file, which tells where its modules go";
        session.screen.complaint(text, Some("man 5 os-release".to_owned()));
        return Exit::NO_SYSTEM;
    }
    if let Err(error) = session.tree.require_readable() {
        session.screen.error(&error, error.hint());
        return Exit::from(&error);
    }
    if let Action::Status(filter) = &request.action {
        let mut text = Vec::new();
        return match status::print(&session, filter, &mut text) {
            Ok(()) => print_all(&text),
            Err(error) => {
                session.screen.error(&error, None);
                Exit::REFUSED
            }
        };
    }
    let exit = dispatch(&session, &request.action);
    // `dkms` works without a sandbox, because maintainer scripts rely on it. It warns once if it ran code of a package so.
    if let Some(refusal) = Layers::if_used().and_then(Layers::no_sandbox) {
        let hint = Layers::here().hint();
        session.screen.warning(&refusal.to_string(), hint);
    }
    exit
}

fn dispatch(session: &Session, action: &Action) -> Exit {
    match action {
        Action::Help(_) | Action::Version | Action::Status(_) => Exit::OK,
        Action::Add(subject) => verbs::add::run(session, subject),
        Action::Build(subject, kernels) => verbs::build::run(session, subject, kernels),
        Action::Install(subject, kernels) => verbs::install::run(session, subject, kernels),
        Action::Unbuild(package, kernels) => verbs::remove::run_unbuild(session, package, kernels),
        Action::Uninstall(package, kernels) => verbs::install::run_uninstall(session, package, kernels),
        Action::Remove(package, kernels) => verbs::remove::run(session, package, kernels),
        Action::Autoinstall(kernels) => verbs::autoinstall::run(session, kernels),
        Action::Match {
            template,
            kernels,
            module,
        } => verbs::matching::run(session, template, kernels, module.as_deref()),
        Action::Mktarball(package, kernels, form) => verbs::tarball::make(session, package, kernels, *form),
        Action::Ldtarball(path) => verbs::tarball::run_load(session, path),
        Action::GenerateMok => verbs::mok::run(session),
        Action::KernelHook(hook, kernels) => verbs::hook::run(session, *hook, kernels),
    }
}

/// Prints the output on stdout. A reader that closes the pipe early is no failure.
fn print_all(bytes: &[u8]) -> Exit {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::REFUSED,
        _ => Exit::OK,
    }
}
