//! Blobs and the sessions that upload them.

use bytes::{Bytes, BytesMut};
use serde_json::json;

use super::settings::{Blobs, Dialect, Mounts, Uploads};
use super::store::{Upload, World};
use super::{Call, Route, auth};
use crate::support::content::sha256;
use crate::support::wire::Answer;

pub(super) fn read(world: &World, call: &Call, (repository, digest): (&str, &str)) -> Answer {
    let Some(found) = world.repositories.get(repository) else {
        return Answer::error(404, "NAME_UNKNOWN", &json!({ "name": repository }));
    };
    let Some(bytes) = found.blobs.get(digest) else {
        return Answer::error(404, "BLOB_UNKNOWN", &json!(digest));
    };
    let answer = match &world.settings.blobs {
        Blobs::Redirected(base) if call.method == "GET" => {
            return Answer::new(307)
                .header("Location", format!("{base}/{digest}?signature=secret"));
        }
        Blobs::Whole => whole(bytes),
        Blobs::Direct | Blobs::Redirected(_) => ranged(bytes, call),
    };
    answer.header("Docker-Content-Digest", digest)
}

/// Where redirected reads end: any repository's blob, to whoever does not bring an `Authorization`.
pub(super) fn storage(world: &World, call: &Call, digest: &str) -> Answer {
    if call.header("authorization").is_some() {
        return Answer::new(400).body(
            "application/xml",
            "<Error><Code>InvalidArgument</Code></Error>",
        );
    }
    if call.parameter("signature") != Some("secret") {
        return Answer::new(403).body(
            "application/xml",
            "<Error><Code>AccessDenied</Code></Error>",
        );
    }
    let found = world
        .repositories
        .values()
        .find_map(|repository| repository.blobs.get(digest));
    found.map_or_else(|| Answer::new(404), |bytes| ranged(bytes, call))
}

fn whole(bytes: &Bytes) -> Answer {
    Answer::new(200).body("application/octet-stream", bytes.clone())
}

fn ranged(bytes: &Bytes, call: &Call) -> Answer {
    let range = call
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
        return whole(bytes).header("Accept-Ranges", "bytes");
    };
    let size = bytes.len();
    let first = first.parse().unwrap_or(size);
    let end = last.parse().map_or(size, |last: usize| size.min(last + 1));
    if first >= end {
        return Answer::new(416).header("Content-Range", format!("bytes */{size}"));
    }
    Answer::new(206)
        .body("application/octet-stream", bytes.slice(first..end))
        .header("Content-Range", format!("bytes {first}-{}/{size}", end - 1))
}

/// POST: a mount or a new session.
pub(super) fn start(world: &mut World, call: &Call, repository: &str) -> Answer {
    if let Some(digest) = call.parameter("mount")
        && mount(world, call, (repository, digest))
    {
        return created(call, repository, digest);
    }
    world.opened += 1;
    let session = format!("session-{}", world.opened);
    let upload = Upload {
        repository: repository.to_owned(),
        bytes: BytesMut::new(),
    };
    world.uploads.insert(session.clone(), upload);
    let opened = progress(world, call, (repository, &session));
    opened.header("Docker-Upload-UUID", session)
}

fn mount(world: &mut World, call: &Call, (repository, digest): (&str, &str)) -> bool {
    let Some(from) = call.parameter("from") else {
        return false;
    };
    if world.settings.mounts == Mounts::Ignored || !auth::may_pull(world, call, from) {
        return false;
    }
    let found = world
        .repositories
        .get(from)
        .and_then(|found| found.blobs.get(digest));
    let Some(bytes) = found.cloned() else {
        return false;
    };
    let target = world.repositories.entry(repository.to_owned()).or_default();
    target.blobs.insert(digest.to_owned(), bytes);
    true
}

/// Anything to do with an open session.
pub(super) fn upload(
    world: &mut World,
    call: &Call,
    (repository, session): (&str, &str),
) -> Answer {
    let known = world
        .uploads
        .get(session)
        .is_some_and(|upload| upload.repository == repository);
    if !known || (call.parameter("state") != Some(session)) {
        return Answer::error(404, "BLOB_UPLOAD_UNKNOWN", &json!({}));
    }
    match call.method.as_str() {
        "GET" => Answer {
            status: 204,
            ..progress(world, call, (repository, session))
        },
        "PATCH" => patch(world, call, (repository, session)),
        "PUT" => finish(world, call, (repository, session)),
        "DELETE" => {
            world.uploads.remove(session);
            Answer::new(204)
        }
        _ => Answer::error(405, "UNSUPPORTED", &json!({})),
    }
}

/// Keeps the beginning of a body that broke off, as distribution does; the session tells how much came.
pub(super) fn keep(world: &mut World, call: &Call) {
    if let Some(Route::Upload { session, .. }) = Route::of(&call.path)
        && let Some(upload) = world.uploads.get_mut(session)
    {
        upload.bytes.extend_from_slice(&call.body);
    }
}

fn patch(world: &mut World, call: &Call, place: (&str, &str)) -> Answer {
    if !appends(world, call, place.1) {
        return Answer {
            status: 416,
            ..progress(world, call, place)
        };
    }
    progress(world, call, place)
}

/// Appends the body where its `Content-Range`, if any, says that it belongs there.
fn appends(world: &mut World, call: &Call, session: &str) -> bool {
    let Some(upload) = world.uploads.get_mut(session) else {
        return false;
    };
    let first = call.header("content-range").and_then(|range| {
        let range = range.strip_prefix("bytes ").unwrap_or(range);
        range.split_once('-')?.0.parse::<usize>().ok()
    });
    if first.is_some_and(|first| first != upload.bytes.len()) {
        return false;
    }
    upload.bytes.extend_from_slice(&call.body);
    true
}

fn finish(world: &mut World, call: &Call, place: (&str, &str)) -> Answer {
    let Some(digest) = call.parameter("digest") else {
        return Answer::error(400, "DIGEST_INVALID", &json!("no digest"));
    };
    if !appends(world, call, place.1) {
        return Answer {
            status: 416,
            ..progress(world, call, place)
        };
    }
    let upload = world.uploads.remove(place.1);
    let bytes = upload
        .map(|upload| upload.bytes.freeze())
        .unwrap_or_default();
    commit(world, call, (place.0, digest, bytes))
}

fn commit(
    world: &mut World,
    call: &Call,
    (repository, digest, bytes): (&str, &str, Bytes),
) -> Answer {
    let real = sha256(&bytes);
    if real != digest {
        let code = match world.settings.dialect {
            Dialect::Quay => "BLOB_UPLOAD_INVALID",
            _ => "DIGEST_INVALID",
        };
        return Answer::error(400, code, &json!(format!("{real} is not {digest}")));
    }
    let target = world.repositories.entry(repository.to_owned()).or_default();
    target.blobs.insert(real, bytes);
    created(call, repository, digest)
}

fn created(call: &Call, repository: &str, digest: &str) -> Answer {
    let host = call.host();
    Answer::new(201)
        .header(
            "Location",
            format!("http://{host}/v2/{repository}/blobs/{digest}"),
        )
        .header("Docker-Content-Digest", digest)
}

/// Where a session is and how far it has come.
fn progress(world: &World, call: &Call, (repository, session): (&str, &str)) -> Answer {
    let path = format!("/v2/{repository}/blobs/uploads/{session}?state={session}");
    let location = match world.settings.uploads {
        Uploads::Absolute => format!("http://{}{path}", call.host()),
        Uploads::Relative => path,
    };
    let size = world
        .uploads
        .get(session)
        .map_or(0, |upload| upload.bytes.len());
    let range = match world.settings.dialect {
        Dialect::Quay => format!("bytes=0-{size}"),
        _ => format!("0-{}", size.saturating_sub(1)),
    };
    Answer::new(202)
        .header("Location", location)
        .header("Range", range)
}
