//! Two logs in the agent's folder that are written in pieces of lines and rotated, however dead the agent is: one by renaming
//! a chain of files while its writer goes on in the old one for a while, one by copying and truncating it.
//!
//! Truncating loses what nobody has read yet. But the copies are logs of the pipeline too, so every line is in a file that the
//! agent reads, and lines that it reads twice are the only doubt there is.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::chance::Chance;
use super::pace::Pace;
use super::story::{Event, Way};

/// The most lines between two rotations.
const LINES: usize = 250;

/// The most lines that a writer whose log was renamed still writes into it.
const LINGERING: usize = 20;

/// One line in so many is followed by a pause, and one comes in two pieces with a pause between them.
const PAUSE_ONE_IN: u64 = 5;

/// Long enough that a life of a second sees a chapter come in.
const PAUSE_MS: u64 = 60;

pub(super) struct Writer {
    way: Way,
    path: PathBuf,
    file: File,
    pace: Arc<Pace>,
    chance: Chance,
    /// What the log of this name holds.
    told: Vec<Event>,
    rotate_after: usize,
    /// The log has another name by now, and so many lines still go there.
    lingering: Option<usize>,
}

impl Writer {
    /// Tells its part of the story into a log in this folder, on a thread of its own.
    pub(super) fn start(
        way: Way,
        folder: &Path,
        chapters: Vec<Vec<Event>>,
        seed: u64,
        pace: &Arc<Pace>,
    ) {
        let name = format!("{way:?}").to_lowercase();
        let path = folder.join(format!("{name}.jsonl"));
        let mut writer = Self {
            way,
            file: open(&path),
            path,
            pace: Arc::clone(pace),
            chance: Chance::new(seed, &name),
            told: Vec::new(),
            rotate_after: LINES,
            lingering: None,
        };
        pace.start(name, chapters, move |chapter| writer.tell(chapter));
    }

    /// False if the storm ended meanwhile.
    fn tell(&mut self, chapter: Vec<Event>) -> bool {
        for event in chapter {
            self.rotate_if_due();
            self.write(&(event.line(self.way) + "\n"));
            self.told.push(event);
            if self.pace.is_over() {
                return false;
            }
        }
        true
    }

    fn write(&mut self, line: &str) {
        let at = if self.chance.is_one_in(PAUSE_ONE_IN) {
            self.chance.index(line.len())
        } else {
            line.len()
        };
        let (piece, rest) = line.as_bytes().split_at(at);
        self.file.write_all(piece).expect("append");
        if self.chance.is_one_in(PAUSE_ONE_IN) {
            thread::sleep(Duration::from_millis(self.chance.below(PAUSE_MS)));
        }
        self.file.write_all(rest).expect("append");
    }

    fn rotate_if_due(&mut self) {
        match &mut self.lingering {
            Some(0) => {
                self.file = open(&self.path);
                self.lingering = None;
            }
            Some(lines) => *lines -= 1,
            None if self.told.len() < self.rotate_after => {}
            None => {
                self.rotate();
                self.told.clear();
                self.rotate_after = 1 + self.chance.index(LINES);
            }
        }
    }

    fn rotate(&mut self) {
        self.make_room();
        let older = numbered(&self.path, 1);
        if self.way == Way::Renamed {
            fs::rename(&self.path, older).expect("rename");
            self.pace.count("renamed logs");
            self.lingering = Some(self.chance.index(LINGERING));
            return;
        }
        for event in &self.told {
            if let Event::Prediction(prediction) = event {
                self.pace.doubt(prediction.key());
            }
        }
        fs::copy(&self.path, older).expect("copy");
        self.file.set_len(0).expect("truncate");
        self.pace.count("copied and truncated logs");
    }

    /// Every older log has a number one higher, the oldest first.
    fn make_room(&self) {
        let numbers = 1..;
        let taken = numbers.take_while(|number| numbered(&self.path, *number).is_file());
        for number in taken.collect::<Vec<_>>().into_iter().rev() {
            let [from, to] = [number, number + 1].map(|number| numbered(&self.path, number));
            fs::rename(from, to).expect("rename");
        }
    }
}

/// Deletes the rotated logs in a folder, but for the newest: its writer may not have let go of it, and what is written to a
/// file without a name while no agent runs is nowhere. Returns how many there were.
pub(super) fn delete_rotated(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("the folder of logs");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let rotated: Vec<PathBuf> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end != "jsonl" && end != "1")
        })
        .collect();
    for path in &rotated {
        fs::remove_file(path).expect("delete");
    }
    rotated.len()
}

/// `events.jsonl`, 2 → `events.jsonl.2`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    path.with_extension(format!("jsonl.{number}"))
}

fn open(path: &Path) -> File {
    let options = File::options().create(true).append(true).to_owned();
    options.open(path).expect("a log to append to")
}
