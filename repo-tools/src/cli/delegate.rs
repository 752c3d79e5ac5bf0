//! `dkms-repo delegate`, `rotate`, `renew` and `roles`.

use dkms_index::modalias::VendorId;

use super::publish::conclude;
use super::push::ToArgs;
use super::{Context, Failure, ceremony, print};
use crate::authority::change::Wanted;
use crate::authority::{self, AuthorityError};
use crate::init::Quorum;
use crate::keys::PublicKey;
use crate::publish::Published;
use crate::push::Options;

/// Lets a vendor sign manifests for its own devices: delegates its directory to a role, by the vendor's public keys or by new keys.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Bus and vendor, such as pci-10ec.
    vendor: VendorId,
    /// Signatures needed, and keys made (M/N); with --public-key the number of those. Default: one of all.
    #[arg(long, value_name = "M/N")]
    keys: Option<Quorum>,
    /// A public key of the vendor (ed25519), who keeps the private one: 64 hex digits, or a file with them or with PEM. May be repeated.
    /// No key is made then.
    #[arg(long, value_name = "FILE|HEX")]
    public_key: Vec<String>,
    /// Publish nothing; prepare what keys have to sign that are not here, for `sign` and `merge`.
    #[arg(long, conflicts_with = "to")]
    prepare: bool,
    #[command(flatten)]
    to: ToArgs,
}

/// Gives a role new keys; for root, targets, snapshot and timestamp by a new root.
#[derive(Debug, clap::Args)]
pub(super) struct RotateArgs {
    /// The role.
    role: String,
    /// Signatures needed, and keys made; default: as many as before.
    #[arg(long, value_name = "M/N")]
    keys: Option<Quorum>,
    /// Take this public key (ed25519) instead of making one, such as that of a token: 64 hex digits, or a file with them or with PEM. May be
    /// repeated. What signs by it has to be at hand, as a file or as NAME.signer.
    #[arg(long, value_name = "FILE|HEX")]
    public_key: Vec<String>,
    /// Publish nothing; prepare what keys have to sign that are not here, for `sign` and `merge`.
    #[arg(long, conflicts_with = "to")]
    prepare: bool,
    #[command(flatten)]
    to: ToArgs,
}

/// Signs a role again, so that its lifetime begins anew; for root that is a new root with the same keys.
#[derive(Debug, clap::Args)]
pub(super) struct RenewArgs {
    /// The role.
    role: String,
    /// Publish nothing; prepare what keys have to sign that are not here, for `sign` and `merge`.
    #[arg(long, conflicts_with = "to")]
    prepare: bool,
    #[command(flatten)]
    to: ToArgs,
}

/// Lists the roles: version, expiry, threshold.
#[derive(Debug, clap::Args)]
pub(super) struct RolesArgs {}

/// Delegates.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if args.prepare {
        let wanted = Wanted::Delegate {
            vendor: args.vendor,
            keys: public_keys(&args.public_key)?,
            quorum: args.keys,
        };
        return ceremony::prepare(Some(&wanted), context);
    }
    let repository = context.repository()?;
    let report = if args.public_key.is_empty() {
        let quorum = args.keys.unwrap_or(Quorum { threshold: 1, keys: 1 });
        authority::delegate(&repository, args.vendor, quorum, context.now)?
    } else {
        let keys = public_keys(&args.public_key)?;
        authority::delegate_to(&repository, args.vendor, keys, args.keys, context.now)?
    };
    conclude(&repository, &report, &args.to, Options::default(), context)
}

fn public_keys(sources: &[String]) -> Result<Vec<PublicKey>, AuthorityError> {
    let keys = sources.iter().map(|source| PublicKey::read(source));
    Ok(keys.collect::<Result<Vec<_>, _>>()?)
}

/// Rotates.
pub(super) fn run_rotate(args: RotateArgs, context: &Context) -> Result<(), Failure> {
    if args.prepare {
        let wanted = Wanted::Rotate {
            role: args.role,
            keys: public_keys(&args.public_key)?,
            quorum: args.keys,
        };
        return ceremony::prepare(Some(&wanted), context);
    }
    let repository = context.repository()?;
    let report = authority::rotate_to(
        &repository,
        &args.role,
        public_keys(&args.public_key)?,
        args.keys,
        context.now,
    )?;
    conclude(&repository, &report, &args.to, Options::default(), context)
}

/// Renews.
pub(super) fn run_renew(args: RenewArgs, context: &Context) -> Result<(), Failure> {
    if args.prepare {
        return ceremony::prepare(Some(&Wanted::Renew { role: args.role }), context);
    }
    let repository = context.repository()?;
    let report = authority::renew(&repository, &args.role, context.now)?;
    conclude(&repository, &report, &args.to, Options::default(), context)
}

/// Lists.
pub(super) fn run_roles(_: RolesArgs, context: &Context) -> Result<(), Failure> {
    let published = Published::load(&context.repository()?.public_dir())?;
    let delegations = published.delegations();
    let mut rows = Vec::new();
    for (role, version, expires) in published.signed() {
        let delegated = delegations.roles.iter().find(|d| d.name == role).map(|d| &d.keys);
        let keys = delegated.or_else(|| published.root.signed.roles.get(role));
        rows.push((role, version, Some(expires), keys));
    }
    // Delegated, and nothing is signed yet.
    for delegation in &delegations.roles {
        if !published.roles.contains_key(&delegation.name) {
            rows.push((delegation.name.as_str(), 0, None, Some(&delegation.keys)));
        }
    }
    if context.json {
        let row = |(role, version, expires, keys): &(
            &str,
            u64,
            Option<jiff::Timestamp>,
            Option<&crate::signed::RoleKeys>,
        )| {
            serde_json::json!({
                "role": role, "version": version, "expires": expires,
                "threshold": keys.map(|k| k.threshold), "keyids": keys.map(|k| &k.keyids),
            })
        };
        print::json(&rows.iter().map(row).collect::<Vec<_>>());
        return Ok(());
    }
    for (role, version, expires, keys) in rows {
        let (threshold, keys) = keys.map_or((0, 0), |k| (k.threshold, k.keyids.len()));
        let signed = match expires {
            Some(expires) => format!("version {version}\tuntil {expires}"),
            None => "nothing is signed yet\t-".to_owned(),
        };
        anstream::println!("{role}\t{signed}\t{threshold} of {keys} keys");
    }
    Ok(())
}
