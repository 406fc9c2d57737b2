//! A request's body off the wire: checked by its header, read within time, size and memory, unpacked within the same.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read};
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::Counters;
use super::answer::Refusal;
use super::memory::Share;

/// A body must be here after this: at the largest default size, over a line of 4.5 Mbit/s.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A refused body is read on for so long, so that its client sees the answer; nobody may hold us up by it.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// Bytes set aside for a body before they are here, at most.
const PROMISE_BYTES_MAX: usize = 256 * 1024;

/// Bytes unpacked between two looks at the limits.
const PIECE: usize = 64 * 1024;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

/// What the header alone can refuse; tells how the body is packed.
pub(super) fn check_head(headers: &HeaderMap, bytes_max: usize) -> Result<Encoding, Refusal> {
    if !headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|value| is_json(value.as_bytes()))
    {
        return Err(Refusal::MediaType);
    }
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = match encodings.next().map(|value| value.as_bytes().trim_ascii()) {
        None => Encoding::Identity,
        Some(name) if name.is_empty() || name.eq_ignore_ascii_case(b"identity") => {
            Encoding::Identity
        }
        Some(name)
            if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") =>
        {
            Encoding::Gzip
        }
        Some(_) => return Err(Refusal::Encoding),
    };
    if encodings.next().is_some() {
        return Err(Refusal::Encoding);
    }
    if announced(headers).is_some_and(|length| length > bytes_max as u64) {
        return Err(Refusal::TooLarge { bytes_max });
    }
    Ok(encoding)
}

/// JSON by any of its names, or text, which is what simple clients call it.
fn is_json(content_type: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [
        b"application/json",
        b"application/x-ndjson",
        b"application/ndjson",
        b"application/jsonl",
        b"text/plain",
    ];
    let name = content_type
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    name.is_empty() || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Reads a body whole.
pub(super) async fn read(
    mut body: Body,
    bytes_max: usize,
    share: &mut Share,
    counters: &Counters,
) -> Result<Bytes, Refusal> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let reading = async {
        let mut whole = Vec::new();
        while let Some(data) = next(&mut body).await? {
            counters.read(data.len());
            if data.len() > bytes_max - whole.len() {
                return Err(Refusal::TooLarge { bytes_max });
            }
            share.grow(data.len())?;
            if whole.is_empty() {
                if body.is_end_stream() {
                    return Ok(data);
                }
                // Room for what is announced, so that a body is not copied again and again as it grows; within reason,
                // since it is only a promise.
                whole.reserve(announced.min(PROMISE_BYTES_MAX));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.into())
    };
    let outcome = tokio::time::timeout(BODY_TIME, reading)
        .await
        .unwrap_or(Err(Refusal::TooSlow));
    if matches!(outcome, Err(Refusal::TooLarge { .. } | Refusal::Busy)) {
        discard(body, bytes_max).await;
    }
    outcome
}

/// Reads on without keeping anything, up to `bytes_max`: closing a connection that still has bytes for us resets it, and
/// the client would never see why it was refused.
pub(super) async fn discard(mut body: Body, bytes_max: usize) {
    let reading = async {
        let mut left = bytes_max;
        while let Ok(Some(data)) = next(&mut body).await
            && left > data.len()
        {
            left -= data.len();
        }
    };
    // Running out of time is as good an end as any: the answer goes out now.
    tokio::time::timeout(DISCARD_TIME, reading).await.ok();
}

/// The next bytes; `None` at the end. Trailers are of no interest.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => {
                return Err(Refusal::Broken {
                    reason: format!("the body broke off: {error}"),
                });
            }
        }
    }
}

/// Unpacks gzip, of any number of members. Stops at `bytes_max`, however much there would be.
pub(super) fn unpack(packed: &[u8], bytes_max: usize, share: &mut Share) -> Result<Bytes, Refusal> {
    let mut decoder = MultiGzDecoder::new(packed);
    let mut whole = Vec::new();
    loop {
        let before = whole.len();
        let read = decoder.by_ref().take(PIECE as u64).read_to_end(&mut whole);
        read.map_err(|error| gzip_fault(&error))?;
        let count = whole.len() - before;
        if count == 0 {
            return Ok(whole.into());
        }
        if whole.len() > bytes_max {
            return Err(Refusal::TooLarge { bytes_max });
        }
        share.grow(count)?;
    }
}

fn gzip_fault(error: &io::Error) -> Refusal {
    let reason = match error.kind() {
        ErrorKind::UnexpectedEof => "the gzip body ends too early".to_owned(),
        _ => format!("the body is not gzip, as its header says: {error}"),
    };
    Refusal::Broken { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_by_many_names() {
        for name in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "text/plain",
            "application/x-ndjson",
            "",
        ] {
            assert!(is_json(name.as_bytes()), "{name}");
        }
        for name in [
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "text/html",
        ] {
            assert!(!is_json(name.as_bytes()), "{name}");
        }
    }
}
