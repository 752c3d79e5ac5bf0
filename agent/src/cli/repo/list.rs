//! `repo list` and `repo info`.

use std::fs;

use serde::Serialize;
use serde_json::json;

use super::add::show_root;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::config::{Name, Repository};
use crate::exit::Exit;
use crate::report::Document;
use crate::report::progress::{print_json, print_note, print_text};
use crate::sync::PinnedRoot;

/// One repository in a document.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a Name,
    file: String,
    urls: Vec<String>,
    priority: i32,
    enabled: bool,
    /// What is pinned; absent where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<PinnedRoot>,
}

fn shown(repository: &Repository) -> Shown<'_> {
    let root = fs::read(&repository.root).ok();
    Shown {
        name: &repository.name,
        file: repository.file.display().to_string(),
        urls: repository.urls.iter().map(ToString::to_string).collect(),
        priority: repository.priority,
        enabled: repository.enabled,
        root: root.and_then(|bytes| PinnedRoot::parse(&bytes).ok()),
    }
}

pub(super) fn list(context: &Context) -> Result<Exit, Failure> {
    let all = &context.config.known;
    if context.options.json {
        let repositories: Vec<Shown<'_>> = all.iter().map(shown).collect();
        print_json(&Document::new(
            "repo-list",
            Exit::Converged,
            json!({ "repositories": repositories }),
        ));
    } else if all.is_empty() {
        print_note("no repository is configured: `dkms-fetch repo add URL` adds one");
    } else {
        for one in all {
            let off = if one.enabled { "" } else { "  (disabled)" };
            let url = one.urls.first().map(ToString::to_string).unwrap_or_default();
            print_text(format_args!("{}  {url}  priority {}{off}", one.name, one.priority));
        }
    }
    Ok(Exit::Converged)
}

pub(super) fn info(context: &Context, names: &[String]) -> Result<Exit, Failure> {
    let found = names
        .iter()
        .map(|name| find(context, name))
        .collect::<Result<Vec<_>, _>>()?;
    let shown: Vec<Shown<'_>> = found.into_iter().map(shown).collect();
    if context.options.json {
        let body = json!({ "repositories": shown });
        print_json(&Document::new("repo-info", Exit::Converged, body));
        return Ok(Exit::Converged);
    }
    for one in &shown {
        print_text(format_args!("repository   {}", one.name));
        print_text(format_args!("file         {}", one.file));
        one.urls
            .iter()
            .for_each(|url| print_text(format_args!("url          {url}")));
        print_text(format_args!("priority     {}", one.priority));
        if !one.enabled {
            print_text("disabled     `enabled = false` in its file");
        }
        match &one.root {
            Some(root) => show_root(root),
            None => print_text("root         the pinned root.json cannot be read"),
        }
    }
    Ok(Exit::Converged)
}

/// The configured repository of this name.
pub(super) fn find<'a>(context: &'a Context, name: &str) -> Result<&'a Repository, Failure> {
    let known = &context.config.known;
    known
        .iter()
        .find(|one| one.name.as_str() == name)
        .ok_or_else(|| Failure::UnknownRepository {
            name: name.to_owned(),
            known: known.iter().map(|one| one.name.to_string()).collect(),
        })
}
