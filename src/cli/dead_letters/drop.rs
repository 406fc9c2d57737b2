//! `drop`: removes letters for good. What is asked about is what is dropped: nobody adds to it between the question and
//! the answer.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use super::summary::Summary;
use super::{DropArguments, Error, select};
use crate::edge::dead_letters::{Fate, Line, Sitting, read};
use crate::edge::operations::Operations;
use crate::flow::operation::{Action, Operation};

pub(super) fn drop(arguments: &DropArguments) -> Result<ExitCode, Error> {
    let mut out = stdout();
    let mut dropped = 0;
    for (pipeline, folder) in select::folders(&arguments.place)? {
        let log = Error::log(&folder);
        let sitting = Sitting::open(&folder)?;
        let files = sitting.files().map_err(&log)?;
        let mut summary = Summary::default();
        for line in files.iter().map(|path| read(path)) {
            for line in line.map_err(&log)? {
                let line = line.map_err(&log)?;
                if !means(arguments, &line) {
                    continue;
                }
                match line.entry {
                    Some(entry) => summary.add(&entry.letter),
                    None => summary.torn += 1,
                }
            }
        }
        if summary.letters() + summary.torn == 0 {
            continue;
        }
        let count = summary.count();
        writeln!(out, "pipeline {pipeline}: {count}").map_err(Error::Print)?;
        summary.print(&mut out).map_err(Error::Print)?;
        if !arguments.yes && !is_meant(&format!("drop {count} for good?"))? {
            writeln!(out, "nothing dropped").map_err(Error::Print)?;
            return Ok(ExitCode::FAILURE);
        }
        for path in &files {
            sieve(&sitting, path, arguments).map_err(&log)?;
        }
        let operation =
            Operation::success(Action::DeadLetterDrop, format!("dropped {count} for good"));
        Operations::new(&folder).record(operation.times(summary.letters()));
        writeln!(out, "dropped {count}").map_err(Error::Print)?;
        dropped += summary.letters();
    }
    if dropped == 0 {
        writeln!(out, "no dead letters to drop").map_err(Error::Print)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn sieve(sitting: &Sitting, path: &Path, arguments: &DropArguments) -> std::io::Result<()> {
    let mut sieve = sitting.sieve(path)?;
    loop {
        let run = sieve.run()?;
        if run.is_empty() {
            return sieve.finish().map(|_| ());
        }
        for line in &run {
            let fate = if means(arguments, line) {
                Fate::Go
            } else {
                Fate::Stay
            };
            sieve.put(line, fate)?;
        }
    }
}

/// Whether a line is to go. One that a crash cut short says nothing that a filter could look at.
fn means(arguments: &DropArguments, line: &Line) -> bool {
    match &line.entry {
        Some(entry) => arguments.filter.matches(entry),
        None => arguments.filter.is_everything(),
    }
}

/// Asks at the terminal; where there is none, nobody can mean it.
fn is_meant(question: &str) -> Result<bool, Error> {
    if !stdin().is_terminal() {
        return Err(Error::Usage(
            "nobody is at the terminal to confirm: add --yes".to_owned(),
        ));
    }
    let mut out = stdout();
    write!(out, "{question} [y/N] ").map_err(Error::Print)?;
    out.flush().map_err(Error::Print)?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(Error::Print)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
