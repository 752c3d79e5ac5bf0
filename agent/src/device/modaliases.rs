//! Modaliases in JSON are strings. Bytes that are not UTF-8, which few firmwares have, are lost.

use dkms_index::modalias::Modalias;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;

pub(super) fn serialize<S: Serializer>(modaliases: &[Modalias], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(modaliases.iter().map(|m| String::from_utf8_lossy(m.as_bytes())))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Modalias>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .into_iter()
        .map(|text| Modalias::parse(text).map_err(D::Error::custom))
        .collect()
}
