//! `dkms-repo encrypt-key`.

use super::{Context, Failure, print};
use crate::keys;

/// Encrypts private keys with a passphrase (PKCS#8: scrypt and AES-256), each file in its place.
///
/// The passphrase is asked for whenever such a key has to sign. Keys that a timer needs (index, snapshot, timestamp, revocations) are better
/// left as they are. The plain file is replaced, not wiped: what it was can be left on the disk, so encrypt on the stick where the
/// key will stay, or rotate it afterwards.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The key, such as root-1.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Encrypts.
pub(super) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let repository = context.repository()?;
    let _lock = crate::recovery::lock(repository.path())?;
    for name in &args.names {
        let is_plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            && !name.starts_with('.');
        if !is_plain {
            return Err(Failure::new(format!("{name:?} is not the name of a key"))
                .with_hint("the name of its file without .pem, such as root-1"));
        }
        let path = repository.keys_dir().join(format!("{name}.pem"));
        keys::encrypt(&path, repository.secrets())?;
        print::note(&format!("encrypted {}", path.display()));
    }
    Ok(())
}
