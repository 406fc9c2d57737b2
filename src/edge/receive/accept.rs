//! How many connections there may be: one too many is closed at once, not queued, so that it costs nothing.

use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Counters;

/// Far more than a model server's shippers need, and with the agent's own files below the usual limit of 1,024 open files.
pub(super) const CONNECTIONS_MAX: usize = 512;

/// Lets in as many connections as there are places.
#[derive(Clone, Debug)]
pub(in crate::edge) struct Limit {
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
}

impl Limit {
    pub(in crate::edge) fn new(connections_max: usize, counters: Arc<Counters>) -> Self {
        Self {
            places: Arc::new(Semaphore::new(connections_max)),
            counters,
        }
    }
}

impl<S> Accept<TcpStream, S> for Limit {
    type Stream = Connection;
    type Service = S;
    type Future = Ready<io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.counters.connection_refused();
            return ready(Err(io::Error::other("too many connections")));
        };
        // An answer is one small write: waiting to fill a packet would only delay it.
        let connection = stream.set_nodelay(true).map(|()| Connection {
            stream,
            _place: place,
        });
        ready(connection.map(|connection| (connection, service)))
    }
}

/// A connection and its place, given back when it is closed.
#[derive(Debug)]
pub(in crate::edge) struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
