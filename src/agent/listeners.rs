//! The addresses of a pipeline's HTTP inputs, held while its file is read anew: whoever connects meanwhile waits in the
//! system's queue, and is served by the receiver that comes next.

use std::net::TcpListener;

use crate::edge::receive::{self, Bound, Settings};

/// What is held. Empty: every receiver takes its address anew.
#[derive(Debug, Default)]
pub(super) struct Listeners(Vec<(Settings, TcpListener)>);

impl Listeners {
    /// A receiver at its address, which is held from now on.
    pub(super) async fn bind(&mut self, settings: Settings) -> Result<Bound, receive::Error> {
        // Port 0 is another one for each input.
        let is_same = |(held, _): &&(Settings, TcpListener)| {
            held.listen == settings.listen
                && (held.listen.port() != 0 || held.input == settings.input)
        };
        if let Some((_, held)) = self.0.iter().find(is_same) {
            let listener = held.try_clone();
            return receive::bind_on(settings, listener);
        }
        let bound = receive::bind(settings.clone()).await?;
        if let Ok(listener) = bound.listener() {
            self.0.push((settings, listener));
        }
        Ok(bound)
    }

    /// Lets go of the addresses that none of these receivers has.
    pub(super) fn keep(&mut self, receivers: &[Settings]) {
        self.0.retain(|(held, _)| {
            receivers
                .iter()
                .any(|settings| settings.listen == held.listen)
        });
    }
}
