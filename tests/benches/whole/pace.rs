//! A model server that writes its log at a steady rate: a thousand times a second it appends the lines that are due, each
//! with the moment it was written at, which the sink compares with the moment it arrives.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::log;

const TICKS_A_SECOND: u64 = 1_000;

pub(crate) fn run(file: &Path, events_a_second: u64, seconds: u64) {
    let mut file = File::create(file).unwrap();
    let mut lines = Vec::new();
    let start = Instant::now();
    let mut number = 0;
    for tick in 1..=seconds * TICKS_A_SECOND {
        let due = start + Duration::from_micros(tick * 1_000_000 / TICKS_A_SECOND);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Timestamp::now();
        let stamp = format!("\"written_us\":{},", now.as_microsecond());
        while number < tick * events_a_second / TICKS_A_SECOND {
            log::prediction(number, now.as_millisecond(), &stamp, &mut lines);
            number += 1;
        }
        file.write_all(&lines).unwrap();
        lines.clear();
    }
    println!("{number}");
}
