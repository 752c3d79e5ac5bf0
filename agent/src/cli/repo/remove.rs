//! `repo remove`: this machine no longer trusts a repository. What was installed from it stays.

use std::fs;
use std::io;

use serde_json::json;

use super::list::find;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::config::{self, Repository};
use crate::exit::Exit;
use crate::files;
use crate::report::Document;
use crate::report::progress::{print_json, print_text};

pub(super) fn run(context: &Context, names: &[String]) -> Result<Exit, Failure> {
    let found = names
        .iter()
        .map(|name| find(context, name))
        .collect::<Result<Vec<_>, _>>()?;
    if !context.options.check {
        let _lock = context.writer()?;
        for repository in &found {
            remove(context, repository)?;
        }
    }
    if context.options.json {
        let body = json!({ "check": context.options.check, "repositories": names });
        print_json(&Document::new("repo-remove", Exit::Converged, body));
    } else {
        let done = if context.options.check {
            "would remove"
        } else {
            "removed"
        };
        names
            .iter()
            .for_each(|name| print_text(format_args!("{done} repository {name}")));
    }
    Ok(Exit::Converged)
}

fn remove(context: &Context, repository: &Repository) -> Result<(), Failure> {
    let own = context.root().join(config::DIR).join("repos.d");
    if repository.file.starts_with(&own) {
        files::remove(&repository.file).map_err(Failure::writing(&repository.file))?;
        // The root that `repo add` put beside it; another one may be used by others.
        let beside = own.join(format!("{}.root.json", repository.name));
        if repository.root == beside {
            files::remove(&beside).map_err(Failure::writing(&beside))?;
        }
    } else if let Some(name) = repository.file.file_name() {
        // A package installed the file: a mask of the same name in /etc stays when that is updated.
        let mask = own.join(name);
        files::write_atomically(&mask, b"").map_err(Failure::writing(&mask))?;
    }
    let paths = &context.paths;
    let name = &repository.name;
    for dir in [paths.trust(name), paths.segments(name)] {
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::writing(&dir)(error)),
            _ => {}
        }
    }
    for file in [paths.index(name), paths.etags(name)] {
        files::remove(&file).map_err(Failure::writing(&file))?;
    }
    Ok(())
}
