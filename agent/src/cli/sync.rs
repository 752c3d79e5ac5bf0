//! `sync`, and the repositories as a run has them: verified metadata, and an index in the cache that fits it.

use std::fs;

use dkms_index::trust::TrustedMetadata;
use dkms_support::chain;
use futures_util::future::join_all;
use serde::Serialize;
use url::Url;

use super::context::Context;
use super::failure::Failure;
use super::{block_on, hint_below};
use crate::config::Repository;
use crate::exit::Exit;
use crate::medium;
use crate::report::Document;
use crate::report::progress::{ProgressEvent, print_json};
use crate::state::Paths;
use crate::state::index::{Index, Summary};
use crate::state::records::{Entry, Records};
use crate::sync::{Session, SyncError, Update};
use crate::transport::{Options, Transport};

/// A repository whose newest state was verified in this run.
pub(super) struct Opened<'a> {
    pub(super) session: Session<'a>,
    pub(super) metadata: TrustedMetadata,
    /// Whether the index is new.
    changed: bool,
}

/// How mirrors are reached.
pub(super) fn transport(context: &Context) -> Transport {
    let policy = &context.config.policy;
    let network = &policy.network;
    let budget = context.options.network_budget.unwrap_or(network.metadata_s);
    Transport::new(Options {
        allow_plain_http: policy.allow_plain_http,
        not_before: context.now,
        connect_timeout: network.connect_s.into(),
        idle_timeout: network.idle_s.into(),
        head_start: network.next_mirror_s.into(),
        metadata_budget: budget.into(),
        ..Options::default()
    })
}

/// Brings every repository up to date, all at the same time, so that one that is slow costs the others nothing. For one that cannot
/// be reached the cached state is used; one whose files cannot be trusted stops the run.
pub(super) async fn open<'a>(context: &'a Context, transport: &'a Transport) -> Result<Vec<Opened<'a>>, Failure> {
    context.require_repository()?;
    let mut opened = Vec::new();
    let mut unreached = Vec::new();
    let mut has_medium = false;
    let all: Vec<_> = context
        .config
        .repositories
        .iter()
        .map(|repository| {
            context.reporter.report(ProgressEvent::Syncing {
                repository: repository.name.to_string(),
            });
            let session = Session::new(repository, &context.cache, transport, context.network());
            let mirror = medium_of(context, repository);
            has_medium |= mirror.is_some();
            one(context, session.with_medium(mirror))
        })
        .collect();
    if let Some(dir) = &context.options.medium
        && !has_medium
    {
        context.reporter.report(ProgressEvent::Warning {
            text: format!(
                "the medium {} has no mirror of a repository that this machine trusts, or an older one than is known here",
                dir.display()
            ),
            hint: Some("make it with `dkms-fetch media make` for the repositories of `dkms-fetch repo list`".to_owned()),
        });
    }
    for outcome in join_all(all).await {
        match outcome {
            Ok(repository) => opened.push(repository),
            // This repository has neither a network nor a cache; another one may.
            Err(error) if error.is_transport() => unreached.push(error),
            Err(error) => return Err(error.into()),
        }
    }
    if opened.is_empty()
        && let Some(error) = unreached.pop()
    {
        return Err(error.into());
    }
    unreached.iter().for_each(|error| warn(context, error));
    Ok(opened)
}

/// The directory of the medium that is a mirror of this repository, if there is one.
fn medium_of(context: &Context, repository: &Repository) -> Option<Url> {
    let dir = context.options.medium.as_ref()?;
    let pinned = fs::read(&repository.root).ok()?;
    let known = fs::read(context.cache.trust(&repository.name).join("timestamp.json")).ok();
    medium::mirror_of(dir, &pinned, known.as_deref())
}

async fn one<'a>(context: &'a Context, session: Session<'a>) -> Result<Opened<'a>, SyncError> {
    let refreshed = session.refresh(context.now, context.config.policy.expiry()).await?;
    if let Some(error) = &refreshed.from_cache
        && !context.options.offline
    {
        warn(context, error);
    }
    let changed = match session.update_index(&refreshed.metadata).await {
        Ok(update) => matches!(update, Update::Updated { .. }),
        // The old index was verified too, and is only a hint.
        Err(error) if error.is_transport() && has_index(&context.cache, &session) => {
            warn(context, &error);
            false
        }
        Err(error) => return Err(error),
    };
    let name = &session.repository().name;
    let summary = Index::open(&context.cache, [name]).summaries()?;
    let packages = summary.first().map_or(0, |summary| summary.packages);
    context.reporter.report(ProgressEvent::Synced {
        repository: name.to_string(),
        packages,
        changed,
    });
    Ok(Opened {
        session,
        metadata: refreshed.metadata,
        changed,
    })
}

fn has_index(paths: &Paths, session: &Session<'_>) -> bool {
    Index::open(paths, [&session.repository().name])
        .repositories()
        .next()
        .is_some()
}

fn warn(context: &Context, error: &SyncError) {
    context.reporter.report(ProgressEvent::Warning {
        text: format!("{}; the cached index is used", chain(error)),
        hint: error
            .hint()
            .map(|hint| hint_below(context.options.root.as_deref(), hint)),
    });
}

/// The final document of `sync`.
#[derive(Serialize)]
struct Answer {
    changed: bool,
    repositories: Vec<Summary>,
}

pub(super) fn run(context: &mut Context) -> Result<Exit, Failure> {
    context.require_repository()?;
    // With --check nothing is stored.
    let scratch = tempfile::tempdir().map_err(Failure::Scratch)?;
    let _lock = if context.options.check {
        context.use_scratch(scratch.path())?;
        None
    } else {
        Some(context.writer()?)
    };
    let context = &*context;
    let transport = transport(context);
    let changed = block_on(async { Ok(open(context, &transport).await?.iter().any(|opened| opened.changed)) })?;
    if changed && !context.options.check {
        Records::open(&context.paths)?.log(&Entry {
            at: context.now,
            run: context.run(),
            action: "sync".to_owned(),
            package: String::new(),
            scope: String::new(),
            version: String::new(),
            kernel: String::new(),
            outcome: "done".to_owned(),
            detail: String::new(),
        })?;
    }
    let exit = context.exit(changed);
    if context.options.json {
        let repositories = context.index()?.summaries()?;
        print_json(&Document::new("sync", exit, Answer { changed, repositories }));
    }
    Ok(exit)
}
