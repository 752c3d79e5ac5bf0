//! Documents of the index: records, manifests, revocations, segments, deltas, filters.

use crate::bounded;
use dkms_index::document::manifest::Manifest;
use dkms_index::document::record::Record;
use dkms_index::document::revocation::Revocations;
use dkms_index::document::{canonical, segment};
use dkms_index::keys::KeyFilter;

/// Tries one input.
pub fn run(input: &[u8]) {
    bounded(input, || {
        if let Ok(manifest) = Manifest::parse(input) {
            let bytes = canonical::to_bytes(&manifest).expect("a document");
            let again = Manifest::parse(&bytes).expect("it is read as it was written");
            assert_eq!(again, manifest);
        }
        if let Ok(record) = Record::parse(input) {
            let bytes = canonical::to_bytes(&record).expect("a document");
            let again = Record::parse(&bytes).expect("it is read as it was written");
            assert_eq!(again, record);
        }
        drop(Revocations::parse(input));
        drop(segment::read(input));
        drop(segment::decode(input, 1 << 16));
        drop(segment::apply_delta(input, b"{}\n", 1 << 16));
        drop(KeyFilter::from_bytes(input));
    });
}
