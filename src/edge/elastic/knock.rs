//! A knock at a host's door: a connection that is made and closed, because the client has no time-out for connecting alone.

use std::time::Duration;

use super::faults::{self, Lost};
use super::hosts::Host;

/// A connection is made in a second round the world; beyond ten, it will not be.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Is anybody there? Waits no longer than `timeout`, nor than [`CONNECT_TIMEOUT`].
pub(super) async fn knock(host: &Host, timeout: Duration) -> Result<(), Lost> {
    let name = host.url.host_str().unwrap_or_default();
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let port = host.url.port_or_known_default().unwrap_or(9200);
    let timeout = timeout.min(CONNECT_TIMEOUT);
    let connecting = async {
        let found = tokio::net::lookup_host((name, port)).await;
        let addresses: Vec<_> = found
            .map_err(|error| faults::not_found(&error, host))?
            .collect();
        match tokio::net::TcpStream::connect(&addresses[..]).await {
            Ok(_) => Ok(()),
            Err(error) => Err(faults::not_connected(&error, host)),
        }
    };
    match tokio::time::timeout(timeout, connecting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(faults::swallowed(host, timeout)),
    }
}

/// The client's own rule: the environment names a proxy. What is behind one cannot be knocked at from here.
pub(super) fn is_behind_a_proxy() -> bool {
    let names = ["http_proxy", "https_proxy", "all_proxy"];
    let is_set = |name: String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    names
        .iter()
        .any(|name| is_set((*name).to_owned()) || is_set(name.to_uppercase()))
}
