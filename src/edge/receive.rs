//! HTTP: authenticate, limit, append to the journal, answer after the fsync.
//!
//! `POST /v1/events`, `/v1/predictions` and `/v1/labels` take JSON records. A 202 means that every record of the body is
//! durable; any other answer that none is (save a lost connection, and 503 after a failed fsync, where it is open).
//! Driven by the agent: [`bind`] first, then [`run`] until told to stop.
//!
//! Whoever connects is hostile until shown otherwise: connections, header and body time, body bytes before and after
//! decompression, bytes in memory over all requests, nesting, and work done at once are limited, each by a named constant
//! or a setting. HTTP/1.1 only: every shipper speaks it, and what is not there cannot be attacked.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::edge::journal::Journal;
use crate::edge::operations::Operations;
use crate::flow::event::InputId;

mod accept;
mod answer;
mod body;
mod counters;
mod memory;
mod routes;
mod tls;

pub(in crate::edge) use accept::{Connection, Places};
pub use counters::Counters;
pub(in crate::edge) use routes::is_known;

/// One `type: http` input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its index in the pipeline's `inputs:`.
    pub input: InputId,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Bearer token; `None` only on a loopback address.
    pub token: Option<Token>,
    /// Certificate and key; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// Largest body, before and after decompression. Default 16 MiB.
    pub body_bytes_max: usize,
    /// Bytes of journal kept for what the engine has not checkpointed; beyond, 429. Default 1 GiB.
    pub journal_bytes_max: u64,
}

/// A bearer token; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// `tls:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// PEM authorities a client certificate must come from (mTLS).
    pub client_ca: Option<PathBuf>,
}

/// A client has this long for a TLS handshake, and for the header of each request: slow-loris holds a connection no
/// longer. An idle kept-alive connection is closed after it too.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// A request's header; beyond, 431. It is looked at between two reads, so that up to twice as much may get in; and it is
/// what a connection reads at a time, so all connections together hold 64 MiB at most besides their bodies.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Why a receiver cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Anybody could send labels.
    #[error(
        "{address} can be reached from outside: set `token:` or `tls.client_ca:`, or listen on 127.0.0.1"
    )]
    Exposed {
        /// As configured.
        address: SocketAddr,
    },
    /// The largest body would never fit.
    #[error(
        "`journal_bytes_max` ({journal_bytes_max}) must be at least twice `body_bytes_max` ({body_bytes_max}): \
         a body is kept whole"
    )]
    Quota {
        /// As configured.
        journal_bytes_max: u64,
        /// As configured.
        body_bytes_max: usize,
    },
    /// Certificate, key or authority.
    #[error("cannot use {path} for TLS: {reason}", path = path.display())]
    Tls {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Listening came to an end by itself.
    #[error("the receiver on {address} failed")]
    Serve {
        /// Where it listened.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A receiver that has its address: connections wait for [`run`].
#[derive(Debug)]
pub struct Bound {
    settings: Settings,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    counters: Arc<Counters>,
    operations: Option<Operations>,
}

impl Bound {
    /// … that enters in the operation log whom it turned away.
    #[must_use]
    pub fn telling(self, operations: Operations) -> Self {
        Self {
            operations: Some(operations),
            ..self
        }
    }

    /// The address, with the port that was found where the settings say 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same address once more: as long as it is held, whoever connects while nobody serves waits.
    ///
    /// # Errors
    /// The system's.
    pub fn listener(&self) -> io::Result<std::net::TcpListener> {
        Ok(self.listener.as_fd().try_clone_to_owned()?.into())
    }

    /// What it has done so far; goes on counting.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

/// Checks the settings, reads the certificates, takes the address.
///
/// # Errors
/// See [`Error`]; all but `Serve`.
pub async fn bind(settings: Settings) -> Result<Bound, Error> {
    let tls = check(&settings)?;
    let listen = |source| Error::Listen {
        address: settings.listen,
        source,
    };
    let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
    bound(settings, listener, tls)
}

/// The same on an address that another receiver had before, and whose connections wait: see [`Bound::listener`].
///
/// # Errors
/// See [`Error`]; all but `Serve`.
pub fn bind_on(
    settings: Settings,
    listener: io::Result<std::net::TcpListener>,
) -> Result<Bound, Error> {
    let tls = check(&settings)?;
    let listen = |source| Error::Listen {
        address: settings.listen,
        source,
    };
    let listener = listener.and_then(TcpListener::from_std).map_err(listen)?;
    bound(settings, listener, tls)
}

fn bound(
    settings: Settings,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> Result<Bound, Error> {
    let listen = |source| Error::Listen {
        address: settings.listen,
        source,
    };
    let address = listener.local_addr().map_err(listen)?;
    Ok(Bound {
        settings,
        listener,
        address,
        tls,
        counters: Arc::default(),
        operations: None,
    })
}

/// Nobody from outside without a key, no body that never fits; and the certificates.
fn check(settings: &Settings) -> Result<Option<Arc<rustls::ServerConfig>>, Error> {
    let address = settings.listen;
    let has_client_ca = settings
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca.is_some());
    if settings.token.is_none() && !has_client_ca && !address.ip().is_loopback() {
        return Err(Error::Exposed { address });
    }
    let Settings {
        journal_bytes_max,
        body_bytes_max,
        ..
    } = *settings;
    if journal_bytes_max / 2 < body_bytes_max as u64 {
        return Err(Error::Quota {
            journal_bytes_max,
            body_bytes_max,
        });
    }
    settings.tls.as_ref().map(tls::load).transpose()
}

/// Serves until told to stop; then takes no connection and no new request, and answers those under way, which their own
/// limits bound. Dropping the future, say at the end of a grace, closes what is still open: those clients get no answer.
///
/// # Errors
/// [`Error::Serve`].
pub async fn run(
    bound: Bound,
    journal: Journal,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    let Bound {
        settings,
        listener,
        address,
        tls,
        counters,
        operations,
    } = bound;
    let places = accept::Places::new(accept::CONNECTIONS_MAX, Arc::clone(&counters));
    let app = routes::router(&settings, journal, counters, places.clone(), operations)
        .into_make_service_with_connect_info::<SocketAddr>();
    let handle = CloseOnDrop(Handle::new());
    let mut server = Server::from_listener(listener)
        .handle(handle.0.clone())
        .http1_only()
        .accept_error_handler(|peer, error| {
            tracing::debug!(?peer, %error, "a connection was not accepted");
        });
    server
        .http_builder()
        .http1()
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES_MAX)
        // A client that has said all it wants to say still wants the answer.
        .half_close(true);

    let stopping = async {
        // An error means that nobody is left who could say stop: the same.
        stop.wait_for(|stop| *stop).await.ok();
        handle.0.graceful_shutdown(None);
        std::future::pending::<io::Result<()>>().await
    };
    let serving = async {
        match tls {
            Some(config) => {
                let tls = RustlsAcceptor::new(RustlsConfig::from_config(config));
                let tls = tls.handshake_timeout(HEADER_TIME).acceptor(places);
                server.acceptor(tls).serve(app).await
            }
            None => server.acceptor(places).serve(app).await,
        }
    };
    let outcome = tokio::select! {
        outcome = serving => outcome,
        outcome = stopping => outcome,
    };
    outcome.map_err(|source| Error::Serve { address, source })
}

/// Connections are tasks of their own: they must not outlive who accepted them.
pub(in crate::edge) struct CloseOnDrop(pub(in crate::edge) Handle<SocketAddr>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

#[cfg(test)]
mod tests;
