//! `list`: reads the log twice, once to count and once to show, so that a log of any size takes no memory to speak of.

use std::io::{self, BufWriter, Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::summary::Summary;
use super::{Error, ListArguments, select};
use crate::edge::dead_letters::{Entry, Twins, handed_back, open};
use crate::flow::document::Kept;

/// Characters shown of a letter's text.
const TEXT_SHOWN: usize = 200;

/// How letters are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// For people.
    Text,
    /// One JSON object a letter, whole.
    Json,
}

pub(super) fn list(arguments: &ListArguments) -> Result<ExitCode, Error> {
    let mut out = BufWriter::new(stdout().lock());
    let folders = select::folders(&arguments.place)?;
    if folders.is_empty() && arguments.format == Form::Text {
        writeln!(out, "no dead letters").map_err(Error::Print)?;
    }
    for (pipeline, folder) in folders {
        let mut summary = Summary::default();
        each(&folder, arguments, &mut summary, |summary, entry| {
            summary.add(&entry.letter);
            Ok(())
        })?;
        let letters = summary.letters();
        let hidden = match arguments.limit {
            0 => 0,
            limit => letters.saturating_sub(limit),
        };
        if arguments.format == Form::Text {
            head(&pipeline, &folder, &summary, hidden, &mut out)?;
        }
        let mut seen = 0;
        each(&folder, arguments, &mut Summary::default(), |_, entry| {
            seen += 1;
            if seen <= hidden {
                return Ok(());
            }
            match arguments.format {
                Form::Text => show(entry, &mut out),
                Form::Json => show_json(&pipeline, entry, &mut out),
            }
        })?;
    }
    out.flush().map_err(Error::Print)?;
    Ok(ExitCode::SUCCESS)
}

/// Every letter that is meant, oldest first, and each once.
fn each(
    folder: &Path,
    arguments: &ListArguments,
    summary: &mut Summary,
    mut each: impl FnMut(&mut Summary, &Entry) -> io::Result<()>,
) -> Result<(), Error> {
    let mut twins = Twins::default();
    for line in open(folder)
        .map_err(Error::log(folder))?
        .into_iter()
        .flatten()
    {
        match line.map_err(Error::log(folder))?.entry {
            None => summary.torn += 1,
            Some(entry) if !twins.is_new(&entry.letter) => summary.twins += 1,
            Some(entry) if arguments.filter.matches(&entry) => {
                each(summary, &entry).map_err(Error::Print)?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn head(
    pipeline: &str,
    folder: &Path,
    summary: &Summary,
    hidden: u64,
    out: &mut impl Write,
) -> Result<(), Error> {
    let waiting = handed_back::files(folder).map_err(Error::log(folder))?;
    let mut print = || {
        writeln!(out, "pipeline {pipeline}: {}", summary.count())?;
        summary.print(out)?;
        if summary.twins > 0 {
            writeln!(
                out,
                "{:>8}  written twice by an agent that was killed, counted once here",
                summary.twins
            )?;
        }
        if summary.torn > 0 {
            writeln!(out, "{:>8}  lines cut short by a crash", summary.torn)?;
        }
        if !waiting.is_empty() {
            writeln!(
                out,
                "more are handed back, and wait for the agent to read them again"
            )?;
        }
        if hidden > 0 {
            writeln!(
                out,
                "the newest {} (--limit 0 shows all):",
                summary.letters() - hidden
            )?;
        }
        Ok(())
    };
    print().map_err(Error::Print)
}

fn show(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    let letter = &entry.letter;
    let what = letter.subject().name();
    writeln!(out)?;
    writeln!(out, "{}  {what}  {}", entry.time, printable(&letter.origin))?;
    if let Some(notifier) = &letter.notifier {
        writeln!(out, "  `{}` could not be told", printable(notifier))?;
    }
    writeln!(out, "  {}", printable(&letter.reason))?;
    if let Some(reading) = &letter.record
        && reading.kept == Kept::Cut
    {
        let (kept, bytes) = (letter.text.len(), reading.bytes);
        writeln!(out, "  (the first {kept} of {bytes} bytes were kept)")?;
    }
    if let Some(reading) = &letter.record
        && reading.kept == Kept::Withheld
    {
        writeln!(out, "  (`privacy` keeps back what cannot be cleaned)")?;
    }
    let text: String = letter.text.chars().take(TEXT_SHOWN).collect();
    let more = if text.len() < letter.text.len() {
        " …"
    } else {
        ""
    };
    writeln!(out, "  {}{more}", printable(&text))
}

fn show_json(pipeline: &str, entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Shown<'e> {
        pipeline: &'e str,
        #[serde(flatten)]
        entry: &'e Entry,
    }
    serde_json::to_writer(&mut *out, &Shown { pipeline, entry })?;
    out.write_all(b"\n")
}

/// A letter's text comes from anybody: no control character of it reaches the terminal.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}
