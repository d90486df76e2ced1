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
