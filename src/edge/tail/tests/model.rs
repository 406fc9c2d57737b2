//! The file-action model, after Vector's experiment: any sequence of what writers, logrotate and operators do to a
//! log, with the agent stopped and started in between. Every line comes exactly once, but those that were taken
//! away before anybody could read them: they come at most once, and the model says which they are.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Action {
    /// So many whole lines; the first completes a partial one. Makes the file if it is not there.
    Write(u8),
    /// The beginning of a line.
    WritePartial,
    /// To another name within the globs.
    Rotate,
    /// To another name outside the globs.
    RotateAway,
    /// As copytruncate does, the copy being elsewhere.
    Truncate,
    Delete,
    /// As logrotate does with the log that was rotated last, within the globs.
    Compress,
    /// A scan, and everything there is to read.
    Read,
    /// The agent stops; the next `Read` starts it.
    Down,
}

/// The log as its writer knows it.
#[derive(Default)]
struct Log {
    partial: Option<String>,
    unread: Vec<String>,
    /// The agent has seen it since it was made, and has been up since.
    is_open: bool,
    /// A record of it was read, so a head exists.
    has_head: bool,
    /// When it left its name, the agent knew it under that name.
    was_known: bool,
    /// Which rotation made it leave, and whether it was compressed since.
    number: u32,
    is_packed: bool,
}

#[derive(Default)]
struct Model {
    log: Option<Log>,
    /// Logs that have left their name, and whether they have another.
    left: Vec<(Log, Fate)>,
    written: u32,
    rotated: u32,
    certain: Vec<String>,
    possible: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Within,
    Away,
    Deleted,
}

impl Model {
    fn act(&mut self, action: &Action, desk: &mut Desk) {
        match action {
            Action::Write(lines) => (0..*lines).for_each(|_| self.write_line(desk)),
            Action::WritePartial => self.write_partial(desk),
            Action::Rotate => self.leave(Fate::Within, desk),
            Action::RotateAway => self.leave(Fate::Away, desk),
            Action::Delete => self.leave(Fate::Deleted, desk),
            Action::Compress => self.compress(desk),
            Action::Truncate => self.truncate(desk),
            Action::Read => {
                desk.poll();
                self.read();
            }
            Action::Down => self.stop(desk),
        }
    }

    fn next_line(&mut self) -> String {
        self.written += 1;
        let padding = "-".repeat((self.written as usize * 37) % 300);
        format!("{}:{padding};", self.written)
    }

    fn write_line(&mut self, desk: &Desk) {
        let line = self.next_line();
        let log = self.log.get_or_insert_default();
        let (start, line) = match log.partial.take() {
            Some(partial) => (partial.len(), partial + &line),
            None => (0, line),
        };
        desk.write("app.log", &line[start..]);
        desk.write("app.log", "\n");
        log.unread.push(line);
    }

    fn write_partial(&mut self, desk: &Desk) {
        let part = self.next_line();
        let log = self.log.get_or_insert_default();
        desk.write("app.log", &part);
        log.partial.get_or_insert_default().push_str(&part);
    }

    fn leave(&mut self, fate: Fate, desk: &Desk) {
        let Some(mut log) = self.log.take() else {
            return;
        };
        log.was_known = log.is_open || log.has_head;
        self.rotated += 1;
        log.number = self.rotated;
        match fate {
            Fate::Within => desk.rename("app.log", &format!("app.log.{}", self.rotated)),
            Fate::Away => desk.rename("app.log", &format!("old.{}", self.rotated)),
            Fate::Deleted => fs::remove_file(desk.path("app.log")).unwrap(),
        }
        self.left.push((log, fate));
    }

    fn truncate(&mut self, desk: &Desk) {
        let Some(log) = &mut self.log else { return };
        fs::File::options()
            .write(true)
            .open(desk.path("app.log"))
            .unwrap()
            .set_len(0)
            .unwrap();
        log.has_head = false;
        self.possible.append(&mut log.unread);
        self.possible.extend(log.partial.take());
    }

    fn compress(&mut self, desk: &Desk) {
        let within = |(log, fate): &&mut (Log, Fate)| *fate == Fate::Within && !log.is_packed;
        let Some((log, _)) = self.left.iter_mut().rfind(within) else {
            return;
        };
        log.is_packed = true;
        // It is handed over before as the last record of a rotated file, or after as that of a compressed one.
        self.possible.extend(log.partial.take());
        let name = format!("app.log.{}", log.number);
        desk.compress(&name, packed::gzip, &format!("{name}.gz"));
    }

    fn read(&mut self) {
        if let Some(log) = &mut self.log {
            log.is_open = true;
            log.has_head |= !log.unread.is_empty();
            self.certain.append(&mut log.unread);
        }
        for (log, fate) in &mut self.left {
            let is_found = match fate {
                Fate::Within => true,
                Fate::Away => log.is_open || log.has_head,
                Fate::Deleted => log.is_open,
            };
            log.is_open = is_found;
            log.has_head |= is_found && !log.unread.is_empty();
            let to = if is_found {
                &mut self.certain
            } else {
                &mut self.possible
            };
            to.append(&mut log.unread);
        }
    }

    fn stop(&mut self, desk: &mut Desk) {
        desk.restart();
        for log in self
            .log
            .iter_mut()
            .chain(self.left.iter_mut().map(|(log, _)| log))
        {
            log.is_open = false;
        }
        // Whether a last line without line feed is handed over before the stop is a matter of patience.
        for (log, _) in &mut self.left {
            self.possible.extend(log.partial.take());
        }
    }

    /// All has come to rest.
    fn finish(&mut self, desk: &mut Desk) {
        self.act(&Action::Read, desk);
        desk.polls(QUIET_SCANS_RENAMED + 2);
        for (log, fate) in &mut self.left {
            // Superseded only where the writer has made its log anew.
            let is_certain =
                log.is_open && log.was_known && (*fate != Fate::Within || self.log.is_some());
            let to = if is_certain {
                &mut self.certain
            } else {
                &mut self.possible
            };
            to.extend(log.partial.take());
        }
    }
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => (1..20_u8).prop_map(Action::Write),
        2 => Just(Action::WritePartial),
        2 => Just(Action::Rotate),
        1 => Just(Action::RotateAway),
        1 => Just(Action::Truncate),
        1 => Just(Action::Delete),
        2 => Just(Action::Compress),
        6 => Just(Action::Read),
        2 => Just(Action::Down),
    ];
    proptest::collection::vec(action, 1..40)
}

fn check(actions: &[Action]) {
    let mut desk = Desk::new(&["app.log*"]);
    let mut model = Model::default();
    for action in actions {
        model.act(action, &mut desk);
    }
    model.finish(&mut desk);
    let mut came: Vec<_> = desk
        .records
        .iter()
        .map(|(_, record)| String::from_utf8(record.clone()).unwrap())
        .collect();
    came.retain(|record| !model.possible.contains(record) || model.certain.contains(record));
    came.sort();
    model.certain.sort();
    let missing: Vec<_> = model
        .certain
        .iter()
        .filter(|line| !came.contains(line))
        .collect();
    let doubled = came.windows(2).filter(|pair| pair[0] == pair[1]);
    let doubled: Vec<_> = doubled.map(|pair| &pair[0]).collect();
    assert!(
        came == model.certain,
        "missing: {missing:?}, doubled: {doubled:?}"
    );
    for possible in &model.possible {
        let times = desk
            .records
            .iter()
            .filter(|(_, record)| record == possible.as_bytes())
            .count();
        assert!(times <= 1, "{possible} came {times} times");
    }
}

proptest! {
    #[test]
    fn every_line_comes_once_whatever_is_done_to_the_file(actions in actions()) {
        check(&actions);
    }
}
