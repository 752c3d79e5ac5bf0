//! `hold` and `unhold`: the owner's word on a package.

use super::context::Context;
use super::failure::Failure;
use crate::exit::Exit;
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
    action: &str,
    work: impl Fn(&Records, &str) -> Result<&'static str, Failure>,
) -> Result<Exit, Failure> {
    if context.options.check {
        packages
            .iter()
            .for_each(|package| eprintln!("{package}: would {action}"));
        return Ok(Exit::Converged);
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
            version: String::new(),
            kernel: String::new(),
            outcome: "done".to_owned(),
            detail: String::new(),
        })?;
        eprintln!("{package} {outcome}");
    }
    Ok(Exit::Converged)
}
