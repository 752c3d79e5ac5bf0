//! `dkms-repo delegate`, `rotate` and `roles`.

use dkms_index::modalias::VendorId;

use super::publish::tell;
use super::{Context, Failure, print};
use crate::authority;
use crate::init::Quorum;
use crate::publish::Published;

/// Lets a vendor sign manifests for its own devices: makes keys for the role and delegates its directory to it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Bus and vendor, such as pci-10ec.
    vendor: VendorId,
    /// Signatures needed, and keys made (M/N).
    #[arg(long, default_value = "1/1", value_name = "M/N")]
    keys: Quorum,
}

/// Gives a role new keys; for root, targets, snapshot and timestamp by a new root.
#[derive(Debug, clap::Args)]
pub(super) struct RotateArgs {
    /// The role.
    role: String,
    /// Signatures needed, and keys made; default: as many as before.
    #[arg(long, value_name = "M/N")]
    keys: Option<Quorum>,
}

/// Lists the roles: version, expiry, threshold.
#[derive(Debug, clap::Args)]
pub(super) struct RolesArgs {}

/// Delegates.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    tell(
        &authority::delegate(&context.repository()?, args.vendor, args.keys, context.now)?,
        context,
    );
    Ok(())
}

/// Rotates.
pub(super) fn run_rotate(args: RotateArgs, context: &Context) -> Result<(), Failure> {
    tell(
        &authority::rotate(&context.repository()?, &args.role, args.keys, context.now)?,
        context,
    );
    Ok(())
}

/// Lists.
pub(super) fn run_roles(_: RolesArgs, context: &Context) -> Result<(), Failure> {
    let published = Published::load(&context.repository()?.public_dir())?;
    let delegations = published.delegations();
    let mut rows = Vec::new();
    for (role, keys) in &published.root.signed.roles {
        let (version, expires) = match role.as_str() {
            "root" => (published.root.signed.version, published.root.signed.expires),
            "snapshot" => (published.snapshot.signed.version, published.snapshot.signed.expires),
            "timestamp" => (published.timestamp.signed.version, published.timestamp.signed.expires),
            _ => continue,
        };
        rows.push((role.as_str(), version, expires, Some(keys)));
    }
    for (role, signed) in &published.roles {
        let delegated = delegations.roles.iter().find(|d| d.name == *role).map(|d| &d.keys);
        let keys = delegated.or_else(|| published.root.signed.roles.get(role));
        rows.push((role.as_str(), signed.signed.version, signed.signed.expires, keys));
    }
    if context.json {
        let row = |(role, version, expires, keys): &(&str, u64, jiff::Timestamp, Option<&crate::signed::RoleKeys>)| {
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
        anstream::println!("{role}\tversion {version}\tuntil {expires}\t{threshold} of {keys} keys");
    }
    Ok(())
}
