//! The client under test of TUF's public conformance suite, on the agent's own code (`Session`, the transport, `dkms_index::trust`).
//!
//! The suite's interface is in its CLIENT-CLI.md: `init ROOT`, `refresh`, `download`; exit code 0 or 1; the verified metadata lies under unversioned
//! names in `--metadata-dir`. What the agent keeps lies in `agent` below that. Never shipped; `scripts/conformance.sh` runs the suite.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use dkms_engine::root::Root;
use dkms_fetch::config::{Name, Repository};
use dkms_fetch::state::Paths;
use dkms_fetch::sync::{Network, Session};
use dkms_fetch::transport::{Options, Transport};
use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use sigstore_crypto::{CryptoProvider, Error, HashContext, SigningScheme};
use sigstore_types::HashAlgorithm;

/// No target of the suite is longer.
const TARGET_MAX_BYTES: u64 = 64 << 20;

/// The suite's command line.
#[derive(Debug, Parser)]
#[command(name = "tuf-conformance-client")]
struct Cli {
    #[arg(long)]
    metadata_dir: PathBuf,
    #[arg(long)]
    metadata_url: Option<String>,
    #[arg(long)]
    target_name: Vec<String>,
    #[arg(long)]
    target_base_url: Option<String>,
    #[arg(long)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init { root: PathBuf },
    Refresh,
    Download,
}

/// Does what the arguments say, without the name of the program.
///
/// # Errors
/// When the suite expects exit code 1.
pub fn run<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let cli = Cli::try_parse_from(std::iter::once("tuf-conformance-client").chain(arguments))?;
    let client = Client::new(&cli.metadata_dir)?;
    match &cli.command {
        Command::Init { root } => client.init(root),
        Command::Refresh => client.work(&cli, &[]),
        Command::Download => client.work(&cli, &cli.target_name),
    }
}

struct Client<'a> {
    shown: &'a Path,
    pinned: PathBuf,
    paths: Paths,
    name: Name,
}

impl<'a> Client<'a> {
    fn new(metadata_dir: &'a Path) -> Result<Self> {
        let machine = metadata_dir.join("agent");
        Ok(Self {
            shown: metadata_dir,
            pinned: machine.join("root.json"),
            paths: Paths::of(&Root::at(&machine)),
            name: Name::try_from("suite".to_owned()).map_err(anyhow::Error::msg)?,
        })
    }

    fn init(&self, root: &Path) -> Result<()> {
        fs::create_dir_all(self.pinned.parent().context("a directory")?)?;
        fs::copy(root, &self.pinned)?;
        fs::copy(root, self.shown.join("root.json"))?;
        Ok(())
    }

    /// Refreshes and downloads; shows what was verified also when that failed.
    fn work(&self, cli: &Cli, targets: &[String]) -> Result<()> {
        let url = cli.metadata_url.as_deref().context("--metadata-url")?;
        let base = url
            .trim_end_matches('/')
            .strip_suffix("metadata")
            .context("an URL that ends with metadata")?;
        if let Some(target_url) = &cli.target_base_url {
            let expected = format!("{base}targets/");
            ensure!(
                format!("{}/", target_url.trim_end_matches('/')) == expected,
                "targets are not beside the metadata, but at {target_url}"
            );
        }
        let repository = Repository {
            name: self.name.clone(),
            file: self.pinned.clone(),
            urls: vec![base.parse()?],
            root: self.pinned.clone(),
            priority: 0,
            enabled: true,
        };
        let runtime = tokio::runtime::Runtime::new()?;
        let transport = Transport::new(Options::default());
        let session = Session::new(&repository, &self.paths, &transport, Network::Online);
        let done = runtime.block_on(self.exchange(&session, cli, targets));
        let shown = self.show(&session);
        done.and(shown)
    }

    async fn exchange(&self, session: &Session<'_>, cli: &Cli, targets: &[String]) -> Result<()> {
        let mut metadata = session.refresh_top_level(jiff::Timestamp::now()).await?;
        for name in targets {
            let dir = cli.target_dir.as_deref().context("--target-dir")?;
            let place = dir.join(name.replace('/', "%2F"));
            let held = fs::read(&place).ok();
            let bytes = session
                .target(&mut metadata, name, TARGET_MAX_BYTES, held.as_deref())
                .await?;
            if held.is_none_or(|held| held != bytes) {
                fs::write(&place, bytes)?;
            }
        }
        Ok(())
    }

    /// Puts the verified metadata where the suite looks for it, and nothing else.
    fn show(&self, session: &Session<'_>) -> Result<()> {
        let kept = session.kept_metadata()?;
        for entry in fs::read_dir(self.shown)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().context("UTF-8")?;
            let is_kept = kept.iter().any(|(role, _)| name == format!("{role}.json"));
            if entry.file_type()?.is_file() && !is_kept {
                fs::remove_file(entry.path())?;
            }
        }
        for (role, bytes) in kept {
            fs::write(self.shown.join(format!("{role}.json")), bytes)?;
        }
        Ok(())
    }
}

/// What the agent verifies, and RSA-PSS, which the suite has keys of. The agent does not take these.
#[derive(Debug)]
struct WithRsa(&'static dyn CryptoProvider);

impl CryptoProvider for WithRsa {
    fn hash(&self, algorithm: HashAlgorithm) -> sigstore_crypto::Result<Box<dyn HashContext>> {
        self.0.hash(algorithm)
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> sigstore_crypto::Result<()> {
        if scheme != SigningScheme::RsaPssSha256 {
            return self.0.verify_raw(scheme, key, data, signature);
        }
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key)
            .verify(data, signature)
            .map_err(|_| Error::Verification("RSA-PSS signature is invalid".to_owned()))
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        digest: &[u8],
        signature: &[u8],
    ) -> sigstore_crypto::Result<()> {
        self.0.verify_prehashed(scheme, key, digest, signature)
    }
}

/// Lets this whole process verify RSA-PSS, too. Only for the program that the suite starts.
///
/// # Errors
/// When something was verified before.
pub fn verify_rsa_too() -> Result<()> {
    let provider = Box::leak(Box::new(WithRsa(dkms_index::trust::provider())));
    if sigstore_crypto::install_default_provider(provider).is_err() {
        bail!("another provider of signatures is in use already");
    }
    Ok(())
}
