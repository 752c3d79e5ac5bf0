//! `dkms-repo mirror`.

use std::path::{Path, PathBuf};

use dkms_index::modalias::VendorId;

use super::push::{Bar, open_target, runtime, tell};
use super::{Context, Failure, print};
use crate::files;
use crate::mirror::{Choice, mirror};
use crate::push::Options;
use crate::store::{Address, FIRST_ROOT, Store};

/// Copies a published repository, whole or in part, and verifies it on the way as a machine would.
///
/// Nothing is written before all metadata, the index and every manifest were verified; then only what is missing, in the order that keeps the
/// mirror whole at any moment, each source when its hash is right. The same command again brings the mirror up to date, or goes on where it was
/// interrupted. With --bus, --vendor, --package or --kernel only those packages, and what they need to be built, are copied; machines take
/// the others from their next address.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the repository is: https://HOST/PATH, s3://BUCKET/PREFIX, gs://, az://, or a directory.
    #[arg(value_name = "FROM")]
    source: Address,
    /// Where the mirror is, or will be; addresses as for `publish --to`.
    #[arg(value_name = "TO")]
    target: Address,
    /// The root that machines have pinned; default: the first one of the repository of --repo.
    #[arg(long, value_name = "ROOT.JSON")]
    from: Option<PathBuf>,
    /// Only packages for devices of this bus, such as usb; may be repeated.
    #[arg(long = "bus", value_name = "BUS")]
    buses: Vec<String>,
    /// Only packages for devices of this vendor, such as pci-10ec; may be repeated.
    #[arg(long = "vendor", value_name = "BUS-VENDOR")]
    vendors: Vec<VendorId>,
    /// Only packages with this name; may be repeated.
    #[arg(long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// Without packages that are known not to build on this kernel, such as 6.12; may be repeated: one that builds is enough.
    #[arg(long = "kernel", value_name = "RELEASE")]
    kernels: Vec<String>,
    /// Also delete files of former states.
    #[arg(long)]
    delete: bool,
    /// Take the state of FROM also where TO has a newer or another one.
    #[arg(long)]
    replace: bool,
    /// Only tell what would be written and deleted.
    #[arg(long)]
    dry_run: bool,
}

/// Copies.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let pinned_root = pinned_root(args.from.as_deref(), context)?;
    let choice = Choice {
        buses: args.buses,
        vendors: args.vendors,
        packages: args.packages,
        kernels: args.kernels,
    };
    let options = Options {
        dry_run: args.dry_run,
        delete: args.delete,
        // What is copied was verified, so that whatever else lies under its name is not wanted.
        take_over: true,
        replace: args.replace,
    };
    let from = Store::open(&args.source)?;
    let to = open_target(&args.target, args.dry_run)?;
    let bar = Bar::new(to.address(), args.dry_run || context.json);
    let copied = runtime()?.block_on(mirror(
        &from,
        &to,
        &pinned_root,
        &choice,
        options,
        context.now,
        &|progress| bar.take(progress),
    ));
    bar.finish();
    let copied = copied?;
    if context.json {
        print::json(&copied);
    } else {
        tell(&[copied], args.dry_run);
    }
    Ok(())
}

/// The root that is trusted: what comes from the place itself proves nothing.
pub(super) fn pinned_root(given: Option<&Path>, context: &Context) -> Result<Vec<u8>, Failure> {
    if let Some(path) = given {
        return Ok(files::read(path)?);
    }
    let repository = context.repository().map_err(|failure| {
        failure.with_hint(
            "give the root that machines have pinned: --from ROOT.JSON, or the repository's directory: -C DIR",
        )
    })?;
    Ok(files::read(&repository.public_dir().join(FIRST_ROOT))?)
}
