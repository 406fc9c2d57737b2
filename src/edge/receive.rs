//! HTTP: authenticate, limit, append to the journal, answer after the fsync.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::flow::event::InputId;

/// One `type: http` input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its index in the pipeline's `inputs:`.
    pub input: InputId,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Bearer token; `None` only on a loopback address.
    pub token: Option<String>,
    /// Certificate and key; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// Largest body, before and after decompression. Default 16 MiB.
    pub body_bytes_max: usize,
    /// Bytes of journal kept for what the engine has not checkpointed; beyond, 429. Default 1 GiB.
    pub journal_bytes_max: u64,
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
