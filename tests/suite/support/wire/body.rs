//! Bodies on their way: counted for the log, and broken where a fault says so.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::watch;

use super::log::{Ending, Ticket};
use super::{BoxError, Fault};
use crate::support::content::flip_bit;

pub(crate) type BoxBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>;

/// The time between two bytes of a body that drips.
const DRIP: Duration = Duration::from_millis(50);

/// A request's body as it is read.
pub(crate) struct Received {
    incoming: Incoming,
    ticket: Ticket,
    /// How much may still be read before it breaks.
    left: Option<u64>,
}

impl Received {
    pub(super) fn new(incoming: Incoming, ticket: Ticket) -> Self {
        Self {
            incoming,
            ticket,
            left: None,
        }
    }

    pub(super) fn break_after(&mut self, bytes: u64) {
        self.left = Some(bytes);
    }

    /// All of it, or the beginning that came before it broke.
    pub(crate) async fn collect(mut self) -> Result<Bytes, Bytes> {
        let mut bytes = BytesMut::new();
        while let Some(frame) = self.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Err(_) => return Err(bytes.freeze()),
            }
        }
        Ok(bytes.freeze())
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == Some(0) {
            return Poll::Ready(Some(Err("reset on demand".into())));
        }
        let polled = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        let Some(Ok(mut frame)) = polled else {
            return Poll::Ready(polled.map(|frame| frame.map_err(Into::into)));
        };
        if let Some(data) = frame.data_mut() {
            if let Some(left) = self.left {
                data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                self.left = Some(left - data.len() as u64);
            }
            self.ticket.received(data.len());
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.left != Some(0) && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// What is still to be done to an answer's body.
enum Spoiling {
    Nothing,
    Cut(u64),
    Stall(u64, watch::Receiver<u64>),
    Drip(u64),
    Flip,
}

/// An answer's body as it is sent.
pub(crate) struct Played {
    body: BoxBody,
    ending: Ending,
    spoiling: Spoiling,
    /// Taken from the body, not sent yet.
    held: VecDeque<Bytes>,
    waiting: Option<Pin<Box<dyn Future<Output = ()>>>>,
    flushed: bool,
}

impl Played {
    pub(super) fn whole(body: BoxBody, ending: Ending) -> Self {
        Self {
            body,
            ending,
            spoiling: Spoiling::Nothing,
            held: VecDeque::new(),
            waiting: None,
            flushed: false,
        }
    }

    pub(super) fn spoil(mut self, fault: Option<&Fault>, released: watch::Receiver<u64>) -> Self {
        self.spoiling = match fault {
            Some(Fault::CutBody(bytes)) => Spoiling::Cut(*bytes),
            Some(Fault::StallBody(bytes)) => Spoiling::Stall(*bytes, released),
            Some(Fault::DripBody(bytes)) => Spoiling::Drip(*bytes),
            Some(Fault::FlipBit) => Spoiling::Flip,
            _ => Spoiling::Nothing,
        };
        self
    }

    /// Lets `data` through as far as it may go, and holds the rest.
    fn pass(&mut self, mut data: Bytes) -> Bytes {
        match &mut self.spoiling {
            Spoiling::Cut(left) | Spoiling::Stall(left, _) | Spoiling::Drip(left) => {
                let part = data.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= part as u64;
                let rest = data.split_off(part);
                if !rest.is_empty() {
                    self.held.push_front(rest);
                }
            }
            Spoiling::Flip if !data.is_empty() => {
                self.spoiling = Spoiling::Nothing;
                data = flip_bit(&data);
            }
            Spoiling::Flip | Spoiling::Nothing => {}
        }
        data
    }

    /// Ready when the next bytes may go, or with the error that cuts the body.
    fn poll_gate(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &self.spoiling {
            Spoiling::Cut(0) if !self.flushed => {
                // hyper drops what it has buffered when a body fails: let it flush first.
                self.flushed = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Spoiling::Cut(0) => return Poll::Ready(Err("cut on demand".into())),
            Spoiling::Stall(0, released) => {
                let mut released = released.clone();
                let wait = async move { drop(released.changed().await) };
                self.waiting = Some(Box::pin(wait));
                self.spoiling = Spoiling::Nothing;
            }
            Spoiling::Drip(0) => {
                self.waiting = Some(Box::pin(tokio::time::sleep(DRIP)));
                self.spoiling = Spoiling::Drip(1);
            }
            _ => {}
        }
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl Body for Played {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Err(error) = ready!(self.poll_gate(context)) {
            return Poll::Ready(Some(Err(error)));
        }
        let frame = match self.held.pop_front() {
            Some(held) => Frame::data(held),
            None => match ready!(self.body.as_mut().poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            },
        };
        let Ok(data) = frame.into_data() else {
            return Poll::Ready(None);
        };
        let data = self.pass(data);
        self.ending.0.sent(data.len());
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
