//! The runbook, run: every command of `docs/air-gap.md`, in its order, between two of Debian's registries.
//! Only names of places, and the size of a disk, are others.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

use crate::support::docker_registry::DockerRegistry;
use crate::support::image::{Image, ImageSpec, Layer};

fn image(seed: u64) -> Image {
    ImageSpec::new("linux", "arm64")
        .seed(seed)
        .layer(Layer::random(7, 300_000))
        .layer(Layer::random(100 + seed, 50_000))
        .build()
}

/// A section's title and its commands, block by block.
struct Section {
    title: String,
    blocks: Vec<String>,
}

fn sections(text: &str) -> Vec<Section> {
    let sections = text.split("\n## ").skip(1);
    let section = |section: &str| {
        let (title, body) = section.split_once('\n').expect("a title and a body");
        let blocks = body.split("```bash\n").skip(1);
        let block = |block: &str| block.split("```").next().expect("an end").to_owned();
        Section {
            title: title.to_owned(),
            blocks: blocks.map(block).collect(),
        }
    };
    sections.map(section).collect()
}

/// Runs a block as it stands, but for `names`; its lines end well, but for one that says otherwise.
#[track_caller]
fn follow(block: &str, names: &[(&str, String)], directory: &Path) {
    let mut script = block.to_owned();
    for (name, place) in names {
        script = script.replace(name, place);
    }
    let barge = Path::new(env!("CARGO_BIN_EXE_barge"));
    let path = std::env::var("PATH").expect("a PATH");
    let binaries = barge.parent().expect("a directory").display();
    let output = Command::new("bash")
        .args(["-e", "-c", &script])
        .env_clear()
        .env("PATH", format!("{binaries}:{path}"))
        .env("HOME", directory)
        .current_dir(directory)
        .output()
        .expect("bash is installed");
    let expected = i32::from(block.contains("# exits 1"));
    assert_eq!(
        output.status.code(),
        Some(expected),
        "{script}\n{output:#?}"
    );
}

#[test]
fn the_runbook_can_be_followed_word_for_word() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/air-gap.md")).expect("docs/air-gap.md");
    let (outside, inside) = (DockerRegistry::start(), DockerRegistry::start());
    let table = tempdir().expect("a temporary directory");
    let disk = table.path().join("disk");
    fs::create_dir(&disk).expect("a directory");
    let names = [
        ("quay.io", format!("docker://{}", outside.host())),
        ("registry.internal", inside.host().to_owned()),
        ("/media/disk", disk.display().to_string()),
        ("-b 4GB", "-b 20k".to_owned()),
    ];
    image(1).push_to(&outside, "org/app:v1");
    let mut weeks = 1;
    let mut followed = Vec::new();
    for Section { title, blocks } in sections(&text) {
        match title.split('.').next() {
            Some("2" | "3") => {
                weeks += 1;
                image(weeks).push_to(&outside, &format!("org/app:v{weeks}"));
            }
            Some("5") => inside.remove_blob(&image(1).layers[0].digest()),
            _ => {}
        }
        for block in &blocks {
            follow(block, &names, table.path());
        }
        followed.push(blocks.len());
        for week in (1..=weeks).filter(|_| !blocks.is_empty()) {
            let there = inside.client().manifest("org/app", &format!("v{week}"));
            assert_eq!(there, Some(image(week).manifest.clone()), "after {title}");
        }
    }
    assert_eq!(followed, [2, 4, 2, 1, 3, 0]);
    // The difference of the second week was small, and the third came in parts.
    let parts = fs::read_dir(table.path().join("outgoing"))
        .expect("parts")
        .count();
    assert!(parts > 2 + 50_000 / 20_480, "{parts}");
    let archive = fs::metadata(disk.join("app.tar"))
        .expect("the archive")
        .len();
    assert!(archive < 70_000, "{archive}");
    let client = inside.client();
    let layer = &image(1).layers[0];
    assert_eq!(
        client.blob("org/app", &layer.digest()).as_deref(),
        Some(&layer.bytes[..])
    );
}
