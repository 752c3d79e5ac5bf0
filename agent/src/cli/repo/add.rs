//! `repo add`: pins the root of a repository, after a person or a fingerprint has confirmed it.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use serde::Serialize;

use super::source::Source;
use crate::cli::block_on;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::sync;
use crate::config::{self, Name, Repository};
use crate::exit::Exit;
use crate::files;
use crate::report::progress::{ProgressEvent, print_json, print_note, print_text};
use crate::report::{Document, count_u64};
use crate::state::Paths;
use crate::sync::{PinnedRoot, Session, normal_fingerprint};
use crate::transport::{Answer, Mirrors, Request, Transport};

/// A root.json is small.
const ROOT_MAX_BYTES: u64 = dkms_index::trust::limits::ROOT_MAX_BYTES;

/// The final document.
#[derive(Serialize)]
struct Added<'a> {
    check: bool,
    name: &'a str,
    urls: &'a [String],
    file: String,
    root: &'a PinnedRoot,
    packages: u64,
}

pub(super) fn run(
    context: &mut Context,
    text: &str,
    fingerprint: Option<&str>,
    name: Option<&str>,
) -> Result<Exit, Failure> {
    let source = Source::parse(text)?;
    let bad = |why: String| Failure::BadRepository {
        given: text.to_owned(),
        why,
    };
    let name = name.unwrap_or(&source.name);
    let name = Name::try_from(name.to_owned()).map_err(bad)?;
    if let Some(other) = context.config.known.iter().find(|one| one.name == name) {
        return Err(Failure::RepositoryExists {
            name: name.to_string(),
            file: other.file.clone(),
        });
    }
    let expected = match fingerprint.or(source.fingerprint.as_deref()) {
        Some(text) => Some(normal_fingerprint(text).ok_or_else(|| bad(format!("{text:?} is not a SHA-256 in hex")))?),
        None => None,
    };
    let urls = source
        .urls
        .iter()
        .map(|url| config::mirror(url))
        .collect::<Result<Vec<_>, _>>();
    let urls = urls.map_err(bad)?;
    let transport = sync::transport(context);
    let bytes = match &source.root {
        Some(path) => fs::read(path).map_err(|error| bad(format!("{}: {error}", path.display())))?,
        None => block_on(async { fetch_root(&transport, Mirrors::new(urls.clone()), text).await })?,
    };
    let root = PinnedRoot::parse(&bytes).map_err(|why| bad(format!("its root.json cannot be read: {why}")))?;
    if let Some(expected) = &expected
        && *expected != root.fingerprint
    {
        return Err(Failure::WrongFingerprint {
            name: name.to_string(),
            expected: expected.clone(),
            found: root.fingerprint,
        });
    }
    let dir = context.root().join(config::DIR).join("repos.d");
    let file = dir.join(format!("{name}.toml"));
    let scratch = tempfile::tempdir().map_err(Failure::Scratch)?;
    let fetched = context
        .paths
        .scratch(&scratch.path().join("state"))
        .map_err(Failure::Scratch)?;
    let repository = pinned(&name, urls, &bytes, scratch.path()).map_err(Failure::Scratch)?;
    let packages = try_out(context, &transport, &repository, &fetched)?;
    if !context.options.json {
        show(&name, &source.urls, &root, packages);
    }
    if !context.options.check {
        // The fingerprint of a file that was downloaded says no more than the file.
        if fingerprint.is_none() {
            confirm(context, &root)?;
        }
        let _lock = context.writer()?;
        let pinned = dir.join(format!("{name}.root.json"));
        let text = file_text(&name, &source.urls, source.priority);
        for (path, bytes) in [(&pinned, &bytes[..]), (&file, text.as_bytes())] {
            files::write_atomically(path, bytes).map_err(Failure::writing(path))?;
        }
        keep(context, &fetched, &name);
    }
    let exit = Exit::Converged;
    if context.options.json {
        let body = Added {
            check: context.options.check,
            name: name.as_str(),
            urls: &source.urls,
            file: file.display().to_string(),
            root: &root,
            packages,
        };
        print_json(&Document::new("repo-add", exit, body));
    } else if context.options.check {
        print_text(format_args!("would add repository {name}"));
    } else {
        print_text(format_args!("added repository {name}: {}", file.display()));
        let root = match &context.options.root {
            Some(root) => format!("--root {} ", root.display()),
            None => String::new(),
        };
        print_text(format_args!(
            "next: `dkms-fetch {root}--auto` installs the drivers that this machine lacks"
        ));
    }
    Ok(exit)
}

/// The first root of the repository. Newer ones follow from it by their signatures.
async fn fetch_root(transport: &Transport, mirrors: Mirrors, source: &str) -> Result<Vec<u8>, Failure> {
    let request = Request::whole("metadata/1.root.json", ROOT_MAX_BYTES);
    let (answer, bytes) =
        transport
            .get_bytes(&mirrors, request)
            .await
            .map_err(|error| Failure::RepositoryUnreachable {
                given: source.to_owned(),
                error,
            })?;
    match answer {
        Answer::Body { .. } => Ok(bytes),
        Answer::NotFound | Answer::NotModified => Err(Failure::BadRepository {
            given: source.to_owned(),
            why: "there is no metadata/1.root.json".to_owned(),
        }),
    }
}

/// The repository with its root in a temporary directory.
fn pinned(name: &Name, urls: Vec<url::Url>, root: &[u8], scratch: &Path) -> io::Result<Repository> {
    let pinned = scratch.join("root.json");
    fs::write(&pinned, root)?;
    Ok(Repository {
        name: name.clone(),
        file: pinned.clone(),
        urls,
        root: pinned,
        priority: 0,
        enabled: true,
    })
}

/// Synchronises the repository below `paths`, so that one that cannot work is not added. Returns how many packages it has.
fn try_out(context: &Context, transport: &Transport, repository: &Repository, paths: &Paths) -> Result<u64, Failure> {
    block_on(async {
        let session = Session::new(repository, paths, transport, context.network());
        let refreshed = session.refresh(context.now, context.config.policy.expiry()).await?;
        session.update_index(&refreshed.metadata).await?;
        let summaries = crate::state::index::Index::open(paths, [&repository.name]).summaries()?;
        Ok(summaries.first().map_or(0, |summary| summary.packages))
    })
}

/// Keeps what was verified by the root that is pinned now. Without it the next sync fetches it once more.
fn keep(context: &Context, fetched: &Paths, name: &Name) {
    if let Err(error) = context.paths.take_over(fetched, name) {
        context.reporter.report(ProgressEvent::Warning {
            text: format!("the index of {name} cannot be kept: {error}"),
            hint: Some("dkms-fetch sync".to_owned()),
        });
    }
}

fn show(name: &Name, urls: &[String], root: &PinnedRoot, packages: u64) {
    print_text(format_args!("repository   {name}, {}", count_u64(packages, "package")));
    urls.iter()
        .for_each(|url| print_text(format_args!("url          {url}")));
    show_root(root);
}

/// Shows what a person compares with what the publisher says.
pub(super) fn show_root(root: &PinnedRoot) {
    print_text(format_args!("fingerprint  {}", root.fingerprint));
    print_text(format_args!(
        "root         version {}, until {}",
        root.version, root.expires
    ));
    print_text(format_args!(
        "signed by    {} of {} keys",
        root.threshold,
        root.keys.len()
    ));
    for key in &root.keys {
        print_text(key_line(&key.kind, &key.id));
    }
}

/// A key: its id takes all columns of a line of 80 that the others leave.
fn key_line(kind: &str, id: &str) -> String {
    let label = format!("{kind} key");
    if label.len() < 13 {
        format!("{label:<13}{id}")
    } else {
        format!("{label}\n{:13}{id}", "")
    }
}

/// Asks a person. Without a terminal, the fingerprint must have been given.
fn confirm(context: &Context, root: &PinnedRoot) -> Result<(), Failure> {
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal() && !context.options.json;
    if !can_ask {
        return Err(Failure::NoFingerprint {
            found: root.fingerprint.clone(),
        });
    }
    print_note(
        "Whoever has these keys decides what code the kernel of this machine runs. Compare the fingerprint with what the publisher says.",
    );
    let _ = write!(io::stderr(), "Trust this repository? [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::NotConfirmed)
}

/// The file in repos.d.
fn file_text(name: &Name, urls: &[String], priority: i32) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("{url:?}")).collect();
    let priority = if priority == 0 {
        String::new()
    } else {
        format!("priority = {priority}\n")
    };
    format!(
        "# Added by `dkms-fetch repo add`. See dkms-fetch-repos(5).\nname = \"{name}\"\nurls = [{}]\nroot = \"{name}.root.json\"\n{priority}",
        urls.join(", ")
    )
}
