//! `dkms-repo diff`.

use std::path::PathBuf;

use super::mirror::pinned_root;
use super::push::runtime;
use super::{Context, Failure, print};
use crate::diff::{Change, Changed, Difference, Side, difference};
use crate::store::{Address, Store};

/// Tells what differs between two states: packages, revocations, overrides, and keys and versions of roles.
///
/// Without FROM it is what is published here, without TO what is staged here: `dkms-repo diff` tells what the next `publish` changes. Published
/// states are verified as a machine would, but may have expired.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A published state: a directory, https://HOST/PATH, s3://BUCKET/PREFIX, gs:// or az://
    #[arg(value_name = "FROM")]
    one: Option<Address>,
    /// Another one.
    #[arg(value_name = "TO")]
    other: Option<Address>,
    /// The root that machines have pinned; default: the first one of the repository of --repo.
    #[arg(long, value_name = "ROOT.JSON")]
    from: Option<PathBuf>,
}

/// Compares.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let pinned = pinned_root(args.from.as_deref(), context)?;
    let runtime = runtime()?;
    let published = |address: &Address| -> Result<Side, Failure> {
        let store = Store::open(address)?;
        Ok(runtime.block_on(Side::published(&store, &pinned, context.now))?)
    };
    let one = match &args.one {
        Some(address) => published(address)?,
        None => published(&Address::Directory(context.repository()?.public_dir()))?,
    };
    let other = match &args.other {
        Some(address) => published(address)?,
        None => Side::staged(&context.repository()?)?,
    };
    let found = difference(&one, &other);
    if context.json {
        print::json(&found);
    } else {
        tell(&found);
    }
    Ok(())
}

fn tell(found: &Difference) {
    for package in &found.packages {
        let sign = match package.change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
        };
        print::line(&format!("{sign} {} {}", package.name, package.version));
        package.fields.iter().for_each(|field| tell_field(field, "    "));
    }
    for (sign, revocations) in [('+', &found.revoked), ('-', &found.unrevoked)] {
        for revocation in revocations {
            print::line(&format!("{sign} revocation {revocation}"));
        }
    }
    for (sign, overrides) in [('+', &found.overrides_added), ('-', &found.overrides_removed)] {
        for one in overrides {
            print::line(&format!("{sign} override {one}"));
        }
    }
    for role in &found.roles {
        print::line(&format!("~ role {}", role.name));
        role.fields.iter().for_each(|field| tell_field(field, "    "));
    }
    if found.is_empty() {
        print::note(&format!("no differences between {} and {}", found.from, found.to));
    }
}

fn tell_field(field: &Changed, indent: &str) {
    let Changed {
        field: name,
        from,
        to,
        added,
        removed,
    } = field;
    if added.is_empty() && removed.is_empty() {
        print::line(&format!("{indent}{name}: {} -> {}", shown(from), shown(to)));
        return;
    }
    print::line(&format!("{indent}{name}:"));
    for (sign, values) in [('-', removed), ('+', added)] {
        for value in values {
            print::line(&format!("{indent}  {sign} {}", shown(value)));
        }
    }
}

/// A value without the quotes of JSON around plain text.
fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "nothing".to_owned(),
        other => other.to_string(),
    }
}
