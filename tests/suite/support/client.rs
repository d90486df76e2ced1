//! A tiny blocking client of the registry API over plain HTTP, one connection a request.
//!
//! For putting things into a real registry and looking at what is there; it panics where a registry refuses.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::content::{DOCKER_LIST, DOCKER_MANIFEST, Manifest, OCI_INDEX, OCI_MANIFEST, sha256};

/// A registry at `host`, with the `Authorization` that it wants.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    host: String,
    authorization: Option<String>,
}

/// What a registry answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    fn expect(self, status: u16, what: &str) -> Self {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(
            self.status, status,
            "{what} was answered {}: {body}",
            self.status
        );
        self
    }
}

impl Client {
    /// A client of `HOST:PORT`; credentials are sent as Basic with every request.
    pub(crate) fn new(host: &str, credentials: Option<(&str, &str)>) -> Self {
        let basic =
            |(user, password)| format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Self {
            host: host.to_owned(),
            authorization: credentials.map(basic),
        }
    }

    /// One request (`GET /v2/…`) with these headers and body.
    pub(crate) fn request(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut head = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.host
        );
        let authorization = self
            .authorization
            .iter()
            .map(|value| ("Authorization", value.as_str()));
        let length = body.len().to_string();
        let length = (!line.starts_with("GET") && !line.starts_with("HEAD"))
            .then_some(("Content-Length", length.as_str()));
        for (name, value) in headers.iter().copied().chain(authorization).chain(length) {
            write!(head, "{name}: {value}\r\n").expect("a string takes every write");
        }
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), body].concat())?;
        read_reply(&mut BufReader::new(stream), line.starts_with("HEAD"))
    }

    fn ask(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let reply = self.request(line, headers, body);
        reply.unwrap_or_else(|error| panic!("{line} at {}: {error}", self.host))
    }

    pub(crate) fn has_blob(&self, repository: &str, digest: &str) -> bool {
        self.ask(&format!("HEAD /v2/{repository}/blobs/{digest}"), &[], b"")
            .status
            == 200
    }

    pub(crate) fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        let reply = self.ask(&format!("GET /v2/{repository}/blobs/{digest}"), &[], b"");
        (reply.status == 200).then_some(reply.body)
    }

    /// Uploads a blob that is not there yet.
    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) {
        let digest = sha256(bytes);
        if self.has_blob(repository, &digest) {
            return;
        }
        let start = self.ask(&format!("POST /v2/{repository}/blobs/uploads/"), &[], b"");
        let start = start.expect(202, "the start of an upload");
        let location = start.header("location").expect("an upload has a Location");
        let path = location
            .strip_prefix(&format!("http://{}", self.host))
            .unwrap_or(location);
        let separator = if path.contains('?') { '&' } else { '?' };
        let headers = [("Content-Type", "application/octet-stream")];
        self.ask(
            &format!("PUT {path}{separator}digest={digest}"),
            &headers,
            bytes,
        )
        .expect(201, "the upload of a blob");
    }

    pub(crate) fn manifest(&self, repository: &str, reference: &str) -> Option<Manifest> {
        let accept = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ");
        let line = format!("GET /v2/{repository}/manifests/{reference}");
        let reply = self.ask(&line, &[("Accept", &accept)], b"");
        let media_type = reply.header("content-type").unwrap_or_default().to_owned();
        (reply.status == 200).then(|| Manifest::new(media_type, reply.body))
    }

    pub(crate) fn put_manifest(&self, repository: &str, reference: &str, manifest: &Manifest) {
        let line = format!("PUT /v2/{repository}/manifests/{reference}");
        let headers = [("Content-Type", manifest.media_type.as_str())];
        self.ask(&line, &headers, &manifest.bytes)
            .expect(201, &line);
    }

    /// Deletes by digest (what every registry that deletes understands), with all tags of that digest.
    pub(crate) fn delete_manifest(&self, repository: &str, digest: &str) {
        let line = format!("DELETE /v2/{repository}/manifests/{digest}");
        self.ask(&line, &[], b"").expect(202, &line);
    }

    /// The tags in order; none of a repository that is not there.
    pub(crate) fn tags(&self, repository: &str) -> Vec<String> {
        let reply = self.ask(&format!("GET /v2/{repository}/tags/list"), &[], b"");
        let list: serde_json::Value =
            serde_json::from_slice(&reply.body).expect("a tag list is JSON");
        let tags = list["tags"].as_array().into_iter().flatten();
        let mut tags: Vec<String> = tags
            .filter_map(|tag| Some(tag.as_str()?.to_owned()))
            .collect();
        tags.sort();
        tags
    }
}

fn read_reply(reader: &mut impl BufRead, head_only: bool) -> std::io::Result<Reply> {
    let mut lines = std::iter::from_fn(|| {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(_) => (!line.trim_end().is_empty()).then(|| Ok(line.trim_end().to_owned())),
            Err(error) => Some(Err(error)),
        }
    });
    let first = lines.next().ok_or(std::io::ErrorKind::UnexpectedEof)??;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let headers: std::io::Result<Vec<String>> = lines.collect();
    let pair = |line: &String| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let mut reply = Reply {
        status: status.ok_or(std::io::ErrorKind::InvalidData)?,
        headers: headers?.iter().filter_map(pair).collect(),
        body: Vec::new(),
    };
    if head_only || reply.status == 204 {
        return Ok(reply);
    }
    if reply.header("transfer-encoding") == Some("chunked") {
        reply.body = read_chunks(reader)?;
    } else {
        let length = reply
            .header("content-length")
            .and_then(|value| value.parse().ok());
        reader
            .take(length.unwrap_or(u64::MAX))
            .read_to_end(&mut reply.body)?;
    }
    Ok(reply)
}

fn read_chunks(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let size = u64::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
        reader.take(size).read_to_end(&mut body)?;
        reader.read_line(&mut String::new())?;
        if size == 0 {
            return Ok(body);
        }
    }
}
