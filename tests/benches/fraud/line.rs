//! The least that reading a prediction's line can cost: the mapped fields, with sonic-rs, borrowed.

use std::hint::black_box;

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

pub(crate) fn parse(line: &[u8]) {
    let read: Line<'_> = sonic_rs::from_slice(line).unwrap();
    black_box((
        read.event,
        read.prediction_id,
        read.ts,
        read.model,
        read.model_version,
    ));
    black_box((read.predicted, read.score, read.latency_ms));
    black_box((read.segment.country, read.segment.device));
}
