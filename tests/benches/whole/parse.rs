//! What reading alone costs: the lines of a file, and of each the fields that the pipeline maps, with sonic-rs.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
struct Line<'a> {
    event: &'a str,
    prediction_id: &'a str,
    ts: &'a str,
    model: &'a str,
    model_version: &'a str,
    predicted: &'a str,
    score: f64,
    latency_ms: f64,
    #[serde(borrow)]
    segment: Segment<'a>,
}

#[derive(Deserialize)]
struct Segment<'a> {
    country: &'a str,
    device: &'a str,
}

pub(crate) fn run(file: &Path) {
    let mut lines = BufReader::with_capacity(256 << 10, File::open(file).unwrap());
    let mut line = Vec::new();
    let mut count = 0_u64;
    while lines.read_until(b'\n', &mut line).unwrap() > 0 {
        let read: Line<'_> = sonic_rs::from_slice(&line).unwrap();
        black_box((
            read.event,
            read.prediction_id,
            read.ts,
            read.model,
            read.model_version,
        ));
        black_box((read.predicted, read.score, read.latency_ms));
        black_box((read.segment.country, read.segment.device));
        line.clear();
        count += 1;
    }
    println!("{count}");
}
