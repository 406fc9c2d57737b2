//! The stub's side of one connection: HTTP/1.1, written by hand so that it can be broken off anywhere. Requests are read whole,
//! gzip undone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

/// A request, decompressed.
pub(super) struct Incoming {
    pub(super) path: String,
    pub(super) body: Vec<u8>,
}

/// One client.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    socket: TcpStream,
    unread: Vec<u8>,
}

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl Connection {
    /// `None`: no TLS could be begun.
    pub(super) fn new(socket: TcpStream, tls: Option<Arc<rustls::ServerConfig>>) -> Option<Self> {
        socket.set_nodelay(true).ok()?;
        let plain = socket.try_clone().ok()?;
        let stream: Box<dyn Stream> = match tls {
            Some(config) => {
                let session = rustls::ServerConnection::new(config).ok()?;
                Box::new(rustls::StreamOwned::new(session, plain))
            }
            None => Box::new(plain),
        };
        Some(Self {
            stream,
            socket,
            unread: Vec::new(),
        })
    }

    /// The next request; `None` when there will be none.
    pub(super) fn read(&mut self) -> Option<Incoming> {
        let head_end = loop {
            if let Some(at) = memchr::memmem::find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.unread[..head_end]).to_lowercase();
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim_start_matches(':').trim().to_owned())
        };
        let path = head.split_whitespace().nth(1)?.to_owned();
        let length = header("content-length").map_or(0, |length| length.parse().expect("a length"));
        while self.unread.len() < head_end + length {
            self.more()?;
        }
        let body = self.unread[head_end..head_end + length].to_vec();
        self.unread.drain(..head_end + length);
        let body = match header("content-encoding").as_deref() {
            Some("gzip") => {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(&body[..])
                    .read_to_end(&mut plain)
                    .expect("gzip");
                plain
            }
            _ => body,
        };
        Some(Incoming { path, body })
    }

    fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 64 << 10];
        let count = self
            .stream
            .read(&mut chunk)
            .ok()
            .filter(|count| *count > 0)?;
        self.unread.extend_from_slice(&chunk[..count]);
        Some(())
    }

    /// A whole answer. Like all that write: false if the connection is of no more use.
    pub(super) fn reply(&mut self, status: u16, retry_after: Option<u32>, body: &str) -> bool {
        self.write(message(status, retry_after, body).as_bytes())
    }

    /// A whole answer, byte by byte.
    pub(super) fn dribble(&mut self, status: u16, body: &str) -> bool {
        message(status, None, body)
            .as_bytes()
            .chunks(1)
            .all(|byte| self.write(byte))
    }

    /// Half an answer; then closed for writing, and read to the end.
    pub(super) fn cut(&mut self, status: u16, body: &str) -> bool {
        let message = message(status, None, body);
        self.write(&message.as_bytes()[..message.len() - body.len().div_ceil(2)]);
        self.socket.shutdown(Shutdown::Write).ok();
        self.hang()
    }

    /// Says nothing until the client closes.
    pub(super) fn hang(&mut self) -> bool {
        while self.more().is_some() {}
        false
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush())
            .is_ok()
    }
}

fn message(status: u16, retry_after: Option<u32>, body: &str) -> String {
    let wish =
        retry_after.map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
    format!(
        "HTTP/1.1 {status} As Scripted\r\ncontent-type: application/json\r\n{wish}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
