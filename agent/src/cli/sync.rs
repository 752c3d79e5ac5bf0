//! `sync`, and the repositories as a run has them: verified metadata, and an index in the cache that fits it.

use dkms_index::trust::TrustedMetadata;

use super::context::Context;
use super::failure::{Failure, chain};
use super::{block_on, nothing_cached};
use crate::exit::Exit;
use crate::report::progress::{Happening, print_json};
use crate::state::Paths;
use crate::state::index::Index;
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
    Transport::new(Options {
        allow_plain_http: context.config.policy.allow_plain_http,
        not_before: context.now,
        ..Options::default()
    })
}

/// Brings every repository up to date. One that cannot be reached serves from its cache; one whose files are not what its
/// keys promise stops the run.
pub(super) async fn open<'a>(context: &'a Context, transport: &'a Transport) -> Result<Vec<Opened<'a>>, Failure> {
    context.require_repository()?;
    let mut opened = Vec::new();
    let mut unreached = None;
    for repository in &context.config.repositories {
        context.reporter.tell(Happening::Syncing {
            repository: repository.name.to_string(),
        });
        let session = Session::new(repository, &context.cache, transport, context.network());
        match one(context, session).await {
            Ok(repository) => opened.push(repository),
            // Without a network and a cache this repository has nothing to give; another one may.
            Err(error) if error.is_transport() => {
                warn(context, &error);
                unreached = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    match unreached {
        Some(error) if opened.is_empty() => Err(error.into()),
        _ => Ok(opened),
    }
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
        // The old index is still verified, and only a hint.
        Err(error) if error.is_transport() && has_index(&context.cache, &session) => {
            warn(context, &error);
            false
        }
        Err(error) => return Err(error),
    };
    let name = &session.repository().name;
    let summary = Index::open(&context.cache, [name]).summaries()?;
    let packages = summary.first().map_or(0, |summary| summary.packages);
    context.reporter.tell(Happening::Synced {
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
    context.reporter.tell(Happening::Warning {
        text: format!("failed to synchronise: {}; going on with what is cached", chain(error)),
        hint: error.hint(),
    });
}

pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    context.require_repository()?;
    if context.options.check {
        let index = context.index()?;
        return if index.repositories().next().is_none() {
            Err(nothing_cached(context))
        } else {
            Ok(Exit::Converged)
        };
    }
    let _lock = context.writer()?;
    let transport = transport(context);
    let changed = block_on(async { Ok(open(context, &transport).await?.iter().any(|opened| opened.changed)) })?;
    if changed {
        Records::open(&context.paths)?.log(&Entry {
            at: context.now,
            run: context.run(),
            action: "sync".to_owned(),
            package: String::new(),
            version: String::new(),
            kernel: String::new(),
            outcome: "done".to_owned(),
            detail: String::new(),
        })?;
    }
    if context.options.json {
        context.index()?.summaries()?.iter().for_each(print_json);
    }
    Ok(if changed && context.options.detailed_exitcode {
        Exit::Changed
    } else {
        Exit::Converged
    })
}
