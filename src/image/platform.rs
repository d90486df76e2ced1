//! The platform of an image, kept as it is written. Spellings are compared in `selector`.

use std::fmt;

use serde::Deserialize;

use super::digest::Digest;
use super::keys;
use crate::error::{Error, Kind, Result};

pub use super::selector::{PlatformSelector, Wanted};

/// The platform of an image, as an index entry or an image config writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "Written")]
pub struct Platform {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The architecture, such as `arm64`.
    pub architecture: String,
    /// The variant of the architecture, such as `v7`.
    pub variant: Option<String>,
    /// The version of the operating system; Windows images have one.
    pub os_version: Option<String>,
    /// Features of the operating system that the image needs. Never matched on.
    pub os_features: Vec<String>,
}

#[derive(Deserialize)]
struct Written {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    #[serde(rename = "os.features")]
    os_features: Option<Vec<String>>,
}

impl From<Written> for Platform {
    fn from(written: Written) -> Self {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            os: written.os.unwrap_or_default(),
            architecture: written.architecture.unwrap_or_default(),
            variant: some(written.variant),
            os_version: some(written.os_version),
            os_features: written.os_features.unwrap_or_default(),
        }
    }
}

impl Platform {
    /// The platform of an image by its config; `None` where the config names none: an artifact.
    ///
    /// ```
    /// use barge::image::platform::Platform;
    ///
    /// let config = br#"{"architecture": "arm64", "os": "linux", "rootfs": {}}"#;
    /// let platform = Platform::from_config(config).unwrap();
    /// assert_eq!(platform.unwrap().to_string(), "linux/arm64");
    /// assert_eq!(Platform::from_config(b"{}").unwrap(), None);
    /// ```
    ///
    /// # Errors
    ///
    /// `invalid-manifest` where others may find another platform in it.
    pub fn from_config(bytes: &[u8]) -> Result<Option<Self>> {
        match keys::check(bytes, &keys::CONFIG) {
            Err(why) if why.is_data() => {
                let digest = Digest::of(bytes);
                return Err(Error::new(Kind::InvalidManifest, "read config", digest)
                    .because(why)
                    .hint(
                        "other tools may take it for another platform: have the image built again",
                    ));
            }
            Ok(()) | Err(_) => {}
        }
        let platform: Option<Self> = serde_json::from_slice(bytes).ok();
        Ok(platform.filter(Self::is_named))
    }

    /// Whether it says anything: without an architecture it does not.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.architecture.is_empty()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.os.is_empty() {
            write!(f, "{}/", self.os)?;
        }
        f.write_str(&self.architecture)?;
        if let Some(variant) = &self.variant {
            write!(f, "/{variant}")?;
        }
        if let Some(version) = &self.os_version {
            write!(f, ":{version}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_entries_and_configs() {
        let json = r#"{"architecture":"amd64","os":"windows","variant":"","os.version":"10.0.1","os.features":["win32k"],"config":{"os":1}}"#;
        let config = |text: &[u8]| Platform::from_config(text).unwrap();
        let windows = config(json.as_bytes()).unwrap();
        assert_eq!(windows.to_string(), "windows/amd64:10.0.1");
        assert_eq!(windows.variant, None);
        assert_eq!(windows.os_features, ["win32k"]);
        let nulls = br#"{"architecture":"arm","os":null,"variant":"v7","os.features":null}"#;
        assert_eq!(config(nulls).unwrap().to_string(), "arm/v7");
        for artifact in ["", "{}", "[]", "{\"name\":\"chart\"}", "\u{1f980}"] {
            assert_eq!(config(artifact.as_bytes()), None);
        }
    }

    #[test]
    fn a_config_with_two_architectures_is_refused() {
        for other in ["architecture", "Architecture"] {
            let text = format!(r#"{{"architecture":"arm64","{other}":"amd64"}}"#);
            let error = Platform::from_config(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidManifest, "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_config_panics(bytes: Vec<u8>) {
            let _ = Platform::from_config(&bytes);
        }
    }
}
