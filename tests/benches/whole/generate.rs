//! Writes the log that an agent reads: predictions in one file, their labels in another.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::log;

pub(crate) fn run(folder: &Path, events: u64) {
    let create = |name: &str| BufWriter::new(File::create(folder.join(name)).unwrap());
    let mut predictions = create("predictions.jsonl");
    for number in 0..events {
        log::prediction(number, log::time(number), "", &mut predictions);
    }
    predictions.flush().unwrap();
    let mut labels = create("labels.jsonl");
    for place in 0..events {
        log::label(place, events, &mut labels);
    }
    labels.flush().unwrap();
}
