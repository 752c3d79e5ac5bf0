//! Signatures and hashes for `sigstore-tuf`, by ed25519-dalek, p256 and sha2.

use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey as Ed25519Key};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{DerSignature, VerifyingKey as P256Key};
use sha2::digest::DynDigest;
use sha2::{Digest, Sha256, Sha384, Sha512};
use sigstore_crypto::{CryptoProvider, Error, HashContext, Result, SigningScheme};
use sigstore_types::HashAlgorithm;

#[derive(Debug)]
struct Provider;

static PROVIDER: Provider = Provider;

/// Installs [`Provider`] for the whole process. Called by every entry point of this module; only the first call counts, and
/// a program that installed another provider before keeps it.
pub(super) fn install() {
    // An Err means that a provider is in place already: in all but the first call, this one.
    let _already_there = sigstore_crypto::install_default_provider(&PROVIDER);
}

/// The signatures and hashes that are understood here: for a program that wants to understand more, and installs a provider of its own that
/// asks this one first.
pub fn provider() -> &'static dyn CryptoProvider {
    &PROVIDER
}

/// SHA-256 in lower-case hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

struct Context(Box<dyn DynDigest + Send>);

impl HashContext for Context {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().into_vec()
    }
}

fn invalid(scheme: SigningScheme) -> Error {
    Error::Verification(format!("{} signature is invalid", scheme.name()))
}

fn p256(key: &[u8], signature: &[u8]) -> Option<(P256Key, DerSignature)> {
    Some((
        P256Key::from_sec1_bytes(key).ok()?,
        DerSignature::try_from(signature).ok()?,
    ))
}

impl CryptoProvider for Provider {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>> {
        Ok(Box::new(Context(match algorithm {
            HashAlgorithm::Sha2256 => Box::new(Sha256::new()),
            HashAlgorithm::Sha2384 => Box::new(Sha384::new()),
            HashAlgorithm::Sha2512 => Box::new(Sha512::new()),
            other => return Err(Error::UnsupportedAlgorithm(format!("{other:?}"))),
        })))
    }

    fn verify_raw(&self, scheme: SigningScheme, key: &[u8], data: &[u8], signature: &[u8]) -> Result<()> {
        let valid = match scheme {
            SigningScheme::Ed25519 => (|| {
                let key = Ed25519Key::from_bytes(key.try_into().ok()?).ok()?;
                let signature = Ed25519Signature::from_bytes(signature.try_into().ok()?);
                // Strict: no weak keys, no second valid form of one signature.
                key.verify_strict(data, &signature).ok()
            })(),
            SigningScheme::EcdsaP256Sha256 => p256(key, signature).and_then(|(k, s)| k.verify(data, &s).ok()),
            other => return Err(Error::UnsupportedAlgorithm(other.name().to_owned())),
        };
        valid.ok_or_else(|| invalid(scheme))
    }

    fn verify_prehashed(&self, scheme: SigningScheme, key: &[u8], digest: &[u8], signature: &[u8]) -> Result<()> {
        match scheme {
            SigningScheme::EcdsaP256Sha256 => p256(key, signature)
                .and_then(|(k, s)| k.verify_prehash(digest, &s).ok())
                .ok_or_else(|| invalid(scheme)),
            other => Err(Error::UnsupportedAlgorithm(other.name().to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_twice_is_fine_and_hashes_are_those_of_the_standard() {
        install();
        install();
        fn check(algorithm: HashAlgorithm, expected_start: &str) {
            let mut context = PROVIDER.hash(algorithm).unwrap();
            context.update(b"a");
            context.update(b"bc");
            let digest = hex::encode(context.finalize());
            assert!(digest.starts_with(expected_start), "{algorithm:?}: {digest}");
            assert_eq!(digest.len(), algorithm.digest_size() * 2);
        }
        // FIPS 180-4's example "abc".
        check(HashAlgorithm::Sha2256, "ba7816bf8f01cfea414140de5dae2223");
        check(HashAlgorithm::Sha2384, "cb00753f45a35e8bb5a03d699ac65007");
        check(HashAlgorithm::Sha2512, "ddaf35a193617abacc417349ae204131");
    }

    #[test]
    fn ed25519_signatures() {
        use ed25519_dalek::Signer;
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let public = key.verifying_key().to_bytes();
        let signature = key.sign(b"data").to_bytes();
        let check = |data: &[u8], signature: &[u8], valid: bool| {
            assert_eq!(
                PROVIDER
                    .verify_raw(SigningScheme::Ed25519, &public, data, signature)
                    .is_ok(),
                valid
            );
        };
        check(b"data", &signature, true);
        check(b"datA", &signature, false);
        check(b"data", &signature[..63], false);
        check(b"data", &[0; 64], false);
    }
}
