//! Repeats: the same line is logged a few times a minute, and what was left out is counted and said.
//!
//! Two lines are the same if they come from one place in the code and their texts agree; numbers (bytes, counts, seconds)
//! may differ. So an error that names another file, host or reason shows at once. As a text may come from anybody who can
//! connect, one place may not say more than so much a minute either, whatever it says. Debug and trace lines were asked
//! for: they are all logged.
//!
//! (`tracing-throttle` does the first half; it cannot bound a place whose fields an attacker varies, and is twenty times
//! this file.)

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, warn};
use tracing_subscriber::layer::{Context, Filter};

/// Time in which repeats are counted.
const WINDOW: Duration = Duration::from_mins(1);

/// The same line in that time.
const SAME_MAX: u32 = 3;

/// Lines of one place in that time, whatever they say.
const PLACE_MAX: u32 = 30;

/// Lines that are told apart at a time; beyond, only places are.
const LINES_MAX: usize = 4_096;

/// What was logged of late. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    lines: HashMap<u64, Count>,
    places: HashMap<Identifier, Place>,
}

#[derive(Debug)]
struct Place {
    count: Count,
    message: String,
    left_out: u64,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    lines: u32,
}

impl Count {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            lines: 0,
        }
    }

    /// True if there is room for one more in the present window, which is then counted.
    fn admits(&mut self, max: u32, now: Instant) -> bool {
        if now.duration_since(self.since) >= WINDOW {
            *self = Self::new(now);
        }
        self.lines += u32::from(self.lines <= max);
        self.lines <= max
    }
}

impl Repeats {
    fn admits(&self, place: Identifier, line: &Line, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Said { lines, places } = &mut *said;
        if lines.len() >= LINES_MAX {
            lines.retain(|_, count| now.duration_since(count.since) < WINDOW);
        }
        let mut key = DefaultHasher::new();
        (&place, line.hasher.finish()).hash(&mut key);
        let key = key.finish();
        let is_told_apart = lines.len() < LINES_MAX || lines.contains_key(&key);
        let is_new = !is_told_apart
            || lines
                .entry(key)
                .or_insert_with(|| Count::new(now))
                .admits(SAME_MAX, now);
        let place = places.entry(place).or_insert_with(|| Place {
            count: Count::new(now),
            message: line.message.clone(),
            left_out: 0,
        });
        let is_admitted = is_new && place.count.admits(PLACE_MAX, now);
        place.left_out += u64::from(!is_admitted);
        is_admitted
    }

    /// Messages of which lines were left out since the last call, and how many.
    fn take_left_out(&self) -> Vec<(String, u64)> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        for place in said.places.values_mut().filter(|place| place.left_out > 0) {
            taken.push((place.message.clone(), std::mem::take(&mut place.left_out)));
        }
        taken.sort();
        taken
    }

    /// Says how much was left out.
    pub(super) fn report(&self) {
        for (of, lines) in self.take_left_out() {
            warn!(lines, of, "repeated log lines were left out");
        }
    }

    /// Reports once a minute, as long as the process lives.
    pub(super) fn report_for_ever(self) {
        let reporting = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                loop {
                    std::thread::sleep(WINDOW);
                    self.report();
                }
            });
        if let Err(error) = reporting {
            warn!(%error, "log lines that are left out are only counted at the end");
        }
    }
}

impl<S: Subscriber> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Our own report is never left out.
        if *metadata.level() > Level::INFO || metadata.target() == module_path!() {
            return true;
        }
        let mut line = Line::default();
        event.record(&mut line);
        self.admits(metadata.callsite(), &line, Instant::now())
    }
}

/// What makes a line the same as another.
#[derive(Default)]
struct Line {
    hasher: DefaultHasher,
    message: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.hasher.write(field.name().as_bytes());
        // Neither of the two can fail.
        write!(Text(&mut self.hasher), "{value:?}").ok();
        if field.name() == "message" && self.message.is_empty() {
            write!(self.message, "{value:?}").ok();
        }
    }

    fn record_f64(&mut self, _: &Field, _: f64) {}

    fn record_i64(&mut self, _: &Field, _: i64) {}

    fn record_u64(&mut self, _: &Field, _: u64) {}
}

/// Formats into a hash, without a text in between.
struct Text<'h>(&'h mut DefaultHasher);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::prelude::*;

    use super::*;

    /// The lines that get through, as the layer behind the filter sees them.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> tracing_subscriber::Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut line = Line::default();
            event.record(&mut line);
            self.0.lock().unwrap().push(line.message);
        }
    }

    fn logged(log: impl Fn()) -> (Vec<String>, Vec<(String, u64)>) {
        let (seen, repeats) = (Seen::default(), Repeats::default());
        let layer = seen.clone().with_filter(repeats.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let seen = seen.0.lock().unwrap().clone();
        (seen, repeats.take_left_out())
    }

    #[test]
    fn the_same_is_said_a_few_times_and_then_counted() {
        let (seen, left_out) = logged(|| {
            for bytes in 0..100 {
                warn!(bytes, reason = "full", "cannot write");
            }
        });
        assert_eq!(seen.len(), 3);
        assert_eq!(left_out, [("cannot write".to_owned(), 97)]);
    }

    #[test]
    fn what_differs_in_a_text_is_said() {
        let (seen, left_out) = logged(|| {
            for reason in ["full", "gone", "full", "slow"] {
                warn!(reason, "cannot write");
            }
        });
        assert_eq!((seen.len(), left_out.len()), (4, 0));
    }

    #[test]
    fn one_place_is_bounded_whatever_it_says_and_hides_no_other() {
        let (seen, left_out) = logged(|| {
            for attempt in 0..1_000 {
                warn!(token = format!("{attempt}"), "refused");
            }
            warn!("elsewhere");
        });
        assert_eq!(seen.len(), 31);
        assert_eq!(seen[30], "elsewhere");
        assert_eq!(left_out, [("refused".to_owned(), 970)]);
    }

    #[test]
    fn debug_lines_were_asked_for() {
        let (seen, _) = logged(|| {
            for _ in 0..10 {
                tracing::debug!("detail");
            }
        });
        assert_eq!(seen.len(), 10);
    }

    #[test]
    fn after_a_minute_it_is_said_again() {
        let start = Instant::now();
        let mut count = Count::new(start);
        assert!((0..3).all(|_| count.admits(3, start)));
        assert!(!count.admits(3, start + WINDOW / 2));
        assert!(count.admits(3, start + WINDOW));
    }
}
