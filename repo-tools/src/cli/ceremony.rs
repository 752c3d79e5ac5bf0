//! `dkms-repo sign`, `dkms-repo merge`, and what `--prepare` prints.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use super::push::{self, ToArgs};
use super::{Context, Failure, print};
use crate::authority::change::Wanted;
use crate::ceremony::{self, NeedStatus, Reading, SetStatus, Status};
use crate::keys::KeyRing;
use crate::push::Options;

/// Signs what was prepared elsewhere. Needs no repository, only the prepared directory and a key.
///
/// Shows what the document changes, compared with what is published in the same directory, and asks. What cannot be understood as a whole, is
/// not newer, or has nothing for this key to sign is refused. The signature is added to the file.
#[derive(Debug, clap::Args)]
pub(super) struct SignArgs {
    /// A document of the prepared directory, such as 5.root.json.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The private key: KEY.pem, or KEY.signer with KEY.pub beside it. May be repeated.
    #[arg(long, required = true, value_name = "KEY")]
    key: Vec<PathBuf>,
    /// A root of this repository that you have and trust, such as 1.root.json; what is published beside FILE has to follow from it.
    #[arg(long, value_name = "ROOT")]
    from: Option<PathBuf>,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
}

/// Takes the signatures of prepared documents, and publishes each prepared change that has enough of them.
///
/// Without FILE it tells which changes wait, and for whose signatures.
#[derive(Debug, clap::Args)]
pub(super) struct MergeArgs {
    /// Signed documents, also several copies of one.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Forget this prepared change and its signatures; nothing else is done.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["files", "unbridged", "to"])]
    drop: Option<u64>,
    /// Do not wait for the old keys of a role that gets new ones: machines that ask at that moment are refused once.
    #[arg(long)]
    unbridged: bool,
    #[command(flatten)]
    to: ToArgs,
}

/// Signs.
pub(super) fn run_sign(args: &SignArgs, context: &Context) -> Result<(), Failure> {
    let ring = KeyRing::of_files(&args.key, context.secrets())?;
    let mut readings = Vec::new();
    for file in &args.files {
        let reading = Reading::of(file, args.from.as_deref(), context.now)?;
        reading.check_keys(&ring)?;
        readings.push(reading);
    }
    let mut signed = Vec::new();
    for mut reading in readings {
        let status = reading.status()?;
        show(&status, &|id| id.to_owned());
        if !reading.is_vouched() {
            print::note(
                "note: this is compared with what came together with it; with --from ROOT, a root that you have, it is checked that \
                 it is the repository's",
            );
        }
        if !args.yes {
            confirm(&status, context)?;
        }
        reading.sign(&ring)?;
        let status = reading.status()?;
        if !context.json {
            for need in &status.needs {
                print::line(&format!("{}\t{}", status.file.display(), progress(need)));
            }
        }
        signed.push(status);
    }
    if context.json {
        print::json(&serde_json::json!({ "documents": signed }));
    }
    Ok(())
}

/// Asks a person.
fn confirm(status: &Status, context: &Context) -> Result<(), Failure> {
    if context.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::new(format!(
            "{} is not signed: there is nobody to be asked",
            status.file.display()
        ))
        .with_hint("run it on a terminal, or with --yes after somebody has read what it changes"));
    }
    anstream::eprint!("Sign it? [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(format!("{} is not signed", status.file.display())))
}

/// Merges.
pub(super) fn run_merge(args: &MergeArgs, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    if let Some(number) = args.drop {
        ceremony::drop_set(&repository, number)?;
        if context.json {
            print::json(&serde_json::json!({"published": {}, "waiting": [], "to": []}));
        } else {
            print::note(&format!("dropped the prepared change {number}"));
        }
        return Ok(());
    }
    let merged = ceremony::merge(&repository, &args.files, !args.unbridged, context.now)?;
    let ring = repository.keys()?;
    if !context.json {
        for report in merged.published.values() {
            for (role, version) in &report.signed {
                print::line(&format!("{role}\tversion {version}"));
            }
            push::warn(report);
        }
        for set in &merged.waiting {
            tell_waiting(set, &|id| ring.file_name(id));
        }
        if merged.published.is_empty() && merged.waiting.is_empty() {
            print::note("nothing is prepared");
        }
    }
    let (pushed, failed) = if merged.published.is_empty() {
        (Vec::new(), None)
    } else {
        push::push_to_all(&repository, &args.to, Options::default(), context)?
    };
    if context.json {
        let document = serde_json::json!({"published": merged.published, "waiting": merged.waiting, "to": pushed});
        print::json(&document);
    } else {
        push::tell(&pushed, false);
    }
    failed.map_or(Ok(()), Err)
}

/// Prepares a change, or the publication of what is staged, and prints where it is.
pub(super) fn prepare(wanted: Option<&Wanted>, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    let set = ceremony::prepare(&repository, wanted, context.now)?;
    if context.json {
        print::json(&serde_json::json!({ "prepared": set }));
        return Ok(());
    }
    let ring = repository.keys()?;
    for document in &set.documents {
        show(document, &|id| ring.file_name(id));
    }
    print::line(&set.directory.display().to_string());
    print::note(&format!(
        "copy the directory above to those who sign (`dkms-repo sign`), then `dkms-repo merge` what they signed; nothing of change {} is \
         published before",
        set.number
    ));
    Ok(())
}

/// What a document changes and who has to sign it, for people. `name` is that of a key's file.
fn show(status: &Status, name: &dyn Fn(&str) -> String) {
    print::note(&format!("{}:", status.file.display()));
    for line in &status.changes {
        print::note(&format!("  {line}"));
    }
    for need in &status.needs {
        print::note(&format!("  {}", progress(need)));
        if need.lacking() > 0 {
            let names: Vec<String> = need.missing.iter().map(|id| name(id)).collect();
            print::note(&format!("    missing: {}", names.join(", ")));
        }
    }
}

fn progress(need: &NeedStatus) -> String {
    let of = &need.of;
    let wish = if need.required {
        ""
    } else {
        " (so that no machine is refused)"
    };
    match need.lacking() {
        0 => format!("signed by {} of the keys in {of}: enough{wish}", need.signed.len()),
        lacking => format!(
            "signed by {} of the keys in {of}: {lacking} more {} needed{wish}",
            need.signed.len(),
            if lacking == 1 { "is" } else { "are" }
        ),
    }
}

/// Says what a prepared change waits for.
fn tell_waiting(set: &SetStatus, name: &dyn Fn(&str) -> String) {
    print::note(&format!(
        "change {} ({}) waits in {}",
        set.number,
        set.what,
        set.directory.display()
    ));
    for document in &set.documents {
        for need in document.needs.iter().filter(|need| need.lacking() > 0) {
            let names: Vec<String> = need.missing.iter().map(|id| name(id)).collect();
            print::line(&format!(
                "{}\t{} version {}\t{}\tmissing: {}",
                set.number,
                document.role,
                document.version,
                progress(need),
                names.join(", ")
            ));
        }
    }
}
