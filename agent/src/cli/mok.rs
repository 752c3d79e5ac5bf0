//! `mok`: the key that signs modules, and whether the machine accepts it.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;

use dkms_engine::command::find_program;
use dkms_engine::kbuild::{NewKeys, ensure_key_pair};
use dkms_engine::recovery::lock_and_recover;
use serde::Serialize;

use super::args::MokCommand;
use super::context::Context;
use super::failure::Failure;
use super::named_file;
use crate::exit::Exit;
use crate::host::SecureBoot;
use crate::mok::{self, Enrolment, Key, MokError};
use crate::report::Document;
use crate::report::progress::{print_json, print_text};

/// The final document of `mok`.
#[derive(Serialize)]
struct Answer {
    /// Whether nothing was written, as `--check` asks.
    check: bool,
    #[serde(flatten)]
    key: Key,
    /// Secure Boot as the firmware and shim have it.
    secure_boot: SecureBoot,
    /// Whether modules have to be signed by a key that the machine knows.
    signatures_required: bool,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

pub(super) fn run(context: &Context, command: &MokCommand) -> Result<Exit, Failure> {
    match command {
        MokCommand::Status => Ok(answer(context, look(context)?)),
        MokCommand::Enroll { hash_file } => enroll(context, hash_file.as_deref()),
        MokCommand::Export { file } => export(context, file),
    }
}

/// Looks at the key of this machine.
pub(super) fn look(context: &Context) -> Result<Key, Failure> {
    let tree = context.tree()?;
    let host = &context.host;
    Ok(mok::look_in(
        context.root(),
        &tree,
        host.distribution.is_ubuntu(),
        host.running.as_deref(),
    ))
}

/// Prints the state. A key that is needed and not accepted is something that waits for a person: 7.
fn answer(context: &Context, key: Key) -> Exit {
    let exit = if context.host.signatures.required() && !key.is_accepted() {
        Exit::Pending
    } else {
        Exit::Converged
    };
    print(context, key, exit);
    exit
}

/// Prints the state, and how the command ended.
fn print(context: &Context, key: Key, exit: Exit) {
    let signatures = context.host.signatures;
    let required = signatures.required();
    let hint = key.next_step(required);
    if context.options.json {
        let body = Answer {
            check: context.options.check,
            key,
            secure_boot: signatures.secure_boot,
            signatures_required: required,
            hint,
        };
        print_json(&Document::new("mok", exit, body));
        return;
    }
    let word = |yes: bool| if yes { "yes" } else { "no" };
    print_text(format_args!("Secure Boot: {}", signatures.secure_boot.words()));
    print_text(format_args!("modules have to be signed: {}", word(required)));
    if let Some(trusted) = key.list_trusted {
        print_text(format_args!("shim's list counts for the kernel: {}", word(trusted)));
    }
    print_text(format_args!("certificate: {}", key.certificate.display()));
    if let Some(sha256) = &key.sha256 {
        print_text(format_args!("sha256: {sha256}"));
    }
    print_text(format_args!("state: {}", key.words()));
    if let Some(hint) = hint {
        print_text(format_args!("next: {hint}"));
    }
}

/// Makes the key if there is none, and asks the firmware to accept it. What is asked for or accepted already is not asked for again.
fn enroll(context: &Context, hash_file: Option<&Path>) -> Result<Exit, Failure> {
    if !context.root().is_host() {
        return Err(MokError::Image.into());
    }
    let before = look(context)?;
    if matches!(before.state, Enrolment::Enrolled | Enrolment::Pending) {
        return Ok(answer(context, before));
    }
    // Also where there is no key yet, which would be made for nothing.
    if !mok::has_variables(context.root()) {
        return Err(MokError::NoFirmware.into());
    }
    if hash_file.is_none() && !std::io::stdin().is_terminal() {
        return Err(MokError::NoTerminal.into());
    }
    let tool = find_program(context.root(), "mokutil").ok_or(MokError::NoTool)?;
    if context.options.check {
        if !context.options.json {
            let certificate = before.certificate.display();
            match before.state {
                Enrolment::NoKey => print_text(format_args!(
                    "would make a key and ask the firmware to accept {certificate}"
                )),
                _ => print_text(format_args!("would ask the firmware to accept {certificate}")),
            }
        }
        print(context, before, Exit::Converged);
        return Ok(Exit::Converged);
    }
    let _run = context.writer()?;
    let tree = context.tree()?;
    let lock = lock_and_recover(&tree, &context.reporter)?;
    let release = context.host.running.as_deref();
    let is_ubuntu = context.host.distribution.is_ubuntu();
    let new_keys = NewKeys::AtDefaultPlace;
    let pair = ensure_key_pair(&tree, &lock, is_ubuntu, release, new_keys, &context.reporter).map_err(MokError::Key)?;
    let mut command = Command::new(tool);
    command.arg("--import").arg(&pair.certificate);
    if let Some(file) = hash_file {
        command.arg("--hash-file").arg(file);
    }
    // It asks for a password on the terminal.
    let ended = command.status().map_err(MokError::Start)?;
    if !ended.success() {
        return Err(MokError::Tool {
            status: ended.to_string(),
        }
        .into());
    }
    let after = look(context)?;
    if let Some(sha256) = &after.sha256 {
        let note = context.paths.mok_request();
        mok::note_request(context.root(), sha256, &note).map_err(Failure::writing(&note))?;
    }
    Ok(answer(context, after))
}

/// Writes the certificate for a factory: DER, as firmware set-ups and MokManager read it from a disk.
fn export(context: &Context, file: &Path) -> Result<Exit, Failure> {
    let key = look(context)?;
    let certificate = std::fs::read(&key.certificate).map_err(|_| MokError::NoKey {
        certificate: key.certificate.clone(),
    })?;
    named_file::write(context, file, &certificate)?;
    if !context.options.json {
        let verb = if context.options.check { "would write" } else { "wrote" };
        print_text(format_args!("{verb} the certificate to {}", file.display()));
    }
    // A factory exports the key before anything accepts it.
    print(context, key, Exit::Converged);
    Ok(Exit::Converged)
}
