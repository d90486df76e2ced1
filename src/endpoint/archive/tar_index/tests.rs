use super::*;

/// A tar file in the making.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn member(mut self, kind: EntryType, name: &str, bytes: &[u8]) -> Self {
        self = self.header(kind, name, bytes.len() as u64);
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// A member whose header says `size`, without its bytes.
    fn header(mut self, kind: EntryType, name: &str, size: u64) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self
    }

    fn file(self, name: &str, bytes: &[u8]) -> Self {
        self.member(EntryType::Regular, name, bytes)
    }

    /// A pax header of these records.
    fn pax(self, kind: EntryType, records: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let digits = (rest.len() + 2).to_string().len();
            text = format!("{text}{}{rest}", rest.len() + digits);
        }
        self.member(kind, "pax", text.as_bytes())
    }

    fn read(mut self) -> Result<TarIndex, String> {
        self.0.resize(self.0.len() + 1024, 0);
        read(&self.0)
    }
}

fn read(bytes: &[u8]) -> Result<TarIndex, String> {
    let read_at = |offset: u64, buffer: &mut [u8]| {
        let start = usize::try_from(offset).expect("a small archive");
        buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
        Ok(())
    };
    TarIndex::read(bytes.len() as u64, read_at).map_err(|fault| fault.to_string())
}

#[test]
fn files_are_found_where_they_are() {
    let long = format!("blobs/{}", "x".repeat(200));
    let contents = Archive::default()
        .header(EntryType::Directory, "./blobs/", 0)
        .file("./a", b"one")
        .pax(EntryType::XGlobalHeader, &[("comment", "made by hand")])
        .pax(EntryType::XHeader, &[("path", &long), ("mtime", "1.5")])
        .file("short", &[7; 513])
        .member(EntryType::GNULongName, "././@LongLink", b"b/c\0")
        .file("short", b"")
        .read()
        .expect("it is fine");
    let span = |offset, size| Some(Span { offset, size });
    assert_eq!(contents.file("a"), span(1024, 3));
    assert_eq!(contents.file(&long), span(4096, 513));
    assert_eq!(contents.file("b/c"), span(6656, 0));
    assert_eq!((contents.file("short"), contents.file("./a")), (None, None));
    assert_eq!(contents.any_link(), None);
}

#[test]
fn a_link_is_known_and_no_file() {
    let mut archive = Archive::default().header(EntryType::Symlink, "l", 3);
    archive.0[157..160].copy_from_slice(b"a/b");
    let header = Header::from_byte_slice(&archive.0[..512]);
    let mut header = header.clone();
    header.set_cksum();
    archive.0[..512].copy_from_slice(header.as_bytes());
    let contents = archive.file("a/b", b"x").read().expect("it is fine");
    assert_eq!(contents.file("l"), None);
    assert_eq!(contents.follow("l"), contents.file("a/b"));
    assert_eq!(contents.any_link(), Some("l"));
    assert!(contents.file("a/b").is_some());
}

#[test]
fn links_lead_to_what_is_inside() {
    let cases = [
        ("", "b", Some("b")),
        ("a/b", "../c", Some("a/c")),
        ("a", "./b/../c", Some("a/c")),
        ("a", "../../c", None),
        ("", "..", None),
        ("a", "/a/b", None),
        ("a", "", None),
    ];
    for (base, target, expected) in cases {
        assert_eq!(
            linked(base, target.as_bytes()).as_deref(),
            expected,
            "{target}"
        );
    }
    let around = TarIndex {
        members: [("a", "b"), ("b", "a")]
            .map(|(name, to)| (name.to_owned(), Member::Link(Some(to.to_owned()))))
            .into(),
    };
    assert_eq!(around.follow("a"), None);
}

fn refuses<const N: usize>(cases: [(Archive, &str); N]) {
    for (archive, why) in cases {
        let refusal = archive.read().expect_err(why);
        assert!(refusal.contains(why), "{refusal:?} should say {why:?}");
    }
}

/// Other readers take such a header for a file.
#[test]
fn an_extended_header_of_a_format_without_any_is_refused() {
    let mut archive = Archive::default().pax(EntryType::XHeader, &[("path", "a")]);
    let mut header = Header::from_byte_slice(&archive.0[..512]).clone();
    header.as_ustar_mut().expect("it is one").version = *b"15";
    header.set_cksum();
    archive.0[..512].copy_from_slice(header.as_bytes());
    refuses([(archive.file("x", b""), "a format that has none")]);
}

#[test]
fn what_could_do_harm_is_refused() {
    let new = Archive::default;
    let pax = EntryType::XHeader;
    let cases = [
        (new().file("../x", b""), "leads out"),
        (new().file("a/../../x", b""), "leads out"),
        (new().file("/etc/x", b""), "leads out"),
        (new().file("..\\x", b""), "leads out"),
        (
            new().pax(pax, &[("path", "/x")]).file("x", b""),
            "leads out",
        ),
        (new().file("./", b""), "no name"),
        (new().file("x", b"1").file("./x", b"2"), "\"x\" twice"),
        (new().header(EntryType::Char, "x", 0), "device"),
        (new().header(EntryType::Block, "x", 0), "device"),
        (new().header(EntryType::Fifo, "x", 0), "pipe"),
        (new().header(EntryType::GNUSparse, "x", 0), "sparse"),
        (new().header(EntryType::new(b'Z'), "x", 0), "unknown kind"),
        (
            new().pax(pax, &[("GNU.sparse.major", "1")]).file("x", b""),
            "sparse",
        ),
    ];
    refuses(cases);
}

#[test]
fn what_speaks_of_itself_in_two_ways_is_refused() {
    let new = Archive::default;
    let pax = EntryType::XHeader;
    let cases = [
        (
            new().pax(pax, &[("size", "9")]).file("x", b"1"),
            "two sizes",
        ),
        (
            new().pax(pax, &[("size", "-1")]).file("x", b"1"),
            "no number",
        ),
        (
            new().pax(pax, &[("size", "99999999999999")]).file("x", b""),
            "cut off",
        ),
        (
            new().pax(EntryType::XGlobalHeader, &[("path", "x")]),
            "global header",
        ),
        (
            new()
                .member(EntryType::GNULongName, "x", b"a\0")
                .pax(pax, &[("path", "b")])
                .file("x", b""),
            "name is told twice",
        ),
        (
            new()
                .member(pax, "x", b"9 size=0\n9 size=0\n")
                .file("x", b""),
            "size is told twice",
        ),
        (
            new()
                .member(EntryType::GNULongLink, "x", b"a\0")
                .pax(pax, &[("linkpath", "b")])
                .header(EntryType::Symlink, "x", 0),
            "link is told twice",
        ),
        (new().pax(pax, &[("mtime", "1")]), "member is missing"),
        (new().member(pax, "x", b"99 path=x"), "malformed"),
        (new().header(pax, "x", 1 << 40), "too long"),
        (
            new().header(EntryType::GNULongName, "x", 1 << 20),
            "too long",
        ),
        (new().header(EntryType::Regular, "x", 1 << 40), "cut off"),
        (new().header(EntryType::Regular, "x", u64::MAX), "cut off"),
    ];
    refuses(cases);
}

#[test]
fn what_is_cut_off_or_damaged_is_refused_at_every_length() {
    let whole = Archive::default().file("a", &[1; 700]).file("b", b"2").0;
    for length in 0..=whole.len() {
        let refusal = read(&whole[..length]).expect_err("the end is missing");
        assert!(refusal.contains("cut off"), "{length}: {refusal}");
    }
    let mut damaged = whole;
    damaged.resize(damaged.len() + 1024, 0);
    assert!(read(&damaged).is_ok());
    damaged[3] ^= 1;
    assert!(
        read(&damaged)
            .expect_err("damage")
            .contains("does not begin with")
    );
    damaged[3] ^= 1;
    damaged[512 + 1024 + 3] ^= 1;
    assert!(
        read(&damaged)
            .expect_err("damage")
            .contains("at byte 1536 is damaged")
    );
}

#[test]
fn a_hundred_thousand_members_are_read_and_too_many_are_not() {
    let mut archive = Archive::default();
    for number in 0..100_000 {
        archive = archive.file(&format!("blobs/{number}"), b"");
    }
    assert_eq!(
        archive.read().expect("many are fine").members.len(),
        100_000
    );

    // The same header again and again, without end.
    let header = Archive::default().header(EntryType::Directory, "d", 0).0;
    let endless = |_: u64, buffer: &mut [u8]| {
        buffer.copy_from_slice(&header);
        Ok(())
    };
    let fault = TarIndex::read(u64::MAX, endless).expect_err("it has no end");
    assert!(fault.to_string().contains("more than 200000 members"));

    let many = (0..17).fold(Archive::default(), |archive, _| {
        archive.pax(EntryType::XGlobalHeader, &[("mtime", "1")])
    });
    let refusal = many.file("x", b"").read().expect_err("too many of them");
    assert!(
        refusal.contains("more than 16 extended headers"),
        "{refusal}"
    );
}

#[test]
fn names_without_end_are_refused() {
    let long = "n".repeat(60_000);
    let mut archive = Archive::default();
    for number in 0..1000 {
        let name = format!("{number}{long}");
        archive = archive
            .pax(EntryType::XHeader, &[("path", &name)])
            .file("x", b"");
    }
    let refusal = archive.read().expect_err("25 MB of names");
    assert!(refusal.contains("names are longer"), "{refusal}");
}
