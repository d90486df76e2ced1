//! A forward in front of a real registry: the same log and the same faults as the fake one has.
//!
//! The `Host` header goes through, so that the registry's own addresses lead back through the proxy.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt as _;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::http::request::Parts;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::wire::{BoxBody, BoxError, Handler, Received, Server};

/// A running proxy; dropped, it is gone.
pub(crate) struct Proxy(Server);

impl Proxy {
    /// A proxy in front of the plain HTTP server at `host` (`127.0.0.1:PORT`).
    pub(crate) fn start(host: &str) -> Self {
        Self(Server::start(Forward {
            upstream: host.to_owned(),
            idle: Arc::default(),
        }))
    }
}

impl Deref for Proxy {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

type Sender = SendRequest<Received>;

struct Forward {
    upstream: String,
    /// Connections whose last answer was read to its end.
    idle: Arc<Mutex<Vec<Sender>>>,
}

impl Forward {
    async fn sender(&self) -> Result<Sender, BoxError> {
        while let Some(sender) = self.take_idle() {
            if sender.is_ready() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(&self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends when the sender is dropped, or the upstream closes.
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    fn take_idle(&self) -> Option<Sender> {
        self.idle.lock().expect("no holder panicked").pop()
    }

    /// Keeps the connection once it is ready for another request, which is when its answer was read.
    fn keep(&self, mut sender: Sender) {
        let idle = Arc::clone(&self.idle);
        tokio::task::spawn_local(async move {
            if sender.ready().await.is_ok() {
                idle.lock().expect("no holder panicked").push(sender);
            }
        });
    }
}

impl Handler for Forward {
    async fn answer(
        &self,
        head: Parts,
        body: Received,
    ) -> Result<hyper::Response<BoxBody>, BoxError> {
        let mut sender = self.sender().await?;
        let answer = sender
            .send_request(hyper::Request::from_parts(head, body))
            .await?;
        self.keep(sender);
        let (mut head, body) = answer.into_parts();
        head.headers.remove("connection");
        head.headers.remove("transfer-encoding");
        Ok(hyper::Response::from_parts(
            head,
            Box::pin(body.map_err(Into::into)),
        ))
    }
}
