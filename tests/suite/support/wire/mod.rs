//! An HTTP server on a loopback port that remembers what crossed the wire and misbehaves on demand.
//!
//! It knows nothing of registries: a [`Handler`] answers, this module logs, and spoils the answer where a
//! rule says so. One thread a server; dropping the server ends it and every connection.

mod answer;
mod body;
mod fault;
mod log;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, LocalSet};

pub(crate) use answer::Answer;
pub(crate) use body::{BoxBody, Played, Received};
pub(crate) use fault::{Fault, times};
pub(crate) use log::{Request, parameters};

use fault::Rules;
use log::{Ending, Log};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// What answers the requests that no fault has answered.
pub(crate) trait Handler: Send + 'static {
    /// `Err` closes the connection without an answer.
    async fn answer(
        &self,
        head: hyper::http::request::Parts,
        body: Received,
    ) -> Result<hyper::Response<BoxBody>, BoxError>;
}

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    wire: Wire,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// What the server's thread and its owner share.
#[derive(Clone)]
struct Wire {
    log: Log,
    rules: Rules,
    releases: Arc<watch::Sender<u64>>,
}

impl Server {
    pub(crate) fn start(handler: impl Handler) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener
            .set_nonblocking(true)
            .expect("a listener need not block");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let wire = Wire {
            log: Log::default(),
            rules: Rules::default(),
            releases: Arc::new(watch::channel(0).0),
        };
        let (stop, stopped) = oneshot::channel();
        let shared = wire.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime can be made");
            let serving = async {
                let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, shared, Rc::new(handler)) => {}
                }
            };
            LocalSet::new().block_on(&runtime, serving);
        });
        Self {
            address,
            wire,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// `docker://HOST/NAME`.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }

    /// Every request since the start or the last [`Server::clear_log`], in order of arrival.
    pub(crate) fn log(&self) -> Vec<Request> {
        self.wire.log.requests()
    }

    pub(crate) fn clear_log(&self) {
        self.wire.log.clear();
    }

    /// How many requests in the log are so.
    pub(crate) fn count(&self, is_so: impl Fn(&Request) -> bool) -> usize {
        self.log().iter().filter(|request| is_so(request)).count()
    }

    /// The most requests of this kind that were in flight at one moment.
    pub(crate) fn peak(&self, is_so: impl Fn(&Request) -> bool) -> usize {
        log::peak(self.log().iter().filter(|request| is_so(request)))
    }

    /// Waits until `count` such requests have arrived, answered or not; fails the test after 30 seconds.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize, is_so: impl Fn(&Request) -> bool) {
        let enough = |log: &[Request]| log.iter().filter(|request| is_so(request)).count() >= count;
        let patience = Duration::from_secs(30);
        let log = self.wire.log.wait_until(enough, patience);
        assert!(
            enough(&log),
            "{count} such requests did not come, but {log:#?}"
        );
    }

    /// Waits until no request is under way: one of a process that is gone may still be carried out.
    #[track_caller]
    pub(crate) fn wait_for_silence(&self) {
        let is_silent = |log: &[Request]| log.iter().all(|request| request.ended.is_some());
        let log = self.wire.log.wait_until(is_silent, Duration::from_secs(30));
        assert!(is_silent(&log), "requests have no end: {log:#?}");
    }

    /// Adds a rule; the first rule that names a fault for a request spoils it.
    pub(crate) fn on(&self, rule: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        self.wire.rules.add(Box::new(rule));
    }

    /// Spoils the first `count` requests that are so.
    pub(crate) fn fail(
        &self,
        count: usize,
        is_so: impl Fn(&Request) -> bool + Send + 'static,
        fault: Fault,
    ) {
        self.on(times(count, is_so, fault));
    }

    /// Forgets every rule.
    pub(crate) fn behave(&self) {
        self.wire.rules.clear();
    }

    /// Lets everything go on that is stalled now.
    pub(crate) fn release(&self) {
        self.wire.releases.send_modify(|count| *count += 1);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread has been printed already.
            drop(thread.join());
        }
    }
}

async fn accept<H: Handler>(listener: TcpListener, wire: Wire, handler: Rc<H>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        // Without it small answers wait for an acknowledgement; where it fails they are only late.
        drop(stream.set_nodelay(true));
        let (wire, handler) = (wire.clone(), Rc::clone(&handler));
        let service =
            service_fn(move |request| exchange(wire.clone(), Rc::clone(&handler), request));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn_local(connection);
    }
}

/// One request: find its fault, log it, let the handler answer, spoil the answer.
async fn exchange<H: Handler>(
    wire: Wire,
    handler: Rc<H>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Played>, BoxError> {
    // Before the request is in the log: whoever saw it there may release it, or drop the rules, at once.
    let mut released = wire.releases.subscribe();
    let (head, incoming) = request.into_parts();
    let request = Request::new(&head);
    let fault = wire.rules.fault(&request);
    let ticket = wire.log.open(request);
    let ending = Ending(ticket.clone());
    let mut body = Received::new(incoming, ticket.clone());
    match &fault {
        Some(Fault::Reset) => return Err("reset on demand".into()),
        Some(Fault::Early(answer)) => {
            ticket.answered(answer.status);
            let answer = answer.clone().header("Connection", "close").into_response();
            return Ok(answer.map(|body| Played::whole(body, ending)));
        }
        Some(Fault::ResetAfter(bytes)) => body.break_after(*bytes),
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Fault::Stall) => drop(released.changed().await),
        Some(Fault::Status(answer) | Fault::StallThen(answer)) => {
            if matches!(fault, Some(Fault::StallThen(_))) {
                drop(released.changed().await);
            }
            drop(body.collect().await);
            ticket.answered(answer.status);
            return Ok(answer
                .clone()
                .into_response()
                .map(|body| Played::whole(body, ending)));
        }
        _ => {}
    }
    let answer = handler.answer(head, body).await?;
    if matches!(fault, Some(Fault::LoseAnswer)) {
        return Err("answer lost on demand".into());
    }
    ticket.answered(answer.status().as_u16());
    Ok(answer.map(|body| Played::whole(body, ending).spoil(fault.as_ref(), released)))
}

/// A body that is there already.
pub(crate) fn full(bytes: Bytes) -> BoxBody {
    use http_body_util::BodyExt as _;
    Box::pin(http_body_util::Full::new(bytes).map_err(|never| match never {}))
}
