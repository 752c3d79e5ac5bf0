//! `hold` and `unhold`: keep `--auto` from changing a package, and allow it again.

use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::packages;
use crate::exit::Exit;
use crate::report::Document;
use crate::report::progress::{print_json, print_note};
use crate::state::records::{Entry, Hold, Records};

pub(super) fn hold(context: &Context, packages: &[String]) -> Result<Exit, Failure> {
    change(context, packages, "hold", |records, package| {
        records.hold(&Hold {
            package: package.to_owned(),
            reason: String::new(),
            at: context.now,
        })?;
        Ok("is held: --auto leaves it as it is")
    })
}

pub(super) fn unhold(context: &Context, packages: &[String]) -> Result<Exit, Failure> {
    change(context, packages, "unhold", |records, package| {
        let held = records.unhold(package)?;
        let released = records.release(package)?;
        Ok(match (held, released) {
            (false, 0) => "was neither held nor quarantined",
            _ => "may be installed again",
        })
    })
}

fn change(
    context: &Context,
    packages: &[String],
    action: &'static str,
    work: impl Fn(&Records, &str) -> Result<&'static str, Failure>,
) -> Result<Exit, Failure> {
    let index = context.any_index();
    let records = Records::open_to_read(&context.paths)?;
    let known = packages::known(&index, &context.tree()?, &records)?;
    drop(records);
    let packages: Vec<String> = packages
        .iter()
        .map(|text| match packages::resolve(text, &known) {
            Ok(name) => Ok(name.to_owned()),
            // Which packages a repository has is not known before its index is there.
            Err(_) if index.repositories().next().is_none() => {
                context.require_repository()?;
                Ok(packages::parse(text).0.to_owned())
            }
            Err(failure) => Err(failure),
        })
        .collect::<Result<_, _>>()?;
    let packages = &packages[..];
    if context.options.check {
        packages
            .iter()
            .for_each(|package| print_note(format_args!("{package}: would {action}")));
        return Ok(finish(context, packages, action));
    }
    let _lock = context.writer()?;
    let records = Records::open(&context.paths)?;
    for package in packages {
        let outcome = work(&records, package)?;
        records.log(&Entry {
            at: context.now,
            run: context.run(),
            action: action.to_owned(),
            package: package.clone(),
            scope: String::new(),
            version: String::new(),
            kernel: String::new(),
            outcome: "done".to_owned(),
            detail: String::new(),
        })?;
        print_note(format_args!("{package} {outcome}"));
    }
    Ok(finish(context, packages, action))
}

fn finish(context: &Context, packages: &[String], action: &'static str) -> Exit {
    if context.options.json {
        let body = json!({ "check": context.options.check, "packages": packages });
        print_json(&Document::new(action, Exit::Converged, body));
    }
    Exit::Converged
}
