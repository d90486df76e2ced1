//! What somebody asks for: platforms, compared after both sides are normalised.
//!
//! Normalised as containerd's `platforms` package does, so that other spellings of one platform match.

use std::fmt;
use std::str::FromStr;

use super::platform::Platform;

/// Go's operating systems, as containerd knows them, and WASI.
const SYSTEMS: &str = "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd \
    openbsd plan9 solaris wasi wasip1 windows zos";
/// Go's architectures, as containerd knows them.
const ARCHITECTURES: &str = "386 amd64 amd64p32 arm arm64 arm64be armbe loong64 mips mips64 \
    mips64le mips64p32 mips64p32le mipsle ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc \
    sparc64 wasm";

/// What somebody asks for: what is written must match, what is not written matches anything.
///
/// ```
/// use barge::image::platform::{Platform, PlatformSelector};
///
/// let v7: PlatformSelector = "linux/arm/v7".parse().unwrap();
/// let image = |variant: &str| Platform {
///     os: "linux".into(),
///     architecture: "arm".into(),
///     variant: Some(variant.into()),
///     ..Platform::default()
/// };
/// assert!(v7.matches(&image("v7")));
/// assert!(!v7.matches(&image("v6")));
/// assert!("linux".parse::<PlatformSelector>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformSelector {
    written: String,
    os: Option<String>,
    architecture: String,
    /// Normalised: the empty text is the architecture's own baseline, `None` is any variant.
    variant: Option<String>,
    os_version: Option<String>,
}

impl PlatformSelector {
    /// Whether an image for `platform` is what was asked for.
    #[must_use]
    pub fn matches(&self, platform: &Platform) -> bool {
        let variant = platform.variant.as_deref().unwrap_or_default();
        let (architecture, variant) = normalise(&platform.architecture, variant);
        self.architecture == architecture
            && is_or_any(self.variant.as_deref(), &variant)
            && is_or_any(self.os.as_deref(), &normalise_os(&platform.os))
            && self.matches_version(platform.os_version.as_deref())
    }

    fn matches_version(&self, version: Option<&str>) -> bool {
        let Some(wanted) = &self.os_version else {
            return true;
        };
        version
            .and_then(|version| version.strip_prefix(wanted.as_str()))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    fn new(written: &str, parts: Parts<'_>, os_version: Option<&str>) -> Self {
        let (architecture, variant) =
            normalise(parts.architecture, parts.variant.unwrap_or_default());
        // These two spellings say a variant by themselves; a bare `arm` asks for every variant.
        let says_variant = ["armhf", "armel"]
            .iter()
            .any(|name| parts.architecture.eq_ignore_ascii_case(name));
        let written_variant = parts.variant.is_some() || says_variant;
        Self {
            written: written.to_owned(),
            os: parts.os.map(normalise_os),
            architecture,
            variant: written_variant.then_some(variant),
            os_version: os_version.map(str::to_owned),
        }
    }
}

fn is_or_any(wanted: Option<&str>, found: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == found)
}

#[derive(Clone, Copy)]
struct Parts<'a> {
    os: Option<&'a str>,
    architecture: &'a str,
    variant: Option<&'a str>,
}

impl FromStr for PlatformSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let written = text.trim();
        parse(written).map_err(|wrong| {
            format!("platform {written:?} {wrong}; write arm64, linux/arm/v7 or windows/amd64:10.0.17763")
        })
    }
}

fn parse(written: &str) -> Result<PlatformSelector, String> {
    if written.is_empty() {
        return Err("is empty".to_owned());
    }
    let (platform, version) = match written.split_once(':') {
        Some((platform, version)) => (platform, Some(version)),
        None => (written, None),
    };
    let parts: Vec<&str> = platform.split('/').collect();
    for part in parts.iter().copied() {
        check_part(part)?;
    }
    for part in version.into_iter().flat_map(|version| version.split('.')) {
        check_part(part)?;
    }
    let parts = sort_parts(&parts)?;
    Ok(PlatformSelector::new(written, parts, version))
}

fn check_part(part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err("has an empty part".to_owned());
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    match part.chars().find(|c| !allowed(c)) {
        None => Ok(()),
        Some(c) if c.is_whitespace() => Err("has a space in it".to_owned()),
        Some(c) => Err(format!("has a {c:?} in it")),
    }
}

/// Which part is which: of two, a known operating system or a known architecture comes first.
fn sort_parts<'a>(parts: &[&'a str]) -> Result<Parts<'a>, String> {
    let (os, architecture, variant) = match *parts {
        [system] if is_system(system) => {
            return Err("is an operating system, not an architecture".to_owned());
        }
        [architecture] => (None, architecture, None),
        [architecture, system] if is_architecture(architecture) && is_system(system) => {
            return Err("has its operating system last".to_owned());
        }
        [architecture, variant] if is_architecture(architecture) => {
            (None, architecture, Some(variant))
        }
        [os, architecture] => (Some(os), architecture, None),
        [os, architecture, variant] => (Some(os), architecture, Some(variant)),
        _ => return Err("has more than three parts".to_owned()),
    };
    Ok(Parts {
        os,
        architecture,
        variant,
    })
}

fn is_system(name: &str) -> bool {
    let name = normalise_os(name);
    SYSTEMS.split(' ').any(|system| system == name)
}

fn is_architecture(name: &str) -> bool {
    let (name, _) = normalise(name, "");
    ARCHITECTURES.split(' ').any(|known| known == name)
}

fn normalise_os(os: &str) -> String {
    match os.to_ascii_lowercase() {
        macos if macos == "macos" => "darwin".to_owned(),
        os => os,
    }
}

/// As containerd's `normalizeArch`: one spelling, and no variant where it is the architecture's baseline.
fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// The platforms asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that are copied where they are.
    pub platforms: Vec<PlatformSelector>,
    /// Those that a source must have; they are wanted as well.
    pub required: Vec<PlatformSelector>,
}

impl Wanted {
    /// Every selector: the wanted, then the required.
    pub fn selectors(&self) -> impl Iterator<Item = &PlatformSelector> {
        self.platforms.iter().chain(&self.required)
    }

    /// Whether an image for `platform` is wanted.
    #[must_use]
    pub fn matches(&self, platform: &Platform) -> bool {
        self.selectors().any(|selector| selector.matches(platform))
    }
}

impl fmt::Display for PlatformSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for | what it matches | what it does not.
    const MATCHES: &str = "
        arm64 | linux/arm64 linux/arm64/v8 linux/arm64/v9 windows/arm64 linux/aarch64 | linux/amd64 linux/arm
        arm64/v8 | linux/arm64 linux/arm64/v8 linux/arm64/8 | linux/arm64/v9
        arm64/v9 | linux/arm64/v9 | linux/arm64 linux/arm64/v8
        linux/arm64 | linux/arm64 linux/arm64/v9 Linux/ARM64 | windows/arm64
        aarch64 | linux/arm64 linux/arm64/v8 | linux/arm
        arm | linux/arm linux/arm/v5 linux/arm/v6 linux/arm/v7 linux/armhf | linux/arm64
        arm/v7 | linux/arm linux/arm/v7 linux/arm/7 linux/armhf | linux/arm/v6 linux/arm64/v7
        linux/arm/v6 | linux/arm/v6 linux/armel | linux/arm linux/arm/v7
        armhf | linux/arm linux/arm/v7 | linux/arm/v6
        armel | linux/arm/v6 | linux/arm linux/arm/v7
        linux/armhf | linux/arm/v7 | linux/arm/v6
        amd64 | linux/amd64 linux/amd64/v1 linux/amd64/v3 linux/x86_64 | linux/386
        amd64/v1 | linux/amd64 linux/amd64/v1 | linux/amd64/v2
        x86_64/v3 | linux/amd64/v3 | linux/amd64
        X86-64 | linux/amd64 | linux/386
        i386 | linux/386 linux/i386 | linux/amd64
        macos/arm64 | darwin/arm64 macos/arm64 | linux/arm64
        wasi/wasm | wasi/wasm | linux/wasm
        plan10/abacus | plan10/abacus plan10/abacus/v2 | linux/abacus
        abacus | linux/abacus | linux/amd64
        windows/amd64:10.0.17763 | windows/amd64:10.0.17763.5576 windows/amd64:10.0.17763 | windows/amd64:10.0.177630 windows/amd64:10.0.20348.1 windows/amd64 linux/amd64
        amd64:10 | windows/amd64:10.0 | windows/amd64:100.0
    ";

    /// `os/arch[/variant][:version]`, taken literally.
    fn platform(text: &str) -> Platform {
        let (text, version) = match text.split_once(':') {
            Some((text, version)) => (text, Some(version.to_owned())),
            None => (text, None),
        };
        let mut parts = text.split('/').map(str::to_owned);
        Platform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            variant: parts.next(),
            os_version: version,
            os_features: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_must_match() {
        for row in MATCHES.lines().filter(|row| !row.trim().is_empty()) {
            let mut cells = row.split('|').map(str::trim);
            let written = cells.next().unwrap();
            let selector: PlatformSelector = format!("  {written}\t").parse().unwrap();
            assert_eq!(selector.to_string(), written);
            for (cell, wanted) in cells.by_ref().zip([true, false]) {
                for found in cell.split(' ') {
                    let matches = selector.matches(&platform(found));
                    assert_eq!(matches, wanted, "{written} on {found}");
                }
            }
        }
    }

    #[test]
    fn says_what_is_wrong_and_gives_an_example() {
        let cases = [
            ("", "is empty"),
            (" ", "is empty"),
            ("linux", "\"linux\" is an operating system"),
            ("Windows", "is an operating system"),
            ("arm64/linux", "operating system last"),
            ("linux /arm64", "space"),
            ("linux/arm/v7/x", "more than three"),
            ("linux//arm", "empty part"),
            ("arm64/", "empty part"),
            ("arm64:", "empty part"),
            ("amd64:10..0", "empty part"),
            ("linux/*", "'*'"),
            ("amd64:10:0", "':'"),
            ("ärm", "'ä'"),
        ];
        for (written, wrong) in cases {
            let error = written.parse::<PlatformSelector>().unwrap_err();
            assert!(error.contains(wrong), "{written:?}: {error}");
            assert!(error.contains("linux/arm/v7"), "{error}");
        }
    }

    #[test]
    fn the_required_are_wanted_too() {
        let wanted = Wanted {
            platforms: vec!["arm64".parse().unwrap()],
            required: vec!["s390x".parse().unwrap()],
        };
        assert!(wanted.matches(&platform("linux/arm64")));
        assert!(wanted.matches(&platform("linux/s390x")));
        assert!(!wanted.matches(&platform("linux/amd64")));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<PlatformSelector>();
        }

        #[test]
        fn a_platform_as_it_is_shown_selects_itself(
            os in "linux|windows|darwin", architecture in "[a-z][a-z0-9]{0,8}",
            variant in proptest::option::of("v[0-9]"), version in proptest::option::of("[0-9]{1,3}(\\.[0-9]{1,3}){0,3}"),
        ) {
            let platform = Platform { os, architecture, variant, os_version: version, os_features: Vec::new() };
            let selector: PlatformSelector = platform.to_string().parse().unwrap();
            proptest::prop_assert!(selector.matches(&platform));
        }
    }
}
