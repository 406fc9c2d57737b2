//! How many connections there may be: when all places are taken, a newcomer gets the place of the connection that has kept us
//! waiting longest. So a thousand clients that connect and say little keep out nobody who has something to say.
//!
//! A connection keeps us waiting until its request is here whole: before it, in its header, in its body, and again after
//! the answer. While we work on a request, its connection is not closed; if we work on all, the newcomer is.

use std::collections::BTreeMap;
use std::future::{Future, Ready, ready};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tracing::warn;

use super::Counters;

/// Far more than a model server's shippers need, and with the agent's own files below the usual limit of 1,024 open files.
pub(super) const CONNECTIONS_MAX: usize = 512;

/// The places, and who has them.
#[derive(Clone, Debug)]
pub(in crate::edge) struct Places {
    most: usize,
    taken: Arc<Mutex<BTreeMap<SocketAddr, Place>>>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Place {
    /// We wait for the client since then; `None`: we work on its request.
    waits_since: Option<Instant>,
    /// Dropped, it closes the connection.
    _open: oneshot::Sender<()>,
}

impl Places {
    pub(in crate::edge) fn new(most: usize, counters: Arc<Counters>) -> Self {
        Self {
            most,
            taken: Arc::default(),
            counters,
        }
    }

    /// The request of this client is here whole.
    pub(super) fn works_for(&self, peer: SocketAddr) {
        self.set(peer, None);
    }

    /// The request of this client is answered.
    pub(super) fn waits_for(&self, peer: SocketAddr) {
        self.set(peer, Some(Instant::now()));
    }

    fn set(&self, peer: SocketAddr, waits_since: Option<Instant>) {
        if let Some(place) = self.lock().get_mut(&peer) {
            place.waits_since = waits_since;
        }
    }

    /// A place for this client; where there is none, the one that keeps us waiting longest loses its own.
    fn take(&self, peer: SocketAddr) -> Option<oneshot::Receiver<()>> {
        let mut taken = self.lock();
        if taken.len() >= self.most {
            self.counters.connection_refused();
            let waiting = taken
                .iter()
                .filter_map(|(peer, place)| Some((place.waits_since?, *peer)));
            let longest = waiting.min().map(|(_, peer)| peer);
            warn!(
                connections_max = self.most,
                "too many http connections, those that keep us waiting longest are closed"
            );
            taken.remove(&longest?);
        }
        let (open, closed) = oneshot::channel();
        let place = Place {
            waits_since: Some(Instant::now()),
            _open: open,
        };
        taken.insert(peer, place);
        Some(closed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Place>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Accept<TcpStream, S> for Places {
    type Stream = Connection;
    type Service = S;
    type Future = Ready<io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let connect = || {
            let peer = stream.peer_addr()?;
            // An answer is one small write: waiting to fill a packet would only delay it.
            stream.set_nodelay(true)?;
            let closed = self.take(peer);
            let closed = closed.ok_or_else(|| io::Error::other("too many connections"))?;
            Ok(Connection {
                stream,
                peer,
                closed,
                places: self.clone(),
            })
        };
        ready(connect().map(|connection| (connection, service)))
    }
}

/// A connection and its place, given back when it is closed.
#[derive(Debug)]
pub(in crate::edge) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    closed: oneshot::Receiver<()>,
    places: Places,
}

impl Connection {
    /// Fails once another has got its place.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if Pin::new(&mut self.closed).poll(context).is_pending() {
            return Ok(());
        }
        Err(io::Error::other("it kept us waiting, and others came"))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Closed by another, it has no place any more; its address may already be someone else's.
        if self.closed.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            self.places.lock().remove(&self.peer);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
