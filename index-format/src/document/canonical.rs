//! One spelling for each document, so that equal content has equal hashes and small changes have small deltas.

use serde::Serialize;
use serde_json::Value;

/// The document on one line without spaces, keys of every object sorted by their bytes, no line feed at the end.
///
/// # Errors
/// When `document` has no JSON form, such as a map whose keys are not text. The types of this crate never do.
pub fn to_bytes(document: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::new();
    write(&serde_json::to_value(document)?, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        Value::Array(items) => separated(b"[]", items, out, write),
        Value::Object(members) => {
            // Sorted here, because the order of serde_json's map depends on its features.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            separated(b"{}", members, out, |(key, value), out| {
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write(value, out)
            })
        }
        scalar => serde_json::to_writer(out, scalar),
    }
}

fn separated<T>(
    brackets: &[u8; 2],
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    write: impl Fn(T, &mut Vec<u8>) -> Result<(), serde_json::Error>,
) -> Result<(), serde_json::Error> {
    out.push(brackets[0]);
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(item, out)?;
    }
    out.push(brackets[1]);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value: serde_json::Value =
            serde_json::from_str(r#"{ "b": [1, {"z": "\n", "a": null}], "a": {} }"#).unwrap();
        let bytes = super::to_bytes(&value).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"{"a":{},"b":[1,{"a":null,"z":"\n"}]}"#
        );
    }
}
