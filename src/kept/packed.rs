//! What is long and repeats itself, as text in private data: hundreds of fields take a tenth of their size in every
//! state that is written.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Deserializer, Serialize, Serializer, ser};

/// A state is written by whoever has it: what unpacks to more than this is none of ours.
const LIMIT: u64 = 64 << 20;

pub fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let json = serde_json::to_vec(value).map_err(ser::Error::custom)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&json).map_err(ser::Error::custom)?;
    serializer.serialize_str(&STANDARD.encode(encoder.finish().map_err(ser::Error::custom)?))
}

/// What cannot be unpacked counts as not remembered.
pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: DeserializeOwned + Default,
    D: Deserializer<'de>,
{
    Ok(unpacked(&String::deserialize(deserializer)?).unwrap_or_default())
}

fn unpacked<T: DeserializeOwned>(text: &str) -> Option<T> {
    let packed = STANDARD.decode(text).ok()?;
    let mut json = Vec::new();
    GzDecoder::new(&packed[..]).take(LIMIT).read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}
