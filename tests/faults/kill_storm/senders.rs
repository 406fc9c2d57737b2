//! Programs that tell the agent over HTTP, each on a thread of its own: they post until they hear 202, as whoever must not lose
//! anything does. The agent is killed under their hands; what was accepted without an answer is posted again, and counted as
//! what may have arrived more than once.

use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::chance::Chance;
use super::pace::Pace;
use super::story::{Event, Way};

/// The most events in one post.
const EVENTS: usize = 60;

/// Between two posts.
const PAUSE_MS: u64 = 120;

/// Before a post is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// After which a post without an answer is posted again.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Sender {
    way: Way,
    pace: Arc<Pace>,
    chance: Chance,
    client: Client,
    runtime: Runtime,
}

/// A request that is the same each time it is tried.
struct Post {
    path: &'static str,
    content_type: &'static str,
    is_gzip: bool,
    body: Vec<u8>,
    events: Vec<Event>,
}

enum Answer {
    Accepted,
    /// Nothing was taken.
    Refused,
    /// Nobody knows.
    None,
}

impl Sender {
    pub(super) fn start(way: Way, chapters: Vec<Vec<Event>>, seed: u64, pace: &Arc<Pace>) {
        let name = format!("{way:?}");
        let client = Client::builder().no_proxy().timeout(PATIENCE);
        let mut sender = Self {
            way,
            pace: Arc::clone(pace),
            chance: Chance::new(seed, &name),
            client: client.build().expect("an HTTP client"),
            runtime: Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime"),
        };
        pace.start(name, chapters, move |chapter| sender.tell(chapter));
    }

    /// False if the storm ended meanwhile.
    fn tell(&mut self, mut events: Vec<Event>) -> bool {
        if self.chance.is_one_in(2) {
            events.sort_by_key(is_prediction);
        }
        while !events.is_empty() {
            let some = events.len().min(1 + self.chance.index(EVENTS));
            let post = self.compose(events.drain(..some).collect());
            if !self.post_until_accepted(&post) {
                return false;
            }
            thread::sleep(Duration::from_millis(self.chance.below(PAUSE_MS)));
        }
        true
    }

    /// One of the ways in which these can be sent.
    fn compose(&mut self, events: Vec<Event>) -> Post {
        // The path may say what they are, if they are all the same.
        let path = if self.chance.is_one_in(2) {
            "v1/events"
        } else if events.iter().all(is_prediction) {
            "v1/predictions"
        } else if !events.iter().any(is_prediction) {
            "v1/labels"
        } else {
            "v1/events"
        };
        let lines: Vec<String> = events.iter().map(|event| event.line(self.way)).collect();
        let (content_type, text) = match (lines.as_slice(), self.chance.below(2)) {
            ([only], 0) => ("application/json", only.clone()),
            (_, 0) => ("application/json", format!("[{}]", lines.join(","))),
            _ => ("application/x-ndjson", lines.join("\n") + "\n"),
        };
        let is_gzip = self.chance.is_one_in(3);
        let body = if is_gzip {
            gzip(text.as_bytes())
        } else {
            text.into_bytes()
        };
        Post {
            path,
            content_type,
            is_gzip,
            body,
            events,
        }
    }

    fn post_until_accepted(&self, post: &Post) -> bool {
        while !self.pace.is_over() {
            let answer = match self.pace.address() {
                Some(address) => self.runtime.block_on(self.post(&address, post)),
                None => Answer::Refused,
            };
            match answer {
                Answer::Accepted => {
                    self.pace.count("accepted posts");
                    return true;
                }
                Answer::Refused => {}
                Answer::None => {
                    self.pace.count("posts without an answer");
                    for event in &post.events {
                        if let Event::Prediction(prediction) = event {
                            self.pace.doubt(prediction.key());
                        }
                    }
                }
            }
            thread::sleep(RETRY);
        }
        false
    }

    async fn post(&self, address: &str, post: &Post) -> Answer {
        let mut request = self
            .client
            .post(format!("http://{address}/{}", post.path))
            .header("content-type", post.content_type)
            .body(post.body.clone());
        if post.is_gzip {
            request = request.header("content-encoding", "gzip");
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Answer::Refused,
            Err(_) => return Answer::None,
        };
        let status = response.status();
        if status == StatusCode::ACCEPTED {
            // The status line says it; the rest of the answer may be lost with the agent.
            if let Ok(body) = response.bytes().await
                && let Ok(answer) = serde_json::from_slice::<Value>(&body)
            {
                assert_eq!(answer["accepted"], post.events.len(), "{answer}");
            }
            return Answer::Accepted;
        }
        let may_be_asked_again = matches!(status.as_u16(), 408 | 429 | 503 | 507);
        let said = response.text().await.unwrap_or_default();
        assert!(may_be_asked_again, "{} said {status}: {said}", post.path);
        Answer::Refused
    }
}

fn is_prediction(event: &Event) -> bool {
    matches!(event, Event::Prediction(_))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut body = GzEncoder::new(Vec::new(), Compression::fast());
    body.write_all(bytes).expect("memory");
    body.finish().expect("memory")
}
