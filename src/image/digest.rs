//! Content digests: `sha256:` and `sha512:` with lower-case hexadecimal, checked once when parsed.
//!
//! Other algorithms are refused here, since bytes that cannot be checked must not be copied.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// A hash function that names content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, which nearly everything uses.
    Sha256,
    /// SHA-512, which the specification allows.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal digits its digests have.
    #[must_use]
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// The digest of `bytes` by this algorithm.
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// The name of content by its hash; cheap to clone.
///
/// ```
/// use barge::image::digest::Digest;
///
/// let digest = Digest::of(b"{}");
/// assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
/// assert_eq!(digest.algorithm_name(), "sha256");
/// assert!("sha256:abc".parse::<Digest>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    text: Arc<str>,
    algorithm: Algorithm,
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Algorithm::Sha256.digest(bytes)
    }

    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The name of the hash function, `sha256` or `sha512`.
    #[must_use]
    pub fn algorithm_name(&self) -> &str {
        self.algorithm.name()
    }

    /// The hexadecimal digits, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.text.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The whole text, `sha256:…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A fresh hasher of the digest's algorithm, to check content against it.
    #[must_use]
    pub fn hasher(&self) -> Hasher {
        Hasher::new(self.algorithm)
    }

    /// Whether this is the digest of `bytes`.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.algorithm.digest(bytes) == *self
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, hex) = text
            .split_once(':')
            .ok_or("a digest is written sha256:HEX")?;
        let algorithm = Algorithm::named(name)
            .ok_or_else(|| format!("digest algorithm {name:?} is neither sha256 nor sha512"))?;
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("a digest has lower-case hexadecimal digits only".to_owned());
        }
        let wanted = algorithm.hex_len();
        if hex.len() != wanted {
            let found = hex.len();
            return Err(format!("a {name} digest has {wanted} digits, not {found}"));
        }
        Ok(Self {
            text: text.into(),
            algorithm,
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.text.as_ref().to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Hashes content as it streams by.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// A hasher that has seen nothing yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hasher) => hasher.update(bytes),
            State::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of everything that was taken in.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(hasher) => written(Algorithm::Sha256, &hasher.finalize()),
            State::Sha512(hasher) => written(Algorithm::Sha512, &hasher.finalize()),
        }
    }
}

fn written(algorithm: Algorithm, hash: &[u8]) -> Digest {
    let mut text = format!("{}:", algorithm.name());
    for byte in hash {
        for nibble in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(nibble.into(), 16));
        }
    }
    Digest {
        text: text.into(),
        algorithm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn knows_the_digest_of_nothing() {
        assert_eq!(Digest::of(b"").as_str(), EMPTY);
        assert!(EMPTY.parse::<Digest>().unwrap().matches(b""));
        assert!(!EMPTY.parse::<Digest>().unwrap().matches(b"x"));
    }

    #[test]
    fn hashes_in_pieces_with_either_algorithm() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let whole = algorithm.digest(b"one two");
            let mut hasher = whole.hasher();
            hasher.update(b"one ");
            hasher.clone().update(b"other");
            hasher.update(b"two");
            assert_eq!(hasher.finish(), whole);
            assert_eq!(whole.algorithm(), algorithm);
            assert_eq!(whole.hex().len(), algorithm.hex_len());
            assert_eq!(whole.as_str().parse(), Ok(whole));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let upper = EMPTY.replace('e', "E");
        let cases = [
            ("", "written sha256:HEX"),
            ("abc", "written sha256:HEX"),
            ("md5:00", "\"md5\" is neither"),
            ("sha256:", "64 digits, not 0"),
            ("sha256:abc", "64 digits, not 3"),
            ("sha512:abc", "128 digits, not 3"),
            ("sha256:é", "lower-case"),
            (&upper, "lower-case"),
        ];
        for (text, wrong) in cases {
            let error = text.parse::<Digest>().unwrap_err();
            assert!(error.contains(wrong), "{text:?}: {error}");
        }
    }

    #[test]
    fn is_a_string_in_json() {
        let json = format!("\"{EMPTY}\"");
        let digest: Digest = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&digest).unwrap(), json);
        assert!(serde_json::from_str::<Digest>("\"sha256:0\"").is_err());
        assert!(serde_json::from_str::<Digest>("1").is_err());
    }
}
