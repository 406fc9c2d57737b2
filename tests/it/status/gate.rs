//! A gate before the shared node: shut, it answers nobody, as a host does whose program is down; open, it lets everything
//! through. Its port stays the story's own all the while.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Shut at first. Its threads end with the test's process.
pub(crate) struct Gate {
    pub(crate) url: String,
    is_open: Arc<AtomicBool>,
}

impl Gate {
    /// `node` is the URL of a node without TLS.
    pub(crate) fn before(node: &str) -> Self {
        let node = node.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its port"));
        let is_open = Arc::new(AtomicBool::new(false));
        let opened = Arc::clone(&is_open);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Dropped, the client's connection is closed.
                if opened.load(Ordering::SeqCst)
                    && let Ok(server) = TcpStream::connect(&node)
                {
                    pipe(&client, &server);
                    pipe(&server, &client);
                }
            }
        });
        Self { url, is_open }
    }

    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }
}

/// Copies one direction, on a thread of its own, until its end.
fn pipe(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (
        from.try_clone().expect("a handle"),
        to.try_clone().expect("a handle"),
    );
    thread::spawn(move || {
        // A connection that breaks off is the other side's to notice.
        io::copy(&mut from, &mut to).ok();
        to.shutdown(Shutdown::Write).ok();
    });
}
