use bytes::Bytes;

use super::*;
use crate::error::Kind;
use crate::image::manifest::{Content, media_type};

const IMAGE: &str = media_type::OCI_MANIFEST;

/// The digest that stands for an image of this name.
pub(super) fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// An entry for the image `name`; `more` is further fields, each after a comma.
pub(super) fn entry(name: &str, more: &str) -> String {
    let digest = digest(name);
    format!(r#"{{"mediaType":"{IMAGE}","digest":"{digest}","size":7{more}}}"#)
}

/// An entry whose name is its platform, `os/arch[/variant][:version]`.
pub(super) fn on(platform: &str) -> String {
    entry(platform, &platform_field(platform))
}

fn platform_field(platform: &str) -> String {
    let (platform, version) = platform.split_once(':').unwrap_or((platform, ""));
    let mut parts = platform.split('/');
    let mut part = || parts.next().unwrap_or_default();
    let (os, architecture, variant) = (part(), part(), part());
    format!(
        r#","platform":{{"os":"{os}","architecture":"{architecture}","variant":"{variant}","os.version":"{version}"}}"#
    )
}

pub(super) fn attestation(name: &str, about: &Digest) -> String {
    entry(
        name,
        &format!(
            r#","platform":{{"os":"unknown","architecture":"unknown"}},"annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{about}"}}"#
        ),
    )
}

pub(super) fn index(entries: &[String]) -> Manifest {
    let entries = entries.join(",\n    ");
    parse(&format!(
        "{{\n  \"schemaVersion\": 2,\n  \"manifests\": [\n    {entries}\n  ]\n}}"
    ))
}

pub(super) fn parse(text: &str) -> Manifest {
    Manifest::parse(Bytes::copy_from_slice(text.as_bytes()), None).unwrap()
}

pub(super) fn nested(index: &Manifest) -> String {
    let (digest, size) = (&index.digest, index.bytes.len());
    let media_type = &index.media_type;
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

pub(super) fn known<'a>(nested: impl IntoIterator<Item = &'a Manifest>) -> Known {
    let by_digest = |index: &Manifest| (index.digest.clone(), index.clone());
    Known {
        manifests: nested.into_iter().map(by_digest).collect(),
        platforms: BTreeMap::new(),
        gone: BTreeSet::new(),
    }
}

pub(super) fn wanted(platforms: &[&str]) -> Wanted {
    Wanted {
        platforms: platforms.iter().map(|p| p.parse().unwrap()).collect(),
        required: Vec::new(),
    }
}

fn rewrite(index: &Manifest, platforms: &[&str]) -> Filtered {
    filter(index, &wanted(platforms), &Known::default(), Form::Rewrite).unwrap()
}

fn digests(entries: &[Descriptor]) -> Vec<Digest> {
    entries.iter().map(|entry| entry.digest.clone()).collect()
}

fn named(names: &[&str]) -> Vec<Digest> {
    names.iter().copied().map(digest).collect()
}

fn text(manifest: &Manifest) -> &str {
    std::str::from_utf8(&manifest.bytes).unwrap()
}

fn buildkit() -> Manifest {
    let platforms = [
        "linux/amd64",
        "linux/arm64/v8",
        "linux/ppc64le",
        "linux/s390x",
    ];
    let mut entries: Vec<_> = platforms.iter().copied().map(on).collect();
    for platform in platforms {
        let name = format!("attestation of {platform}");
        entries.push(attestation(&name, &digest(platform)));
    }
    index(&entries)
}

#[test]
fn one_platform_of_four_takes_its_attestation_along() {
    let source = buildkit();
    let filtered = rewrite(&source, &["arm64"]);
    let kept = named(&["linux/arm64/v8", "attestation of linux/arm64/v8"]);
    assert_eq!(digests(&filtered.kept), kept);
    assert_eq!(digests(filtered.root.entries()), kept);
    assert_eq!(filtered.omitted.len(), 6);
    assert_eq!(filtered.platforms, ["linux/arm64/v8"]);
    let others = ["linux/amd64", "linux/ppc64le", "linux/s390x"];
    assert_eq!(filtered.omitted_platforms, others);
    assert!(filtered.is_rewritten());
    assert_eq!(filtered.root.media_type, source.media_type);
    assert_eq!(filtered.root.digest, Digest::of(&filtered.root.bytes));
    let expected = index(&[
        on("linux/arm64/v8"),
        attestation("attestation of linux/arm64/v8", &digest("linux/arm64/v8")),
    ]);
    assert_eq!(text(&filtered.root), text(&expected));
}

#[test]
fn a_sparse_index_keeps_the_sources_bytes() {
    let source = buildkit();
    let sparse = filter(&source, &wanted(&["arm64"]), &Known::default(), Form::Keep).unwrap();
    let filtered = rewrite(&source, &["arm64"]);
    assert_eq!(sparse.root, source);
    assert!(!sparse.is_rewritten());
    assert_eq!(
        (sparse.kept, sparse.omitted),
        (filtered.kept, filtered.omitted)
    );
}

#[test]
fn where_nothing_is_dropped_the_bytes_stay() {
    let source = buildkit();
    let filtered = rewrite(&source, &["amd64", "arm64", "ppc64le", "s390x", "riscv64"]);
    assert_eq!(filtered.root, source);
    assert!(!filtered.is_rewritten() && filtered.omitted.is_empty());
    assert_eq!(filtered.missing, ["riscv64"]);
    let all = everything(&source, &Known::default()).unwrap();
    assert_eq!(all.kept, filtered.kept);
    assert_eq!(all.platforms, filtered.platforms);
    assert!(all.missing.is_empty() && !all.is_rewritten());
}

#[test]
fn where_nothing_is_left_nothing_is_written() {
    let source = buildkit();
    let mut asked = wanted(&["riscv64", "riscv64"]);
    asked.required = wanted(&["linux/mips", "riscv64"]).platforms;
    for form in [Form::Rewrite, Form::Keep] {
        let filtered = filter(&source, &asked, &Known::default(), form).unwrap();
        assert_eq!(filtered.root, source);
        assert!(filtered.kept.is_empty() && filtered.platforms.is_empty());
        assert_eq!(filtered.omitted.len(), 8);
        assert_eq!(filtered.missing, ["riscv64", "linux/mips"]);
        assert_eq!(filtered.missing_required, ["linux/mips", "riscv64"]);
    }
}

#[test]
fn everything_else_stays_as_it_was_written() {
    let (first, second, third) = (on("linux/amd64"), on("linux/arm64"), on("linux/s390x"));
    let arm = second.replacen(
        '{',
        "{ \"x\" : [1e3, 12345678901234567890123 ,1.0, \"\\u0041\\/\"],\t",
        1,
    );
    let head = "\n{ \"z\": 1E+2, \"annotations\": {\"b\":\"\\u00e9\",\"a\": \"é\", \"n\": 1.0},\n \"manifests\"  :[ ";
    let tail = "  ] , \"subject\": null, \"artifactType\":\"a/b\",\"manifest\": [ ] }\r\n ";
    let between = [" ,\n\t", ",    "];
    let whole = format!(
        "{head}{first}{}{arm}{}{third}{tail}",
        between[0], between[1]
    );
    let cases: [(&[&str], String); 4] = [
        (&["arm64"], format!("{head}{arm}{tail}")),
        (
            &["amd64", "s390x"],
            format!("{head}{first}{}{third}{tail}", between[1]),
        ),
        (
            &["arm64", "s390x"],
            format!("{head}{arm}{}{third}{tail}", between[1]),
        ),
        (
            &["amd64", "arm64"],
            format!("{head}{first}{}{arm}{tail}", between[0]),
        ),
    ];
    for (platforms, expected) in cases {
        assert_eq!(text(&rewrite(&parse(&whole), platforms).root), expected);
    }
}

#[test]
fn a_rewritten_index_keeps_its_media_type() {
    let body = buildkit().bytes;
    for media_type in [media_type::DOCKER_LIST, media_type::OCI_INDEX] {
        let source = Manifest::parse(body.clone(), Some(media_type)).unwrap();
        let filtered = rewrite(&source, &["s390x"]);
        assert_eq!(filtered.root.media_type, media_type);
        assert!(filtered.is_rewritten());
    }
}

#[test]
fn an_entry_of_a_rewritten_index_changes_in_three_values() {
    let inner = index(&[on("linux/amd64"), on("linux/arm64")]);
    let middle_with = |inner: &Manifest| {
        let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &inner.bytes);
        let (digest, size) = (&inner.digest, inner.bytes.len());
        parse(&format!(
            r#"{{"manifests":[ {{"data" :"{data}", "size": {size} ,"x":"{size}","dig\u0065st": "{digest}","mediaType":"{}", "platform":{{"os":"linux","architecture":"s390x"}}}}, {}]}}"#,
            media_type::OCI_INDEX,
            on("linux/ppc64le"),
        ))
    };
    let middle = middle_with(&inner);
    let root = index(&[on("windows/amd64"), nested(&middle)]);
    let all = known([&inner, &middle]);
    let filtered = filter(&root, &wanted(&["arm64", "ppc64le"]), &all, Form::Rewrite).unwrap();

    let new_inner = index(&[on("linux/arm64")]);
    let unread = format!("\"x\":\"{}\"", new_inner.bytes.len());
    let kept = format!("\"x\":\"{}\"", inner.bytes.len());
    let new_middle = parse(&text(&middle_with(&new_inner)).replace(&unread, &kept));
    let replaced = [
        (&inner, &new_inner),
        (&middle, &new_middle),
        (&root, &filtered.root),
    ];
    let replaced = replaced.map(|(old, new)| (old.digest.clone(), new.digest.clone()));
    assert_eq!(filtered.replaced, BTreeMap::from(replaced));
    assert_eq!(filtered.nested, [new_inner, new_middle.clone()]);
    assert_eq!(text(&filtered.root), text(&index(&[nested(&new_middle)])));
    assert_eq!(
        digests(&filtered.kept),
        named(&["linux/arm64", "linux/ppc64le"])
    );
    assert_eq!(
        digests(&filtered.omitted),
        named(&["windows/amd64", "linux/amd64"])
    );

    let sparse = filter(&root, &wanted(&["arm64"]), &all, Form::Keep).unwrap();
    assert_eq!(sparse.nested, [inner, middle]);
    assert_eq!(sparse.root, root);
}

#[test]
fn an_emptied_nested_index_is_dropped_with_all_it_lists() {
    let inner = index(&[
        on("linux/s390x"),
        attestation("of s390x", &digest("linux/s390x")),
    ]);
    let outer = index(&[nested(&inner)]);
    let about_inner = attestation("of the inner index", &inner.digest);
    let root = index(&[on("linux/amd64"), nested(&outer), about_inner]);
    let all = known([&inner, &outer]);
    let filtered = filter(&root, &wanted(&["amd64"]), &all, Form::Rewrite).unwrap();
    assert_eq!(text(&filtered.root), text(&index(&[on("linux/amd64")])));
    assert!(filtered.nested.is_empty());
    let omitted = [
        vec![outer.digest.clone(), inner.digest.clone()],
        named(&["linux/s390x", "of s390x", "of the inner index"]),
    ];
    assert_eq!(digests(&filtered.omitted), omitted.concat());
    // Where the root still lists it, it comes: else nobody who reads the copy knows that nothing is lost.
    let sparse = filter(&root, &wanted(&["amd64"]), &all, Form::Keep).unwrap();
    assert_eq!(sparse.nested, [inner.clone(), outer.clone()]);
    let omitted = named(&["linux/s390x", "of s390x", "of the inner index"]);
    assert_eq!(digests(&sparse.omitted), omitted);
    let all = filter(&root, &wanted(&["amd64", "s390x"]), &all, Form::Rewrite).unwrap();
    assert_eq!((all.root, all.nested), (root, vec![inner, outer]));
}

#[test]
fn attestations_follow_across_indexes() {
    let inner = index(&[
        on("linux/arm64"),
        attestation("of amd64", &digest("linux/amd64")),
    ]);
    let root = index(&[
        on("linux/amd64"),
        attestation("of arm64", &digest("linux/arm64")),
        attestation("of an attestation", &digest("of arm64")),
        attestation("of itself", &digest("of itself")),
        attestation("of the inner index", &inner.digest),
        attestation("orphan", &digest("nothing here")),
        nested(&inner),
    ]);
    let all = known([&inner]);
    let filtered = filter(&root, &wanted(&["amd64"]), &all, Form::Rewrite).unwrap();
    let kept = ["linux/amd64", "of the inner index", "of amd64"];
    assert_eq!(digests(&filtered.kept), named(&kept));
    let filtered = filter(&root, &wanted(&["arm64"]), &all, Form::Rewrite).unwrap();
    let kept = [
        "of arm64",
        "of an attestation",
        "of the inner index",
        "linux/arm64",
    ];
    assert_eq!(digests(&filtered.kept), named(&kept));
    let filtered = filter(&root, &wanted(&["arm64", "amd64"]), &all, Form::Rewrite).unwrap();
    assert_eq!(digests(&filtered.omitted), named(&["of itself", "orphan"]));
    assert!(filtered.is_rewritten(), "an orphan is dropped");
    assert_eq!(everything(&root, &all).unwrap().kept.len(), 8);
}

#[test]
fn each_entry_is_judged_for_itself() {
    let twice = [
        entry("both", &platform_field("linux/arm64")),
        entry("both", &platform_field("linux/amd64")),
        on("linux/arm/v6"),
        on("linux/arm/v7"),
        on("linux/arm/v7"),
    ];
    let filtered = rewrite(&index(&twice), &["amd64", "arm/v7"]);
    assert_eq!(
        text(&filtered.root),
        text(&index(&[
            twice[1].clone(),
            twice[3].clone(),
            twice[4].clone()
        ]))
    );
    assert_eq!(digests(&filtered.kept), named(&["both", "linux/arm/v7"]));
    assert_eq!(digests(&filtered.omitted), named(&["linux/arm/v6"]));
    assert_eq!(filtered.platforms, ["linux/amd64", "linux/arm/v7"]);
    assert_eq!(filtered.omitted_platforms, ["linux/arm64", "linux/arm/v6"]);
}

#[test]
fn windows_is_told_apart_by_version() {
    let versions = [
        "windows/amd64:10.0.17763.5576",
        "windows/amd64:10.0.20348.1",
    ];
    let filtered = rewrite(&index(&versions.map(on)), &["windows/amd64:10.0.17763"]);
    assert_eq!(filtered.platforms, [versions[0]]);
    assert_eq!(filtered.omitted_platforms, [versions[1]]);
}

#[test]
fn entries_without_a_platform_are_judged_by_their_config() {
    let bare = |name: &str| entry(name, r#","platform":{}"#);
    let source = index(&[bare("arm"), bare("chart"), bare("arm"), on("linux/amd64")]);
    let mut known = Known::default();
    let asked = needs(&source, &known).unwrap();
    assert!(
        matches!(asked.as_slice(), [Need::Platform(a), Need::Platform(b)]
        if a.digest == digest("arm") && b.digest == digest("chart"))
    );
    let arm64 = wanted(&["arm64"]);
    let error = filter(&source, &arm64, &known, Form::Keep).unwrap_err();
    assert!(error.cause().contains("was not read"), "{error}");

    let config = br#"{"os":"linux","architecture":"arm64","variant":"v8"}"#;
    known
        .platforms
        .insert(digest("arm"), Platform::from_config(config).unwrap());
    known.platforms.insert(digest("chart"), None);
    assert_eq!(needs(&source, &known).unwrap(), []);
    let filtered = filter(&source, &arm64, &known, Form::Rewrite).unwrap();
    assert_eq!(digests(&filtered.kept), [digest("arm")]);
    assert_eq!(filtered.root.entries().len(), 2);
    assert_eq!(filtered.platforms, ["linux/arm64/v8"]);
    assert_eq!(filtered.omitted_platforms, ["unknown", "linux/amd64"]);
    let all = everything(&source, &Known::default()).unwrap();
    assert_eq!(all.platforms, ["unknown", "linux/amd64"]);
}

/// `depth` indexes around one another, the innermost first.
fn chain(depth: usize) -> Vec<Manifest> {
    let mut chain = vec![index(&[on("linux/amd64"), on("linux/arm64")])];
    for _ in 0..depth {
        let inner = chain.last().unwrap();
        // Listed twice, to show that a tree is not unfolded.
        chain.push(index(&[nested(inner), nested(inner)]));
    }
    chain
}

#[test]
fn indexes_are_nested_eight_deep_at_most() {
    let eight = chain(8);
    let mut known = Known::default();
    let root = eight.last().unwrap();
    for read in eight.iter().rev().skip(1) {
        let needed = needs(root, &known).unwrap();
        let [Need::Index(entry)] = needed.as_slice() else {
            panic!("one index is needed");
        };
        known.manifests.insert(entry.digest.clone(), read.clone());
    }
    assert_eq!(needs(root, &known).unwrap(), []);
    let filtered = filter(root, &wanted(&["arm64"]), &known, Form::Rewrite).unwrap();
    assert_eq!(filtered.nested.len(), 8);
    assert_eq!(digests(&filtered.kept), named(&["linux/arm64"]));

    let nine = chain(9);
    let known = super::tests::known(&nine);
    for refused in [
        needs(nine.last().unwrap(), &known).map(|_| ()),
        everything(nine.last().unwrap(), &known).map(|_| ()),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidManifest);
        assert!(error.cause().contains("more than 8 deep"), "{error}");
    }
}

#[test]
fn what_is_read_must_be_what_was_listed() {
    let inner = index(&[on("linux/amd64")]);
    let root = index(&[nested(&inner)]);
    let mut known = Known::default();
    assert!(
        everything(&root, &known).is_err(),
        "a nested index is not read"
    );
    let image = Manifest {
        content: std::sync::Arc::new(Content::Image {
            config: root.entries()[0].clone(),
            layers: Vec::new(),
            subject: None,
            artifact_type: None,
        }),
        ..inner.clone()
    };
    known.manifests.insert(inner.digest.clone(), image);
    let error = needs(&root, &known).unwrap_err();
    assert!(error.cause().contains("is an image"), "{error}");
    // A cycle cannot be, since a digest names its content; were it there, it would end.
    known.manifests.insert(inner.digest.clone(), root.clone());
    assert!(needs(&root, &known).is_err());
}

#[test]
fn a_nested_index_keeps_the_algorithm_of_its_digest() {
    let mut inner = index(&[on("linux/amd64"), on("linux/arm64")]);
    let read = inner.clone();
    inner.digest = crate::image::digest::Algorithm::Sha512.digest(&inner.bytes);
    let root = index(&[nested(&inner)]);
    let mut known = Known::default();
    known.manifests.insert(inner.digest.clone(), read);
    let filtered = filter(&root, &wanted(&["arm64"]), &known, Form::Rewrite).unwrap();
    let entry = &filtered.root.entries()[0];
    assert_eq!(entry.digest.algorithm_name(), "sha512");
    assert!(entry.digest.matches(&filtered.nested[0].bytes));
    assert_eq!(entry.digest, filtered.nested[0].digest);
    let same = filter(&root, &wanted(&["arm64", "amd64"]), &known, Form::Rewrite).unwrap();
    assert_eq!(same.nested, [inner]);
}
