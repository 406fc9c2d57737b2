//! Connections: no more than there are places, each given up when its client takes nothing of an answer for too long.
//! Otherwise a client that never reads would keep its place for ever. (Slow headers are the server's to time.) Nobody says
//! here when a request is worked on, so the place that a newcomer gets is the oldest connection's.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;

use crate::edge::receive::{Connection, Places};

/// Lets in what the limit lets in, and waits so long for it.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    places: Places,
    time: Duration,
}

impl Patience {
    pub(super) const fn new(places: Places, time: Duration) -> Self {
        Self { places, time }
    }
}

impl<S> Accept<TcpStream, S> for Patience {
    type Stream = Pin<Box<TimeoutStream<Connection>>>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepted = self.places.accept(stream, service).into_inner();
        ready(accepted.map(|(connection, service)| {
            let mut stream = TimeoutStream::new(connection);
            stream.set_write_timeout(Some(self.time));
            (Box::pin(stream), service)
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::edge::receive::Counters;

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let places = Places::new(1, Arc::new(Counters::default()));
        let patience = Patience::new(places, Duration::from_millis(50));
        let (mut stream, ()) = patience.accept(stream, ()).await.unwrap();
        // Far more than the kernel keeps for one connection.
        let written = stream.write_all(&vec![0; 256 << 20]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
