//! [`run`] on a thread, with the real watcher. Waiting is for a message, with a deadline no machine misses.

use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::mpsc::{Receiver, channel, error::TryRecvError};

use super::*;

const DEADLINE: Duration = Duration::from_mins(1);

pub(super) struct Live {
    thread: JoinHandle<Result<(), Error>>,
    intakes: Receiver<Intake>,
    stop: Stop,
    status: Status,
}

pub(super) fn start(desk: &Desk, mode: Mode, capacity: usize) -> Live {
    let (sender, intakes) = channel(capacity);
    let (stop, status) = (Stop::new(), Status::default());
    let (settings, heads) = (desk.settings.clone(), desk.heads.clone());
    let thread = std::thread::spawn({
        let (stop, status) = (stop.clone(), status.clone());
        move || run(settings, &heads, mode, &sender, &stop, &status)
    });
    Live {
        thread,
        intakes,
        stop,
        status,
    }
}

impl Live {
    /// Takes in what comes until the desk has so many records.
    pub(super) fn take_until(&mut self, desk: &mut Desk, records: usize) {
        wait_for(|| {
            match self.intakes.try_recv() {
                Ok(intake) => desk.take(intake),
                Err(TryRecvError::Empty) => std::thread::yield_now(),
                Err(TryRecvError::Disconnected) => panic!("the tail has ended"),
            }
            desk.records.len() >= records
        });
    }

    /// Takes in what comes until the tail ends by itself.
    pub(super) fn take_rest(mut self, desk: &mut Desk) {
        while let Some(intake) = self.intakes.blocking_recv() {
            desk.take(intake);
        }
        self.thread.join().unwrap().unwrap();
    }

    fn stop(self) {
        self.stop.stop();
        self.thread.join().unwrap().unwrap();
    }
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "nothing came");
    }
}

/// The poll is longer than the deadline: only the watcher can bring these.
#[test]
fn notifications_wake_for_lines_new_files_and_rotations() {
    let mut desk = Desk::new(&["a.log*"]);
    desk.settings[0].poll = DEADLINE * 100;
    desk.write("a.log", "one\n");
    let mut live = start(&desk, Mode::Follow, 8);
    live.take_until(&mut desk, 1);
    // The folder is watched once the status is there.
    wait_for(|| !live.status.snapshot().sources.is_empty());
    desk.write("a.log", "two\n");
    live.take_until(&mut desk, 2);
    desk.rename("a.log", "a.log.1");
    desk.write("a.log", "three\n");
    live.take_until(&mut desk, 3);
    assert_eq!(desk.news(), ["a.log:one", "a.log:two", "a.log:three"]);
    live.stop();
}

/// The next scan is farther away than the deadline.
#[test]
fn what_has_been_read_is_not_said_to_wait_until_a_scan_has_seen_it() {
    let mut desk = Desk::new(&["a.log"]);
    desk.settings[0].poll = DEADLINE * 100;
    desk.write("a.log", "one\n");
    let mut live = start(&desk, Mode::Follow, 8);
    live.take_until(&mut desk, 1);
    wait_for(|| {
        let snapshot = live.status.snapshot();
        let is_read = |input: &InputStatus| {
            (input.read_bytes_total, input.lag_bytes, input.waiting_since) == (4, 0, None)
        };
        snapshot.inputs.iter().any(is_read)
    });
    live.stop();
}

#[test]
fn polling_alone_brings_everything_too() {
    let mut desk = Desk::new(&["later/*.log"]);
    desk.settings[0].watch = WatchMode::Poll;
    desk.settings[0].poll = Duration::from_millis(100);
    let mut live = start(&desk, Mode::Follow, 8);
    fs::create_dir(desk.path("later")).unwrap();
    desk.write("later/a.log", "one\n");
    live.take_until(&mut desk, 1);
    live.stop();
}

#[test]
fn once_reads_to_the_end_last_line_included_and_returns() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\nend");
    desk.write("b.log", "two\r\n");
    let mut live = start(&desk, Mode::Once, 8);
    live.take_until(&mut desk, 3);
    live.thread.join().unwrap().unwrap();
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["a.log:end", "a.log:one", "b.log:two"]);
    let mut offsets: Vec<_> = live
        .status
        .snapshot()
        .sources
        .iter()
        .map(|source| (source.offset, source.lag_bytes))
        .collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [(5, 0), (7, 0)]);
}

#[test]
fn once_says_what_it_could_not_read() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\n");
    std::os::unix::fs::symlink("b.log", desk.path("b.log")).unwrap();
    let mut live = start(&desk, Mode::Once, 8);
    live.take_until(&mut desk, 1);
    let error = live.thread.join().unwrap().unwrap_err().to_string();
    assert!(
        error.starts_with("1 of the files could not be read to the end, the first is /"),
        "{error}"
    );
}

#[test]
fn a_full_channel_makes_the_tail_wait_and_a_dropped_one_ends_it() {
    let mut desk = Desk::new(&["*.log"]);
    desk.settings[0].poll = Duration::from_millis(100);
    desk.write("a.log", "x\n".repeat(8 << 20));
    let live = start(&desk, Mode::Follow, 2);
    wait_for(|| live.intakes.len() == 2);
    assert!(!live.thread.is_finished());
    drop(live.intakes);
    live.thread.join().unwrap().unwrap();
}

/// What is rotated out of the globs and deleted while nobody takes what was read is there when somebody does.
#[test]
fn files_are_met_and_the_status_goes_on_while_the_channel_is_full() {
    let mut desk = Desk::new(&["*.log"]);
    desk.settings[0].poll = Duration::from_millis(100);
    desk.write("a.log", format!("{}\n", "x".repeat(1_023)).repeat(4 << 10));
    let mut live = start(&desk, Mode::Follow, 1);
    wait_for(|| live.intakes.len() == 1);
    desk.write("b.log", "late\n");
    wait_for(|| live.status.snapshot().sources.len() == 2);
    fs::remove_file(desk.path("b.log")).unwrap();
    live.take_until(&mut desk, (4 << 10) + 1);
    assert_eq!(
        desk.records
            .iter()
            .filter(|(name, _)| name == "b.log")
            .count(),
        1
    );
    live.stop();
}
