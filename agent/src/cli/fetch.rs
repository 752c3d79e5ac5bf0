//! `fetch`: sources into the store, verified, and nothing else.

use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::sync::{self, Opened};
use super::{block_on, packages};
use crate::exit::Exit;
use crate::fetch::Store;
use crate::report::progress::{Happening, print_json};

/// A source that is on this machine now.
#[derive(Serialize)]
struct Fetched {
    package: String,
    version: String,
    sha256: String,
    path: String,
}

pub(super) fn run(context: &Context, names: &[String]) -> Result<Exit, Failure> {
    context.require_repository()?;
    if context.options.check {
        let index = context.index()?;
        for name in names {
            let offer = packages::find(context, &index, name, None)?;
            anstream::println!("would fetch {} ({} bytes)", offer.id, offer.record.bundle.length);
        }
        return Ok(Exit::Converged);
    }
    let _lock = context.writer()?;
    let transport = sync::transport(context);
    block_on(async {
        let mut opened: Vec<Opened<'_>> = sync::open(context, &transport).await?;
        let index = context.index()?;
        let store = Store::of(&context.paths);
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
            context.reporter.tell(Happening::Fetching {
                package: offer.id.clone(),
                length,
            });
            let mut progress = |received: u64| context.reporter.received(&offer.id, received, length);
            let bundle = store.bundle(&manifest, session, &mut progress).await?;
            context.reporter.tell(Happening::Fetched {
                package: offer.id.clone(),
            });
            let path = bundle.path().display().to_string();
            if context.options.json {
                print_json(&Fetched {
                    package: offer.id.name.clone(),
                    version: offer.id.version.clone(),
                    sha256: manifest.manifest().bundle.sha256.clone(),
                    path,
                });
            } else {
                anstream::println!("{path}");
            }
        }
        Ok(Exit::Converged)
    })
}
