//! A model server that posts what it predicts: batches of 500 lines over connections that stay open, the next when the one
//! before is answered.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Lines in a post.
const BATCH: usize = 500;

pub(crate) fn run(url: &str, file: &Path, connections: usize) {
    let text = std::fs::read(file).unwrap();
    let mut batches = Vec::new();
    let mut start = 0;
    for (number, end) in memchr::memchr_iter(b'\n', &text).enumerate() {
        if (number + 1) % BATCH == 0 || end + 1 == text.len() {
            batches.push(text[start..=end].to_vec());
            start = end + 1;
        }
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(post(url, Arc::new(batches), connections));
}

async fn post(url: &str, batches: Arc<Vec<Vec<u8>>>, connections: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut senders = Vec::new();
    for _ in 0..connections {
        let (client, batches, next, url) = (
            client.clone(),
            batches.clone(),
            next.clone(),
            url.to_owned(),
        );
        senders.push(tokio::spawn(async move {
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                loop {
                    let request = client
                        .post(&url)
                        .header("content-type", "application/x-ndjson");
                    let answer = request.body(batch.clone()).send().await.unwrap();
                    if answer.status().as_u16() == 202 {
                        break;
                    }
                    assert_eq!(answer.status().as_u16(), 429, "{:?}", answer.text().await);
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        }));
    }
    for sender in senders {
        sender.await.unwrap();
    }
}
