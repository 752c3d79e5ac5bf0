//! `dkms-repo revoke` and `unrevoke`.

use dkms_index::document::revocation::{Action, Revocation, Subject};

use super::publish::conclude;
use super::push::ToArgs;
use super::{Context, Failure};
use crate::authority;
use crate::push::Options;

/// Denies a bundle, or versions of a package, on all machines; published at once with the online keys alone.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Why, for people.
    #[arg(long)]
    reason: String,
    /// What machines do: never install it, or also remove it where it is.
    #[arg(long, value_enum, default_value_t = What::Block)]
    action: What,
}

/// Takes back a revocation that names just this bundle, or these versions; published at once with the online keys alone.
#[derive(Debug, clap::Args)]
pub(super) struct UnrevokeArgs {
    #[command(flatten)]
    subject: SubjectArgs,
}

#[derive(Debug, clap::Args)]
struct SubjectArgs {
    /// Name of the package.
    #[arg(required_unless_present = "bundle", conflicts_with = "bundle")]
    package: Option<String>,
    /// A bundle, by its SHA-256.
    #[arg(long, value_parser = sha256)]
    bundle: Option<String>,
    /// Lowest version; default: the oldest.
    #[arg(long, requires = "package")]
    from: Option<String>,
    /// Highest version; default: the newest, also of those to come.
    #[arg(long, requires = "package")]
    to: Option<String>,
}

impl From<SubjectArgs> for Subject {
    fn from(args: SubjectArgs) -> Self {
        match (args.bundle, args.package) {
            (Some(hash), _) => Self::Bundle(hash),
            (None, name) => Self::Package {
                name: name.unwrap_or_default(),
                from: args.from,
                to: args.to,
            },
        }
    }
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    Block,
    Uninstall,
}

fn sha256(text: &str) -> Result<String, String> {
    let is_hash = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_hash
        .then(|| text.to_owned())
        .ok_or_else(|| "expected 64 lower-case hexadecimal digits".to_owned())
}

/// Revokes.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let action = match args.action {
        What::Block => Action::Block,
        What::Uninstall => Action::Uninstall,
    };
    let revocation = Revocation {
        subject: args.subject.into(),
        reason: args.reason,
        action,
    };
    let repository = context.repository()?;
    let report = authority::revoke(&repository, revocation, context.now)?;
    conclude(&repository, &report, &ToArgs::default(), Options::default(), context)
}

/// Takes a revocation back.
pub(super) fn run_unrevoke(args: UnrevokeArgs, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    let report = authority::unrevoke(&repository, &args.subject.into(), context.now)?;
    conclude(&repository, &report, &ToArgs::default(), Options::default(), context)
}
