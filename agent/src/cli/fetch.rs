//! `fetch`: sources into the store, verified, and nothing else.

use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::sync::{self, Opened};
use super::{block_on, packages};
use crate::candidate::OfferId;
use crate::exit::Exit;
use crate::fetch::Store;
use crate::report::Document;
use crate::report::progress::{ProgressEvent, print_json, print_text};

/// A source that is on this machine now, or would be.
#[derive(Serialize)]
struct Fetched {
    #[serde(flatten)]
    package: OfferId,
    sha256: String,
    length: u64,
    /// Where it is; absent with `--check`.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// The final document of `fetch`.
#[derive(Serialize)]
struct Answer {
    packages: Vec<Fetched>,
}

fn finish(context: &Context, packages: Vec<Fetched>) -> Exit {
    let exit = Exit::Converged;
    if context.options.json {
        print_json(&Document::new("fetch", exit, Answer { packages }));
        return exit;
    }
    for fetched in &packages {
        match &fetched.path {
            Some(path) => print_text(path),
            None => print_text(format_args!(
                "would fetch {} ({} bytes)",
                fetched.package, fetched.length
            )),
        }
    }
    exit
}

pub(super) fn run(context: &Context, names: &[String]) -> Result<Exit, Failure> {
    context.require_repository()?;
    if context.options.check {
        let index = context.index()?;
        if index.repositories().next().is_none() {
            return Err(super::nothing_cached(context));
        }
        let mut planned = Vec::new();
        for name in names {
            let offer = packages::find(context, &index, name, None)?;
            planned.push(Fetched {
                package: offer.id.clone(),
                sha256: offer.record.bundle.sha256.clone(),
                length: offer.record.bundle.length,
                path: None,
            });
        }
        return Ok(finish(context, planned));
    }
    let _lock = context.writer()?;
    let transport = sync::transport(context);
    block_on(async {
        let mut opened: Vec<Opened<'_>> = sync::open(context, &transport).await?;
        let index = context.index()?;
        let store = Store::of(&context.paths);
        let mut fetched = Vec::new();
        for name in names {
            let offer = packages::find(context, &index, name, None)?;
            let repository = opened
                .iter_mut()
                .find(|o| o.session.repository().name.as_str() == offer.id.repository);
            let Some(Opened { session, metadata, .. }) = repository else {
                return Err(super::nothing_cached(context));
            };
            let manifest = session.manifest(metadata, &offer.record.manifest).await?;
            let length = manifest.manifest().bundle.length;
            context.reporter.report(ProgressEvent::Fetching {
                package: offer.id.clone(),
                length,
            });
            let mut progress = |received: u64| context.reporter.received(&offer.id, received, length);
            let bundle = store.bundle(&manifest, session, &mut progress).await?;
            context.reporter.report(ProgressEvent::Fetched {
                package: offer.id.clone(),
            });
            fetched.push(Fetched {
                package: offer.id.clone(),
                sha256: manifest.manifest().bundle.sha256.clone(),
                length,
                path: Some(bundle.path().display().to_string()),
            });
        }
        Ok(finish(context, fetched))
    })
}
