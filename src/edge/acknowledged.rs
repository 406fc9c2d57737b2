//! Alerts that somebody has seen: a command puts a file for each into the data folder, and the agent takes it from there.
//!
//! What the agent has taken and was killed with before its next checkpoint is not known to anybody any more: the alert fires
//! on, and can be acknowledged again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::flow::engine::Intake;

/// How often the agent looks.
const EVERY: Duration = Duration::from_secs(1);

/// Files taken at a look; a person has seen no more.
const TAKEN_MAX: usize = 1_000;

/// What somebody says of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It was seen.
    Seen,
    /// What it is about is the new normal.
    Normal,
}

impl Word {
    /// How the files that say so begin.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Seen => "acknowledged-",
            Self::Normal => "accepted-",
        }
    }

    /// A file's name, read.
    fn of(name: &str) -> Option<(Self, &str)> {
        let words = [Self::Seen, Self::Normal].into_iter();
        let mut read =
            words.filter_map(|word| name.strip_prefix(word.prefix()).map(|alert| (word, alert)));
        read.next()
    }
}

/// Says what somebody says of an alert. `alert`: as documents and log lines call it, letters, digits, `-` and `_`.
///
/// # Errors
/// The folder cannot be written to.
pub fn put(folder: &Path, word: Word, alert: &str) -> io::Result<()> {
    let prefix = word.prefix();
    File::create(folder.join(format!("{prefix}{alert}"))).map(|_| ())
}

/// Hands on what is put into `folder`, until it is stopped.
pub async fn run(folder: PathBuf, out: mpsc::Sender<Intake>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let taken = match take(&folder) {
            Ok(taken) => taken,
            Err(error) => {
                warn!(folder = %folder.display(), %error, "cannot look for acknowledged alerts");
                continue;
            }
        };
        for (word, alert) in taken {
            let intake = match word {
                Word::Seen => Intake::Acknowledged(alert),
                Word::Normal => Intake::Accepted(alert),
            };
            if out.send(intake).await.is_err() {
                return;
            }
        }
    }
}

fn take(folder: &Path) -> io::Result<Vec<(Word, String)>> {
    let mut taken = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(TAKEN_MAX) {
        let entry = entry?;
        let name = entry.file_name();
        if let Some((word, alert)) = name.to_str().and_then(Word::of) {
            std::fs::remove_file(entry.path())?;
            taken.push((word, alert.to_owned()));
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), Word::Seen, "abc").unwrap();
        put(folder.path(), Word::Normal, "abd").unwrap();
        File::create(folder.path().join("checkpoint")).unwrap();
        let mut taken = take(folder.path()).unwrap();
        taken.sort_by(|one, other| one.1.cmp(&other.1));
        let expected = [(Word::Seen, "abc"), (Word::Normal, "abd")];
        assert_eq!(
            taken,
            expected.map(|(word, alert)| (word, alert.to_owned()))
        );
        assert_eq!(take(folder.path()).unwrap(), []);
        assert!(folder.path().join("checkpoint").is_file());
    }
}
