//! kill -9, again and again, at random moments of a run that has everything: two logs that are rotated, programs that post
//! until they are answered, corrections and late labels, and an Elasticsearch node that is itself stopped, killed and started.
//! In the end every event is stored exactly once, and every window says what a recount of the whole story says.
//!
//! All moments and all data come from one seed, which is printed. As many kills as one likes, by the environment:
//!
//! ```text
//! STORM_KILLS=100 STORM_SEED=7 tests/run kill_storm             a hundred kills
//! STORM_KILLS=100 STORM_CROWDED=1 tests/run kill_storm          with so little memory that state goes to disk
//! ```
//!
//! `STORM_PREDICTIONS` says how many there are in each life, `STORM_PIPELINE` names a file with another pipeline for the same
//! story. A storm that fails keeps its folder, with what differs and all that is stored, and says where.

mod chance;
mod evidence;
mod node;
mod pace;
mod senders;
mod story;
mod weather;
mod writers;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use self::chance::Chance;
use self::evidence::Chronicle;
use self::node::{Node, Stop};
use self::pace::Pace;
use self::senders::Sender;
use self::story::{SENDERS, Story, Way};
use self::weather::Weather;
use self::writers::Writer;
use crate::agent::{Agent, Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};
use crate::published::Published;
use crate::told::{self, Told};
use crate::wait;

/// Lives between two times of rest, in which all that was told so far is compared.
const REST_EVERY: usize = 25;

/// Lives between two outages of the node.
const OUTAGE_EVERY: usize = 12;

/// Between two questions to a node that is busy storing.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A checkpoint is made every ten seconds; who waits longer for one to be written kills anyway.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn whatever_is_killed_every_event_is_stored_once_and_every_window_is_right() {
    let weather = Weather::from_environment();
    eprintln!("kill storm: {weather:?}");
    let mut storm = Storm::gather(weather);
    let outcome = catch_unwind(AssertUnwindSafe(|| storm.rage()));
    storm.pace.end();
    if let Err(panic) = outcome {
        storm.keep_evidence();
        resume_unwind(panic);
    }
}

/// When a life ends.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after it began: while it opens what it finds, or in the middle of its work.
    After(Duration),
    /// So long after a checkpoint began to be written, or just was.
    AtCheckpoint(Duration),
}

struct Storm {
    weather: Weather,
    chance: Chance,
    began: Instant,
    story: Story,
    pace: Arc<Pace>,
    pipeline: PathBuf,
    chronicle: Chronicle,
    agent: Option<Agent>,
    /// The outage that is going on, or was the last.
    outage: Option<JoinHandle<()>>,
    outages: usize,
    /// Before the node, for it deletes its indices.
    prefix: Prefix,
    node: Arc<Node>,
    home: Home,
}

impl Storm {
    fn gather(weather: Weather) -> Self {
        let home = Home::new();
        let pipeline = home.write("pipeline.yml", &weather.pipeline());
        fs::create_dir_all(home.path("logs")).expect("a folder");
        let story = Story::draw(weather.seed, weather.size());
        let node = Arc::new(Node::start());
        let mut storm = Self {
            chance: Chance::new(weather.seed, "storm"),
            began: Instant::now(),
            pace: Arc::default(),
            pipeline,
            chronicle: Chronicle::new(&home),
            agent: None,
            outage: None,
            outages: 0,
            prefix: Prefix::new(Cluster::at(&node.url()), "storm"),
            node,
            home,
            story,
            weather,
        };
        let setup = Modelbeat::new(&storm.home, &["setup"]).argument(&storm.pipeline);
        storm.with_variables(setup).finish().expect_code(0);
        storm.start_tellers();
        storm
    }

    fn start_tellers(&mut self) {
        let seed = self.weather.seed;
        for way in [Way::Renamed, Way::Copied] {
            let folder = self.home.path("logs");
            Writer::start(way, &folder, self.story.of(way), seed, &self.pace);
        }
        for way in (0..SENDERS).map(Way::Sender) {
            Sender::start(way, self.story.of(way), seed, &self.pace);
        }
    }

    fn rage(&mut self) {
        for life in 0..self.weather.kills {
            // Not in the first of them: there is something to lose by then.
            if life % OUTAGE_EVERY == OUTAGE_EVERY.min(self.weather.kills) / 3 {
                self.begin_outage();
            }
            self.live_and_die(life);
            if (life + 1) % REST_EVERY == 0 && life + 1 < self.weather.kills {
                self.rest(life + 1);
            }
        }
        self.come_to_an_end();
    }

    /// One life of the agent, one chapter of the story.
    fn live_and_die(&mut self, life: usize) {
        let moment = self.draw_moment(life);
        thread::sleep(Duration::from_millis(self.chance.below(200)));
        self.start_agent();
        self.pace.open(life + 1);
        self.wait_for(moment);
        let agent = self.agent.take().expect("just started");
        self.pace.set_address(None);
        let ended = agent.killed();
        self.chronicle
            .note(&format!("life {life} was ended by kill -9, {moment:?}"));
        self.chronicle.keep_output(life, &ended.output);
    }

    fn draw_moment(&mut self, life: usize) -> Moment {
        let mut after = |milliseconds| Duration::from_millis(self.chance.below(milliseconds));
        match life % 4 {
            0 => Moment::After(after(300)),
            2 => Moment::AtCheckpoint(after(30)),
            _ => Moment::After(after(4_000)),
        }
    }

    fn wait_for(&mut self, moment: Moment) {
        let start = Instant::now();
        let before = self.checkpoint();
        let mut seen = None;
        loop {
            self.look_after_agent();
            let has_come = match moment {
                Moment::After(time) => start.elapsed() >= time,
                Moment::AtCheckpoint(time) => {
                    if seen.is_none() && self.checkpoint() != before {
                        seen = Some(Instant::now());
                    }
                    seen.is_some_and(|seen| seen.elapsed() >= time)
                        || start.elapsed() >= CHECKPOINT_PATIENCE
                }
            };
            if has_come {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What tells one checkpoint from the next: the file's inode, and whether another is being written.
    fn checkpoint(&self) -> (Option<u64>, bool) {
        let file = |name: &str| fs::metadata(self.home.path(&format!("data/storm/{name}")));
        let inode = file("checkpoint").ok().map(|metadata| metadata.ino());
        (inode, file("checkpoint.new").is_ok())
    }

    /// Lets the senders know where it listens; that it lives, and that everybody else does.
    #[track_caller]
    fn look_after_agent(&mut self) {
        let agent = self.agent.as_mut().expect("there is one");
        assert!(agent.is_running(), "modelbeat ended by itself");
        if self.pace.address().is_none() {
            let line = agent.logged("http input is listening");
            let address = line.and_then(|line| Some(line["address"].as_str()?.to_owned()));
            self.pace.set_address(address);
        }
        self.pace.behind(0);
    }

    fn start_agent(&mut self) {
        let command = Modelbeat::run(&self.home, &self.pipeline);
        self.agent = Some(self.with_variables(command).start());
    }

    fn with_variables(&self, command: Modelbeat) -> Modelbeat {
        command.shipping_to(&self.prefix)
    }

    /// The node goes down during the coming life and comes back some lives later, on a thread of its own.
    fn begin_outage(&mut self) {
        self.end_outage();
        let until_down = Duration::from_millis(self.chance.below(3_000));
        let down = Duration::from_millis(self.chance.below(10_000));
        let how = if self.outages.is_multiple_of(2) {
            Stop::Killed
        } else {
            Stop::Orderly
        };
        self.outages += 1;
        self.chronicle
            .note(&format!("the node goes down, {how:?}, for {down:?}"));
        let node = Arc::clone(&self.node);
        self.outage = Some(thread::spawn(move || {
            thread::sleep(until_down);
            node.stop(how);
            thread::sleep(down);
            node.bring_up();
        }));
    }

    fn end_outage(&mut self) {
        if let Some(outage) = self.outage.take() {
            outage.join().expect("the node came back");
            self.chronicle.note("the node is back");
        }
    }

    /// Everybody comes to the end of a chapter, and what is stored is compared with what was told so far. The agent is then
    /// stopped as an init system does, so that nothing is left to read in rotated logs, and these are deleted: their inodes
    /// are another log's soon.
    fn rest(&mut self, chapters: usize) {
        self.wait_until_all_is_stored(chapters);
        let ended = self.agent.take().expect("running").stop().expect_code(0);
        self.pace.set_address(None);
        self.chronicle
            .keep_output(format_args!("rest-{chapters}"), &ended.output);
        let is_all_acknowledged = !ended.output.contains("stopped before all was acknowledged");
        if is_all_acknowledged {
            let deleted = writers::delete_rotated(&self.home.path("logs"));
            self.chronicle.note(&format!(
                "rest after {chapters} chapters, {deleted} rotated logs deleted"
            ));
        }
    }

    fn come_to_an_end(&mut self) {
        let kills = self.weather.kills;
        let told = self.wait_until_all_is_stored(kills);
        let ended = self.agent.take().expect("running").stop().expect_code(0);
        self.chronicle.keep_output("stopped", &ended.output);
        let once = Modelbeat::once(&self.home, &self.pipeline);
        let ended = self.with_variables(once).finish().expect_code(0);
        self.chronicle.keep_output("once", &ended.output);
        self.compare(&told).expect("nothing came since");
        told::first(told.differences_of_orphans(&self.prefix)).expect("just the labels for nobody");
        self.assert_no_dead_letters();
        let everything = format!("{}-*", self.prefix.name);
        let documents = self
            .prefix
            .cluster()
            .count(&everything, &json!({ "match_all": {} }));
        let Self {
            weather,
            outages,
            pace,
            ..
        } = self;
        eprintln!(
            "kill storm: passed with {weather:?}: {outages} outages of the node, {} events, {}, {documents} documents, {:.0?}",
            self.story.events(),
            pace.counts(),
            self.began.elapsed()
        );
    }

    #[track_caller]
    fn assert_no_dead_letters(&self) {
        let folder = fs::read_dir(self.home.path("data/storm")).expect("the data folder");
        for entry in folder.map(|entry| entry.expect("an entry")) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_empty = entry.metadata().expect("metadata").len() == 0;
            assert!(!name.starts_with("dead-letters") || is_empty, "{name}");
        }
    }

    /// A last life that is long enough. Returns what was told.
    #[track_caller]
    fn wait_until_all_is_stored(&mut self, chapters: usize) -> Told {
        self.end_outage();
        self.start_agent();
        wait::until("everybody to have told", || {
            self.look_after_agent();
            let behind = self.pace.behind(chapters);
            behind.first().map_or(Ok(()), |who| Err(who.clone()))
        });
        let mut told = self.story.told(chapters);
        told.perhaps_again = self.pace.perhaps_again();
        self.chronicle
            .note("everybody has told; waiting for what is stored");
        let expected = told.counts();
        let mut before = self.stored();
        while before != expected {
            before = self.wait_gently("more predictions and labels to be stored", |storm| {
                let stored = storm.stored();
                (stored != before)
                    .then_some(stored)
                    .ok_or_else(|| format!("{stored:?} are stored, of {expected:?}"))
            });
        }
        self.wait_gently("all that was told to be stored", |storm| {
            storm.compare(&told)
        });
        self.chronicle.note("all that was told is stored");
        told
    }

    /// Asks now and then: a node that is asked all the time has no time to store.
    #[track_caller]
    fn wait_gently<T>(&mut self, what: &str, attempt: impl Fn(&Self) -> Result<T, String>) -> T {
        wait::until(what, || {
            self.look_after_agent();
            attempt(self).inspect_err(|seen| {
                self.chronicle.note(seen);
                thread::sleep(ASK_EVERY);
            })
        })
    }

    /// How many predictions are stored, and how many of them with a label.
    fn stored(&self) -> [u64; 2] {
        let indices = self.prefix.indices("predictions");
        let joined = json!({ "term": { "label.state": "joined" } });
        [json!({ "match_all": {} }), joined]
            .map(|query| self.prefix.cluster().count(&indices, &query))
    }

    /// The first difference between what is stored and what was told.
    fn compare(&self, told: &Told) -> Result<(), String> {
        told::first(told.differences_of_predictions(&self.prefix))?;
        told.compare(&Published::under(&self.prefix))
    }
}
