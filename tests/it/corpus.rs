//! The inputs that fuzzing found worth keeping, and those that once broke something, as ordinary tests.

use std::fs;
use std::path::Path;
use std::thread;

#[path = "../fuzz/subjects.rs"]
mod subjects;

#[test]
fn records_of_the_corpus_are_the_same_however_they_are_cut() {
    every("records", subjects::records);
}

#[test]
fn bodies_of_the_corpus_give_their_records_or_a_place() {
    every("body", subjects::body);
}

#[test]
fn journals_of_the_corpus_are_read_or_refused() {
    every("journal", subjects::journal);
}

#[test]
fn pipeline_files_of_the_corpus_are_taken_or_faulted() {
    every("pipeline", subjects::pipeline);
}

#[test]
fn replies_of_the_corpus_settle_every_document_once() {
    every("reply", subjects::reply);
}

fn every(subject: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(subject);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("a corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "the corpus of {subject} is there");
    for file in files {
        // The harness shows it if the subject panics.
        eprintln!("{}", file.display());
        let input = fs::read(&file).expect("an input");
        // The engine's thread has as much.
        let thread = thread::Builder::new().stack_size(16 << 20);
        let checking = thread.spawn(move || check(&input)).expect("a thread");
        checking.join().expect("it holds");
    }
}
