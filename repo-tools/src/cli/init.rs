//! `dkms-repo init`.

use std::path::PathBuf;

use super::{Context, Failure};
use crate::init::{Plan, Quorum, init};
use crate::repository::{Config, Expiry};

/// Makes a repository: keys, roles, and an empty index, published.
///
/// The keys of root, targets and curated belong offline: move their files away from this machine when they are not
/// needed. index, revocations, snapshot and timestamp are the online keys.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to make it; default: the directory of --repo.
    dir: Option<PathBuf>,
    /// The repository's name, for people and for the agent's configuration.
    #[arg(long, default_value = "drivers")]
    name: String,
    /// Signatures needed, and keys made, for root (M/N).
    #[arg(long, default_value = "2/3", value_name = "M/N")]
    root: Quorum,
    /// The same for targets, which delegates to all others.
    #[arg(long, default_value = "1/1", value_name = "M/N")]
    targets: Quorum,
    /// The same for curated, which signs manifests of drivers over many vendors.
    #[arg(long, default_value = "1/1", value_name = "M/N")]
    curated: Quorum,
    /// Largest segment of the index, in bytes before compression.
    #[arg(long, default_value_t = 16 << 20, value_parser = clap::value_parser!(u32).range(4096..=16 << 20))]
    segment_bytes: u32,
}

/// Prints the path of the root file that machines pin.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let dir = args.dir.as_deref().unwrap_or(context.repo_dir());
    let config = Config {
        name: args.name,
        sandbox: dkms_engine::sandbox::Policy::default(),
        expires_days: Expiry::default(),
        segment_bytes: args.segment_bytes as usize,
        publish_to: Vec::new(),
    };
    let plan = Plan {
        config,
        root: args.root,
        targets: args.targets,
        curated: args.curated,
        secrets: context.secrets(),
    };
    let pinned = init(dir, &plan, context.now)?;
    if context.json {
        anstream::println!("{}", serde_json::json!({"repository": dir, "root": pinned}));
    } else {
        anstream::println!("{}", pinned.display());
        anstream::eprintln!(
            "made the repository {}; machines pin the root file above",
            dir.display()
        );
        anstream::eprintln!(
            "keep the root, targets and curated keys of {} offline",
            dir.join("keys").display()
        );
    }
    Ok(())
}
