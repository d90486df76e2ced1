//! Registries that echo what they were shown: no secret comes out again.

use super::{LOGIN, PASSWORD, USER, bearer, copy, guarded, image, login_in_base64};
use crate::support::registry::Auth;
use crate::support::wire::{Answer, Fault, Request};

/// Answers that tell what the request showed, in every form of an error.
fn echoes(shown: &str) -> Vec<Answer> {
    let padding = "x".repeat(590);
    vec![
        Answer::error(403, "UNAUTHORIZED", &serde_json::json!(shown)),
        Answer::error(403, "DENIED", &serde_json::json!({"header": shown})),
        Answer::new(403).json(&serde_json::json!({"error": shown})),
        Answer::new(403).json(&serde_json::json!({"sent": shown})),
        Answer::new(418).body("text/plain", format!("refused: {shown}")),
        // Where the words are cut there is no half of it.
        Answer::new(418).body("text/plain", format!("{padding}{shown}")),
    ]
}

#[test]
fn what_a_registry_echoes_is_concealed() {
    let shown = format!("Basic {}, that is {PASSWORD}", login_in_base64());
    for answer in echoes(&shown) {
        let source = guarded(Auth::basic(USER, PASSWORD));
        image().push_to(&source, "x:1");
        source.fail(usize::MAX, Request::is_manifest, Fault::Status(answer));
        let run = copy(&source.reference("x:1"), &source.reference("y:1"));
        let output = run.args(["--creds", LOGIN]).run().exits(1);
        for text in [&output.stdout, &output.stderr] {
            assert!(!text.contains("s3cret"), "{text}");
            assert!(!text.contains(&login_in_base64()[..8]), "{text}");
        }
        assert!(
            output.stdout.contains("[redacted]") || output.stdout.contains("xxx"),
            "{output:#?}"
        );
    }
}

#[test]
fn a_token_that_is_echoed_is_concealed() {
    let source = guarded(Auth::Bearer(bearer()));
    image().push_to(&source, "x:1");
    source.on(|request: &Request| {
        let shown = request.header("authorization")?;
        let answer = Answer::error(403, "DENIED", &serde_json::json!(shown));
        request.is_manifest().then_some(Fault::Status(answer))
    });
    let run = copy(&source.reference("x:1"), &source.reference("y:1"));
    let output = run.args(["--creds", LOGIN]).run().exits(1);
    assert!(output.stdout.contains("Bearer [redacted]"), "{output:#?}");
}

/// Percent- and form-encoded, with the hexadecimal digits in both cases, as JSON and HTML have it.
const SPELLINGS: [&str; 6] = [
    "p%40ss%20w%2Fq%2Bz%3D%22",
    "p%40ss+w%2fq%2bz%3d%22",
    "p@ss%20w/q+z=%22",
    "p%2540ss%2520w%252Fq%252Bz%253D%2522",
    "p@ss w\\/q\\u002bz\\u003d\\u0022",
    "p@ss w/q+z&#61;&quot;",
];

#[test]
fn every_spelling_of_a_password_is_concealed() {
    let login = "alice:p@ss w/q+z=\"";
    for spelling in SPELLINGS {
        for asked in [Request::is_token, Request::is_manifest] {
            let source = guarded(Auth::Bearer(crate::support::registry::Bearer::user(
                "alice",
                "p@ss w/q+z=\"",
            )));
            image().push_to(&source, "x:1");
            let answer = Answer::new(403).body("text/plain", format!("no <{spelling}> here"));
            source.fail(usize::MAX, asked, Fault::Status(answer));
            let run = copy(&source.reference("x:1"), &source.reference("y:1"));
            let output = run.args(["--creds", login]).run().exits(1);
            let report = output.json().to_string();
            assert!(report.contains("no <[redacted]> here"), "{report}");
            for text in [&report, &output.stderr] {
                assert!(!text.contains(spelling), "{spelling} in {text}");
            }
        }
    }
}

#[test]
fn an_identity_token_that_is_echoed_as_it_was_sent_is_concealed() {
    let source = guarded(Auth::Bearer(crate::support::registry::Bearer {
        identity_token: Some("identity/of+alice==".into()),
        ..bearer()
    }));
    let sent = "grant_type=refresh_token&refresh_token=identity%2Fof%2Balice%3D%3D&x=1";
    let answer = Answer::new(400).json(&serde_json::json!({"error": sent}));
    source.fail(usize::MAX, Request::is_token, Fault::Status(answer));
    let run = copy(&source.reference("x:1"), &source.reference("y:1"));
    let entry = serde_json::json!({"identitytoken": "identity/of+alice=="});
    let config = serde_json::json!({"auths": {source.host(): entry}});
    super::write(&run.home().join("config.json"), &config);
    let output = run.run().exits(1);
    assert!(
        output.stdout.contains("refresh_token=[redacted]&x=1"),
        "{output:#?}"
    );
}
