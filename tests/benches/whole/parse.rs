//! What reading alone costs: the lines of a file, and of each the fields that the pipeline maps.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::line;

pub(crate) fn run(file: &Path) {
    let mut lines = BufReader::with_capacity(256 << 10, File::open(file).unwrap());
    let mut text = Vec::new();
    let mut count = 0_u64;
    while lines.read_until(b'\n', &mut text).unwrap() > 0 {
        line::parse(&text);
        text.clear();
        count += 1;
    }
    println!("{count}");
}
