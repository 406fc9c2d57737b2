//! The parts of the whole-process benchmark that must be fast themselves: what it reads, what it ships to, what it is
//! compared with. `tests/benches/run` puts them around the real binary, each a process of its own, and measures.
//!
//! ```text
//! whole generate FOLDER EVENTS     predictions.jsonl and labels.jsonl
//! whole sink                       a cluster that counts; says its port, GET /count and /delays say the figures
//! whole parse FILE                 the baseline: reads lines and the mapped fields, and does nothing with them
//! whole post URL FILE CONNECTIONS  posts a file's lines in batches of 500, each connection waiting for its answers
//! whole pace FILE RATE SECONDS     writes a log at so many lines a second, each with the time it was written at
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench ends at what it did not expect"
)]

#[path = "whole/generate.rs"]
mod generate;
#[path = "fraud/line.rs"]
mod line;
#[path = "fraud/log.rs"]
mod log;
#[path = "whole/pace.rs"]
mod pace;
#[path = "whole/parse.rs"]
mod parse;
#[path = "whole/post.rs"]
mod post;
#[path = "whole/sink.rs"]
mod sink;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["generate", folder, events] => generate::run(folder.as_ref(), events.parse().unwrap()),
        ["pace", file, rate, seconds] => {
            pace::run(
                file.as_ref(),
                rate.parse().unwrap(),
                seconds.parse().unwrap(),
            );
        }
        ["sink"] => sink::run(),
        ["parse", file] => parse::run(file.as_ref()),
        ["post", url, file, connections] => {
            post::run(url, file.as_ref(), connections.parse().unwrap());
        }
        // `cargo bench` and `cargo test --all-targets` start every bench.
        _ => println!("whole: run by tests/benches/run"),
    }
}
