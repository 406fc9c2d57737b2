//! The simulated server and those who label its predictions: tells a month by a fast clock, into a log that is rotated and
//! over HTTP. What it sends is kept in a file, too, so that the numbers can be counted again.
//!
//! Every event is written or sent in its turn; whoever is late (a busy host, an agent that holds its input up) tells what is
//! due at once. Driven by `modelbeat demo`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{self, MissedTickBehavior};

use crate::cli::demo::folder::Folder;
use crate::cli::demo::load::Load;
use crate::cli::demo::month::{DAY_MS, DAYS, Event, Label, Month, Prediction, What};
use crate::edge::now::now;
use crate::edge::sample::Lapse;
use crate::flow::event::Timestamp;
use crate::flow::json::{Date, write_time};

/// Time between two looks at what is due.
const TICK: Duration = Duration::from_millis(50);

/// The log is renamed this often, in days of the month.
const ROTATED_EVERY_DAYS: i64 = 3;

/// Labels in one request.
const LABELS_A_REQUEST: usize = 500;

/// Before a request that was not answered, or turned away for now, is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// The server, about to begin.
#[derive(Debug)]
pub(super) struct Server<'s> {
    pub(super) month: &'s Month,
    pub(super) lapse: Lapse,
    /// First part of all ids.
    pub(super) run: &'s str,
    pub(super) folder: &'s Folder,
    /// Where labels go to.
    pub(super) port: u16,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Time of the month.
    pub(super) at_ms: i64,
    /// Lines of the log.
    pub(super) predictions: u64,
    pub(super) labels: u64,
}

/// Why it cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Disk {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot make an HTTP client: {0}")]
    Client(reqwest::Error),
    #[error("the receiver turned labels away ({status}): {words}; this is a bug, please report it")]
    Refused { status: StatusCode, words: String },
}

impl Server<'_> {
    /// Tells the month, or as much of it as there is before `stop`; shows how far it is now and then.
    pub(super) async fn run(
        &self,
        stop: &watch::Receiver<bool>,
        mut show: impl FnMut(Told),
    ) -> Result<Told, Error> {
        let load = Load::start().map_err(|source| Error::Disk {
            doing: "start the work of",
            path: "the simulated server".into(),
            source,
        })?;
        let mut log = Log::open(self)?;
        let mut labelers = Labelers::open(self)?;
        let mut told = Told::default();
        let mut ticks = time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut stopped = stop.clone();
        let mut rest = self.month.events.as_slice();
        while told.at_ms < DAYS * DAY_MS {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
            told.at_ms = self.elapsed_ms();
            load.set_busy(self.month.incident.is_on(told.at_ms));
            let due = rest.partition_point(|event| event.at_ms < told.at_ms);
            for event in rest.get(..due).unwrap_or_default() {
                match &event.what {
                    What::Prediction(prediction) => log.add(event, prediction)?,
                    What::Label(label) => labelers.add(event, label),
                }
            }
            rest = rest.get(due..).unwrap_or_default();
            log.write()?;
            labelers.post(&mut stopped).await?;
            (told.predictions, told.labels) = (log.lines, labelers.sent);
            show(told);
        }
        Ok(told)
    }

    /// What the month's clock says: from its beginning to its end.
    fn elapsed_ms(&self) -> i64 {
        let now = now();
        match self.lapse.at(now) {
            Some(at) => at.since(self.lapse.from),
            None if now < self.lapse.begins => 0,
            None => DAYS * DAY_MS,
        }
    }

    fn time(&self, event: &Event) -> Timestamp {
        self.lapse.from.plus(event.at_ms)
    }

    /// The id of a prediction.
    fn id(&self, number: usize) -> String {
        format!("{}-{number:06}", self.run)
    }
}

/// A line of the log.
#[derive(Serialize)]
struct PredictionRecord<'r> {
    event: &'static str,
    prediction_id: String,
    ts: String,
    model: &'static str,
    model_version: &'r str,
    predicted: &'static str,
    score: f64,
    latency_ms: f64,
    segment: Segment<'r>,
    features: Features,
}

#[derive(Serialize)]
struct Segment<'r> {
    country: &'r str,
}

#[derive(Serialize)]
struct Features {
    amount: f64,
}

/// What those say who know the truth.
#[derive(Serialize)]
struct LabelRecord {
    event: &'static str,
    prediction_id: String,
    ts: String,
    label: &'static str,
}

const fn class(is_fraud: bool) -> &'static str {
    if is_fraud { "fraud" } else { "legit" }
}

fn text(time: Timestamp) -> String {
    let mut quoted = Vec::new();
    write_time(time, &mut quoted);
    String::from_utf8_lossy(&quoted)
        .trim_matches('"')
        .to_owned()
}

fn line(record: &impl Serialize, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, nor can records of texts and finite numbers.
    serde_json::to_writer(&mut *out, record).ok();
    out.push(b'\n');
}

/// The log of predictions.
struct Log<'s> {
    server: &'s Server<'s>,
    path: PathBuf,
    file: File,
    /// The day of the month on which it was begun.
    begun_on: i64,
    waiting: Vec<u8>,
    lines: u64,
}

impl<'s> Log<'s> {
    fn open(server: &'s Server<'s>) -> Result<Self, Error> {
        let path = server.folder.logs().join("predictions.jsonl");
        let file = append_to(&path)?;
        Ok(Self {
            server,
            path,
            file,
            begun_on: 0,
            waiting: Vec::new(),
            lines: 0,
        })
    }

    fn add(&mut self, event: &Event, prediction: &Prediction) -> Result<(), Error> {
        let day = event.at_ms / DAY_MS;
        if day >= self.begun_on + ROTATED_EVERY_DAYS {
            self.rotate(day - day % ROTATED_EVERY_DAYS)?;
        }
        let record = PredictionRecord {
            event: "prediction",
            prediction_id: self.server.id(prediction.number),
            ts: text(self.server.time(event)),
            model: "fraud",
            model_version: prediction.version,
            predicted: class(prediction.score >= 0.5),
            score: prediction.score,
            latency_ms: prediction.latency_ms,
            segment: Segment {
                country: prediction.country,
            },
            features: Features {
                amount: prediction.amount,
            },
        };
        line(&record, &mut self.waiting);
        self.lines += 1;
        Ok(())
    }

    /// By renaming, as most logs are; the new name says on which day it began.
    fn rotate(&mut self, begins_on: i64) -> Result<(), Error> {
        self.write()?;
        let mut date = Vec::new();
        let began = self.server.lapse.from.plus(self.begun_on * DAY_MS);
        Date::of(began).write(b'-', &mut date);
        let name = format!("predictions-{}.jsonl", String::from_utf8_lossy(&date));
        let old = self.path.with_file_name(name);
        fs::rename(&self.path, &old).map_err(|source| Error::Disk {
            doing: "rename",
            path: self.path.clone(),
            source,
        })?;
        self.file = append_to(&self.path)?;
        self.begun_on = begins_on;
        Ok(())
    }

    fn write(&mut self) -> Result<(), Error> {
        // A few kilobytes: not worth another thread.
        let written = self.file.write_all(&self.waiting);
        written.map_err(|source| Error::Disk {
            doing: "write to",
            path: self.path.clone(),
            source,
        })?;
        self.waiting.clear();
        Ok(())
    }
}

/// Those who label.
struct Labelers<'s> {
    server: &'s Server<'s>,
    client: Client,
    url: String,
    /// All that is sent.
    kept: (PathBuf, File),
    waiting: Vec<Vec<u8>>,
    sent: u64,
}

impl<'s> Labelers<'s> {
    fn open(server: &'s Server<'s>) -> Result<Self, Error> {
        let path = server.folder.labels();
        let kept = (path.clone(), append_to(&path)?);
        let client = Client::builder().no_proxy().build();
        Ok(Self {
            server,
            client: client.map_err(Error::Client)?,
            url: format!("http://127.0.0.1:{}/v1/labels", server.port),
            kept,
            waiting: Vec::new(),
            sent: 0,
        })
    }

    fn add(&mut self, event: &Event, label: &Label) {
        let record = LabelRecord {
            event: "label",
            prediction_id: self.server.id(label.number),
            ts: text(self.server.time(event)),
            label: class(label.is_fraud),
        };
        let mut text = Vec::new();
        line(&record, &mut text);
        self.waiting.push(text);
    }

    /// Sends all, in order: what is answered is safe. What is not answered when `stopped` may have been taken all the same.
    async fn post(&mut self, stopped: &mut watch::Receiver<bool>) -> Result<(), Error> {
        let waiting = std::mem::take(&mut self.waiting);
        for some in waiting.chunks(LABELS_A_REQUEST) {
            let body = some.concat();
            let kept = self.kept.1.write_all(&body);
            kept.map_err(|source| Error::Disk {
                doing: "write to",
                path: self.kept.0.clone(),
                source,
            })?;
            while !self.post_once(&body).await? {
                tokio::select! {
                    () = time::sleep(AGAIN_AFTER) => {}
                    _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
                }
            }
            self.sent += some.len() as u64;
        }
        Ok(())
    }

    /// True if it was taken; false: try again later.
    async fn post_once(&self, body: &[u8]) -> Result<bool, Error> {
        let request = self.client.post(&self.url).body(body.to_vec());
        let Ok(answer) = request.send().await else {
            // It does not listen yet, or does not any more.
            return Ok(false);
        };
        match answer.status() {
            StatusCode::ACCEPTED => Ok(true),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Ok(false),
            status => Err(Error::Refused {
                status,
                words: answer.text().await.unwrap_or_default(),
            }),
        }
    }
}

fn append_to(path: &PathBuf) -> Result<File, Error> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|source| Error::Disk {
        doing: "open",
        path: path.clone(),
        source,
    })
}
