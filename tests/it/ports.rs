//! Loopback ports for servers that stories start later, or start again.

use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Below those that the kernel gives to outgoing connections, so that none of these takes one while its server is not up.
const RANGE: Range<u16> = 20_000..32_000;

/// A port that nobody listens on, and that no other story of this process gets.
pub(crate) fn free() -> u16 {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    // Another run of the tests begins elsewhere.
    let start = usize::try_from(std::process::id()).expect("small") * 50;
    for _ in RANGE {
        let at = (start + TAKEN.fetch_add(1, Ordering::Relaxed)) % RANGE.len();
        let port = RANGE.start + u16::try_from(at).expect("inside the range");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port in {RANGE:?} is free");
}
