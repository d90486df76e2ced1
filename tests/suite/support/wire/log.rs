//! The log of requests: written when they arrive, completed while they are answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// One request and how it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// As it was written, without the question mark.
    pub(crate) query: String,
    /// Names in lower case, several values of one name joined by commas.
    pub(crate) headers: BTreeMap<String, String>,
    /// 0 where there was no answer (yet).
    pub(crate) status: u16,
    /// Bytes of its body that were read.
    pub(crate) body_len: u64,
    /// Bytes of the answer's body that were sent.
    pub(crate) answer_len: u64,
    pub(crate) began: Instant,
    /// When the answer was sent, or the connection broke.
    pub(crate) ended: Option<Instant>,
}

impl Request {
    pub(super) fn new(head: &hyper::http::request::Parts) -> Self {
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let joined = headers.entry(name.as_str().to_owned()).or_default();
            if !joined.is_empty() {
                joined.push_str(", ");
            }
            joined.push_str(&value);
        }
        Self {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers,
            status: 0,
            body_len: 0,
            answer_len: 0,
            began: Instant::now(),
            ended: None,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first parameter of this name in the query, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let found = parameters(&self.query)
            .into_iter()
            .find(|(key, _)| key == name);
        found.map(|(_, value)| value)
    }

    /// Whether the method is `method` and the path begins with `/v2/` and contains `part`.
    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.starts_with("/v2/") && self.path.contains(part)
    }

    /// A GET or HEAD of a blob, or a redirected one.
    pub(crate) fn reads_blob(&self) -> bool {
        let place = (self.path.contains("/blobs/") && !self.is_upload())
            || self.path.starts_with("/storage/");
        self.reads() && place
    }

    pub(crate) fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }

    /// Any request to an upload session, its start included.
    pub(crate) fn is_upload(&self) -> bool {
        self.path.contains("/blobs/uploads/")
    }

    pub(crate) fn is_token(&self) -> bool {
        self.path == "/token"
    }

    pub(crate) fn reads(&self) -> bool {
        self.method == "GET" || self.method == "HEAD"
    }
}

/// The decoded parameters of a query or form.
pub(crate) fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    });
    decoded.collect()
}

fn decode(text: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(match (first, code) {
            (b'%', Some(code)) => {
                rest = &tail[2..];
                code
            }
            (b'+', _) => b' ',
            _ => *first,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The most of these requests that were in flight at one moment.
pub(super) fn peak<'a>(requests: impl Iterator<Item = &'a Request>) -> usize {
    let mut moments: Vec<(Instant, isize)> = Vec::new();
    for request in requests {
        moments.push((request.began, 1));
        moments.extend(request.ended.map(|ended| (ended, -1)));
    }
    moments.sort();
    let mut now = 0;
    let counts = moments.iter().map(|(_, change)| {
        now += change;
        now
    });
    counts.max().unwrap_or(0).unsigned_abs()
}

/// The log itself; clones are the same log.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<(Mutex<Entries>, Condvar)>);

#[derive(Default)]
struct Entries {
    /// How many were forgotten.
    before: usize,
    requests: Vec<Request>,
}

impl Log {
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.entries().requests.clone()
    }

    pub(crate) fn clear(&self) {
        let mut entries = self.entries();
        entries.before += entries.requests.len();
        entries.requests.clear();
    }

    /// The log as soon as it is so, or as it is when `patience` has run out.
    pub(super) fn wait_until(
        &self,
        is_so: impl Fn(&[Request]) -> bool,
        patience: Duration,
    ) -> Vec<Request> {
        let entries = self.entries();
        let waited = self
            .0
            .1
            .wait_timeout_while(entries, patience, |entries| !is_so(&entries.requests));
        waited.expect("no writer panicked").0.requests.clone()
    }

    pub(super) fn open(&self, request: Request) -> Ticket {
        let mut entries = self.entries();
        entries.requests.push(request);
        let number = entries.before + entries.requests.len() - 1;
        drop(entries);
        self.0.1.notify_all();
        Ticket {
            log: self.clone(),
            number,
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.0.lock().expect("no writer panicked")
    }
}

/// The place of one request in the log.
#[derive(Clone)]
pub(crate) struct Ticket {
    log: Log,
    number: usize,
}

impl Ticket {
    fn change(&self, change: impl FnOnce(&mut Request)) {
        let mut entries = self.log.entries();
        let index = self.number.checked_sub(entries.before);
        if let Some(request) = index.and_then(|index| entries.requests.get_mut(index)) {
            change(request);
        }
        drop(entries);
        self.log.0.1.notify_all();
    }

    pub(super) fn answered(&self, status: u16) {
        self.change(|request| request.status = status);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.change(|request| request.body_len += bytes as u64);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.change(|request| request.answer_len += bytes as u64);
    }
}

/// Notes the end of a request when it is dropped, however it ended.
pub(super) struct Ending(pub(super) Ticket);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0
            .change(|request| request.ended = Some(Instant::now()));
    }
}
