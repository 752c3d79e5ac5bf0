//! Canonical JSON, as TUF has it: the bytes that signatures and key ids cover.

use serde::Serialize;
use sigstore_tuf::canonical_json::to_canonical_bytes;

/// A value has no canonical JSON form and cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no canonical JSON form exists: {0}")]
pub struct CanonicalError(String);

/// Canonical JSON of a value.
///
/// # Errors
/// When it holds what canonical JSON cannot express, such as a number with a fraction.
pub(crate) fn canonical(value: &impl Serialize) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value).map_err(|error| CanonicalError(error.to_string()))?;
    let bytes = to_canonical_bytes(&value).map_err(|error| CanonicalError(error.to_string()))?;
    if bytes.is_empty() {
        return Err(CanonicalError("it is empty".to_owned()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::canonical;

    #[test]
    fn what_has_no_canonical_form_is_an_error() {
        assert_eq!(canonical(&json!({"b": 1, "a": "x"})).unwrap(), br#"{"a":"x","b":1}"#);
        let error = canonical(&json!({"length": 1.5})).unwrap_err().to_string();
        assert!(error.starts_with("no canonical JSON form exists: "), "{error}");
    }
}
