//! The agent's own health over HTTP: `GET /metrics` (Prometheus), `/healthz` (the process lives), `/readyz` (work gets
//! through); and for people the page at `/`, with all that it shows at `/api/v1/status`. One port for all pipelines of the
//! process.
//!
//! Data flows one way here too: pipelines pin their numbers to the [`Board`], requests read them, and nothing leads back.
//! An answer is made of what is at hand; neither the engine nor shipping ever waits for who asks. However often is asked,
//! the metrics are put together once a second at most; what counters show is on disk before it is shown ([`Ledger`]).
//!
//! Whoever connects is hostile until shown otherwise, as with the receiver: connections, and the time for a header and for
//! taking an answer, are limited; bodies are not read. Driven by the command line: [`bind`] first, then [`run`].

mod api;
mod board;
mod ledger;
mod metrics;
mod page;
mod patience;
mod process;
pub mod pulse;
mod quality;
mod routes;
mod verdict;
mod web;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum_server::{Handle, Server};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::edge::receive::{CloseOnDrop, Counters, Places, Token};
pub use board::{
    ALERTS_MAX, Board, Doing, Input, JournalPlace, Queue, Queues, Report, Stage, Vitals, Wiring,
};
pub use ledger::Ledger;
use patience::Patience;
pub use quality::SERIES_MAX;

/// Where to listen, and who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Any address: a probe or a scraper of a cluster comes from outside.
    pub listen: SocketAddr,
    /// Wanted for the metrics and for the reasons behind a verdict, where there is one.
    pub token: Option<Token>,
}

/// Scrapers and probes are a handful; each holds one connection.
const CONNECTIONS_MAX: usize = 64;

/// A client has this long for the header of a request, and for taking each part of the answer. An idle connection is
/// closed after it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shipping is looked at this often, to see whether it moves.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why the status cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error(
        "cannot listen on {address} for the status: {source}; another agent may use it, give each its own --status-listen"
    )]
    Listen {
        /// As asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Listening came to an end by itself.
    #[error("the status on {address} failed")]
    Serve {
        /// Where it listened.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A status that has its address: connections wait for [`run`].
#[derive(Debug)]
pub struct Bound {
    settings: Settings,
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// The address, with the port that was found where the settings say 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Anybody who reaches it may read it.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.settings.token.is_none() && !self.address.ip().is_loopback()
    }
}

/// Takes the address.
///
/// # Errors
/// [`Error::Listen`].
pub async fn bind(settings: Settings) -> Result<Bound, Error> {
    let address = settings.listen;
    let listen = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    Ok(Bound {
        settings,
        listener,
        address,
    })
}

/// The last word of a pipeline that has ended: keeps what its counters have come to, for the next process to go on from.
pub fn conclude(vitals: &Vitals) {
    if vitals.is_watched() {
        metrics::add(&mut page::Page::default(), vitals);
    }
}

/// Serves until told to stop, then closes what is open: nobody depends on the last answer.
///
/// # Errors
/// [`Error::Serve`].
pub async fn run(bound: Bound, board: Board, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
    let Bound {
        settings,
        listener,
        address,
    } = bound;
    let counters = Arc::new(Counters::default());
    let places = Places::new(CONNECTIONS_MAX, Arc::clone(&counters));
    let is_local = address.ip().is_loopback();
    let app = routes::router(settings.token.as_ref(), is_local, board.clone(), counters);
    let handle = CloseOnDrop(Handle::new());
    let mut server = Server::from_listener(listener)
        .handle(handle.0.clone())
        .http1_only()
        .acceptor(Patience::new(places, PATIENCE));
    server.http_builder().http1().header_read_timeout(PATIENCE);
    let looking = async {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            board.look();
        }
    };
    tokio::select! {
        outcome = server.serve(app.into_make_service_with_connect_info::<SocketAddr>()) => {
            outcome.map_err(|source| Error::Serve { address, source })
        }
        () = looking => Ok(()),
        // An error means that nobody is left who could say stop: the same.
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
