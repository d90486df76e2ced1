//! The floor: as little as a copy of blobs can be. It is this program again, called with [`ARGUMENT`].
//!
//! One client a blob, all at once: GET, hash what comes, and PUT it on. No existence checks, no retries.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::support::content::finish;
use super::support::wire::BoxError;

/// The first argument that makes this program the raw client; two hosts, a repository and digests follow.
pub(crate) const ARGUMENT: &str = "raw-copy";

pub(crate) fn main() {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [source, destination, repository, digests @ ..] = &arguments[..] else {
        panic!("{ARGUMENT} SOURCE DESTINATION REPOSITORY DIGEST...");
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    runtime.block_on(async {
        let mut copies = JoinSet::new();
        for digest in digests {
            let hosts = (source.clone(), destination.clone());
            copies.spawn(copy(hosts, repository.clone(), digest.clone()));
        }
        for copied in copies.join_all().await {
            copied.expect("a raw copy between healthy registries");
        }
    });
}

async fn copy(
    (source, destination): (String, String),
    repository: String,
    digest: String,
) -> Result<(), BoxError> {
    let mut reader = Client::connect(&source).await?;
    let mut writer = Client::connect(&destination).await?;
    let blob = format!("/v2/{repository}/blobs/{digest}");
    let blob = reader.send(Method::GET, &blob, nothing()).await?;
    let uploads = format!("/v2/{repository}/blobs/uploads/");
    let session = writer.send(Method::POST, &uploads, nothing()).await?;
    let location = session.headers()["location"].to_str()?.parse::<Uri>()?;
    let path = location.path_and_query().ok_or("a Location without path")?;
    let separator = if path.query().is_some() { '&' } else { '?' };
    // An answer that is dropped unread would close its connection.
    session.into_body().collect().await?;
    let put = format!("{path}{separator}digest={digest}");
    let body = Hashed::new(blob.into_body(), digest);
    let stored = writer.send(Method::PUT, &put, body.boxed()).await?;
    match stored.status().as_u16() {
        201 => Ok(()),
        status => Err(format!("PUT was answered {status}").into()),
    }
}

fn nothing() -> BoxBody<Bytes, BoxError> {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// One kept connection.
pub(crate) struct Client {
    host: String,
    sender: SendRequest<BoxBody<Bytes, BoxError>>,
    /// Ends with the client.
    _connection: JoinSet<()>,
}

impl Client {
    pub(crate) async fn connect(host: &str) -> Result<Self, BoxError> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut task = JoinSet::new();
        // What breaks the connection is an error of the request, too.
        task.spawn(async move { drop(connection.await) });
        Ok(Self {
            host: host.to_owned(),
            sender,
            _connection: task,
        })
    }

    /// GET, its answer read and forgotten.
    pub(crate) async fn get(&mut self, path: &str) -> Result<(), BoxError> {
        let answer = self.send(Method::GET, path, nothing()).await?;
        answer.into_body().collect().await?;
        Ok(())
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: BoxBody<Bytes, BoxError>,
    ) -> Result<Response<Incoming>, BoxError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .body(body)?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }
}

/// A body that is hashed on its way, and fails at its end where the digest is another one.
struct Hashed {
    body: Incoming,
    hasher: Sha256,
    digest: String,
}

impl Hashed {
    fn new(body: Incoming, digest: String) -> Self {
        Self {
            body,
            hasher: Sha256::new(),
            digest,
        }
    }
}

impl Body for Hashed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.hasher
                .update(frame.data_ref().unwrap_or(&Bytes::new()));
        }
        if self.body.is_end_stream() && finish(self.hasher.clone()) != self.digest {
            return Poll::Ready(Some(Err("the digest is another one".into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
