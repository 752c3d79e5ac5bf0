//! `hold` and `unhold`: keep `--auto` from changing a package, and allow it again.

use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::packages;
use crate::exit::Exit;
use crate::report::Document;
use crate::report::progress::{print_json, print_note};
use crate::state::records::{Entry, Hold, Records};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Hold,
    Unhold,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Unhold => "unhold",
        }
    }

    /// Whether the records change by it.
    fn changes(self, records: &Records, package: &str) -> Result<bool, Failure> {
        let held = records.holds()?.iter().any(|hold| hold.package == package);
        Ok(match self {
            Self::Hold => !held,
            Self::Unhold => held || records.quarantined()?.iter().any(|one| one.package == package),
        })
    }

    fn carry_out(self, context: &Context, records: &Records, package: &str) -> Result<(), Failure> {
        match self {
            Self::Hold => records.hold(&Hold {
                package: package.to_owned(),
                reason: String::new(),
                at: context.now,
            })?,
            Self::Unhold => {
                records.unhold(package)?;
                records.release(package)?;
            }
        }
        records.log(&Entry {
            at: context.now,
            run: context.run(),
            action: self.word().to_owned(),
            package: package.to_owned(),
            scope: String::new(),
            version: String::new(),
            kernel: String::new(),
            outcome: "done".to_owned(),
            detail: String::new(),
        })?;
        Ok(())
    }

    /// What became of a package, for people.
    fn sentence(self, package: &str, changes: bool, check: bool) -> String {
        match (self, changes) {
            (Self::Hold, false) => format!("{package} is held already: nothing to do"),
            (Self::Unhold, false) => format!("{package} is neither held nor quarantined: nothing to do"),
            (action, true) if check => format!("{package}: would {}", action.word()),
            (Self::Hold, true) => format!("{package} is held: --auto leaves it as it is"),
            (Self::Unhold, true) => format!("{package} may be installed again"),
        }
    }
}

pub(super) fn hold(context: &Context, packages: &[String]) -> Result<Exit, Failure> {
    change(context, packages, Action::Hold)
}

pub(super) fn unhold(context: &Context, packages: &[String]) -> Result<Exit, Failure> {
    change(context, packages, Action::Unhold)
}

fn change(context: &Context, packages: &[String], action: Action) -> Result<Exit, Failure> {
    let index = context.any_index();
    let records = Records::open_to_read(&context.paths)?;
    let known = packages::known(&index, &context.tree()?, &records)?;
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
    let check = context.options.check;
    let (records, _lock) = if check {
        (records, None)
    } else {
        drop(records);
        let lock = context.writer()?;
        (Records::open(&context.paths)?, Some(lock))
    };
    let mut changed = false;
    for package in &packages {
        let changes = action.changes(&records, package)?;
        if changes && !check {
            action.carry_out(context, &records, package)?;
        }
        print_note(action.sentence(package, changes, check));
        changed |= changes;
    }
    let exit = context.exit(changed);
    if context.options.json {
        let body = json!({ "check": check, "packages": packages, "changed": changed });
        print_json(&Document::new(action.word(), exit, body));
    }
    Ok(exit)
}
