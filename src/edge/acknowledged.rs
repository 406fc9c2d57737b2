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

const NAME: &str = "acknowledged-";

/// Says that somebody has seen an alert. `alert`: as documents and log lines call it, letters, digits, `-` and `_`.
///
/// # Errors
/// The folder cannot be written to.
pub fn put(folder: &Path, alert: &str) -> io::Result<()> {
    File::create(folder.join(format!("{NAME}{alert}"))).map(|_| ())
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
        for alert in taken {
            if out.send(Intake::Acknowledged(alert)).await.is_err() {
                return;
            }
        }
    }
}

fn take(folder: &Path) -> io::Result<Vec<String>> {
    let mut taken = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(TAKEN_MAX) {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(alert) = name.to_str().and_then(|name| name.strip_prefix(NAME)) {
            std::fs::remove_file(entry.path())?;
            taken.push(alert.to_owned());
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
        put(folder.path(), "abc").unwrap();
        File::create(folder.path().join("checkpoint")).unwrap();
        assert_eq!(take(folder.path()).unwrap(), ["abc"]);
        assert_eq!(take(folder.path()).unwrap(), [""; 0]);
        assert!(folder.path().join("checkpoint").is_file());
    }
}
