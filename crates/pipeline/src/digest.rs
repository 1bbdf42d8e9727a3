//! SHA-256 digests: the identity of everything the pipeline remembers.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Error;

/// The SHA-256 of some bytes, as 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::new_with_prefix(bytes))
    }

    /// The digest of a value's JSON. Fields come in declared order and maps are sorted, so equal values give equal
    /// digests.
    pub fn of_json(value: &impl Serialize) -> Result<Self, Error> {
        let json =
            serde_json::to_vec(value).map_err(|source| Error::Record { what: "key".into(), source })?;
        Ok(Self::of(&json))
    }

    /// The digest of a file, read once in pieces.
    pub fn of_file(path: &Path) -> Result<Self, Error> {
        let at = |source| Error::Io { path: path.to_owned(), source };
        let mut file = std::fs::File::open(path).map_err(at)?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; 1 << 20];
        loop {
            match file.read(&mut piece).map_err(at)? {
                0 => return Ok(Self::from_hash(hash)),
                read => hash.update(&piece[..read]),
            }
        }
    }

    /// A digest that someone else computed, when it is one.
    pub fn from_hex(text: &str) -> Option<Self> {
        let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        hex.then(|| Self(text.to_owned()))
    }

    /// The 64 hexadecimal digits.
    pub fn as_hex(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_hash(hash: Sha256) -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in hash.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_digest_is_the_known_one() {
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_hex(), known);
        assert_eq!(Digest::from_hex(known), Some(Digest::of(b"")));
        assert_eq!(Digest::from_hex("E3"), None);
    }
}
