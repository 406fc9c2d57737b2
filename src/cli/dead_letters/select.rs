//! Which letters are meant: of which pipelines, and by which filter.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Error, Where};
use crate::cli::check;
use crate::edge::dead_letters::{Entry, files, handed_back};
use crate::edge::now::now;
use crate::flow::document::Subject;

/// What a letter must be to be meant: all that is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Filter {
    /// Only letters whose reason holds this text, in upper or lower case.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only letters since then: 2026-11-24T09:00:00Z, or a time ago such as 30m, 12h, 7d.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<jiff::Timestamp>,
    /// Only records that became no document, documents that were refused, or notices that somebody could not be told of.
    #[arg(long, value_enum)]
    kind: Option<What>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Record,
    Document,
    Notice,
}

impl What {
    const fn subject(self) -> Subject {
        match self {
            Self::Record => Subject::Record,
            Self::Document => Subject::Document,
            Self::Notice => Subject::Notice,
        }
    }
}

impl Filter {
    pub(super) fn matches(&self, entry: &Entry) -> bool {
        let letter = &entry.letter;
        let reason_fits = self.reason.as_ref().is_none_or(|text| {
            let (reason, text) = (letter.reason.to_lowercase(), text.to_lowercase());
            reason.contains(&text)
        });
        // A time that cannot be read hides nothing.
        let time_fits = self.since.is_none_or(|since| {
            let time: Result<jiff::Timestamp, _> = entry.time.parse();
            time.map_or(true, |time| time >= since)
        });
        let kind_fits = self
            .kind
            .is_none_or(|what| what.subject() == letter.subject());
        reason_fits && time_fits && kind_fits
    }

    /// True if every letter is meant.
    pub(super) fn is_everything(&self) -> bool {
        self.reason.is_none() && self.since.is_none() && self.kind.is_none()
    }
}

fn since(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let seconds = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    };
    let last = text.chars().next_back();
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let ago = last
        .and_then(seconds)
        .zip(number.parse::<u32>().ok())
        .map(|(seconds, number)| seconds * i64::from(number));
    let since =
        ago.and_then(|ago| jiff::Timestamp::from_millisecond(now().plus(-ago * 1000).0).ok());
    since.ok_or_else(|| "expected a time such as 2026-11-24T09:00:00Z, 30m, 12h or 7d".to_owned())
}

/// Names and data folders of the pipelines that are meant and have letters or may have, in order.
pub(super) fn folders(place: &Where) -> Result<Vec<(String, PathBuf)>, Error> {
    if !place.files.is_empty() {
        let configs = check::load(&place.files).map_err(Error::Told)?;
        let names = configs.into_iter().map(|config| config.engine.pipeline);
        let folders = names.map(|name| (name.clone(), place.data_dir.join(name)));
        return Ok(folders.filter(|(_, folder)| folder.is_dir()).collect());
    }
    let data = &place.data_dir;
    let entries = match std::fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoData(data.clone()));
        }
        Err(error) => return Err(Error::log(data)(error)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::log(data))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|_| path.is_dir())
            && has_letters(&path).map_err(Error::log(&path))?
        {
            folders.push((name.to_owned(), path));
        }
    }
    folders.sort();
    Ok(folders)
}

fn has_letters(folder: &Path) -> std::io::Result<bool> {
    Ok(!files(folder)?.is_empty() || !handed_back::files(folder)?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::since;

    #[test]
    fn a_time_is_a_moment_or_a_while_ago() {
        let moment = since("2026-11-24T09:00:00Z").unwrap();
        assert_eq!(moment.to_string(), "2026-11-24T09:00:00Z");
        assert!(since("2h").unwrap() < since("30m").unwrap());
        for text in ["", "h", "-1h", "2w", "yesterday", "1€"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
