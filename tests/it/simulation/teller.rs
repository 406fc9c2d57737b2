//! Makes up the story of a seed.

use modelbeat::flow::event::Kind;

use super::chance::Chance;
use super::story::{
    CLASSES, COUNTRIES, DAY, Entry, FAT_BYTES, Fact, HOUR, Label, Layout, Log, LogKind, Means,
    NINE, Prediction, RECORD_BYTES_MAX, Record, Setting, Silence, Story,
};

impl Story {
    /// The story of a seed.
    pub(super) fn of(seed: u64, means: Means) -> Self {
        let mut teller = Teller::new(seed);
        let setting = teller.setting(means);
        let silences = teller.silences(setting);
        teller.setting = Some(setting);
        let records = 2 + teller.chance.below(13);
        let mut scope = 0;
        for era in 0..=silences.len() {
            if era > 0 && silences[era - 1] == Silence::Horizon {
                scope += 1;
            }
            let share = records / (silences.len() + 1) + 1;
            for _ in 0..share {
                teller.record(era, scope);
            }
        }
        let story = Self {
            logs: teller.cut_to(means.records),
            silences,
            setting,
        };
        story.laid_out()
    }
}

/// Makes up a story.
struct Teller {
    chance: Chance,
    setting: Option<Setting>,
    logs: Vec<Log>,
    /// Log of each record in the order they were made up.
    order: Vec<usize>,
    /// The first predictions of each id and version, with their log.
    firsts: Vec<(usize, Prediction)>,
}

impl Teller {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 1);
        let mut logs = Vec::new();
        let mut log = |name, kind, goes| {
            logs.push(Log {
                name,
                kind,
                goes,
                entries: Vec::new(),
                layout: Layout::default(),
            });
        };
        log("json-1", LogKind::Json, chance.percent(30));
        if chance.percent(50) {
            log("json-2", LogKind::Json, chance.percent(30));
        }
        if chance.percent(60) {
            log("http", LogKind::Http, false);
        }
        if chance.percent(30) {
            log("csv-1", LogKind::Csv, chance.percent(30));
        }
        Self {
            chance,
            setting: None,
            logs,
            order: Vec::new(),
            firsts: Vec::new(),
        }
    }

    fn setting(&mut self, means: Means) -> Setting {
        let chance = &mut self.chance;
        let setting = Setting {
            once: chance.percent(30),
            multiclass: chance.percent(30),
            scores: chance.percent(10),
            hopping: chance.percent(25),
            cumulative: chance.percent(20),
            slices: chance.percent(40),
            mark_expired: chance.percent(30),
            hold_ms: *chance.pick(&[0, 5_000, 5_000, 60_000]),
            memory: *chance.pick(&[0, 3_000, 40_000, 64 << 20]),
        };
        Setting {
            memory: if means.spill {
                setting.memory
            } else {
                64 << 20
            },
            ..setting
        }
    }

    fn silences(&mut self, setting: Setting) -> Vec<Silence> {
        if setting.once {
            return Vec::new();
        }
        let eras = *self.chance.pick(&[0, 0, 0, 1, 1, 2]);
        (0..eras)
            .map(|_| *self.chance.pick(&[Silence::Patience, Silence::Horizon]))
            .collect()
    }

    fn record(&mut self, era: usize, scope: usize) {
        let log = self.chance.below(self.logs.len());
        let entry = match self.chance.below(100) {
            0..10 => self.copy(log, scope),
            10..50 => self.prediction(log, scope),
            50..88 => self.label(log, scope),
            88..92 => self.several(log, scope),
            92..97 => self.odd(log),
            _ => self.again(log, era),
        };
        if let Some(entry) = entry {
            self.logs[log].entries.push((era, entry));
            self.order.push(log);
        }
    }

    fn prediction(&mut self, log: usize, scope: usize) -> Option<Entry> {
        let prediction = self.new_prediction(log, scope, 3)?;
        Some(self.entry(log, vec![Fact::Prediction(prediction)]))
    }

    fn new_prediction(&mut self, log: usize, scope: usize, fat: usize) -> Option<Prediction> {
        let chance = &mut self.chance;
        let prediction = Prediction {
            id: format!("p{scope}-{}", chance.below(4)),
            version: u8::from(chance.percent(30)),
            class: (!chance.percent(5)).then(|| chance.below(3)),
            time: NINE + chance.between(0, 3) * HOUR + chance.between(0, 1_000),
            country: (!chance.percent(10)).then(|| chance.below(2)),
            score: chance.percent(70).then(|| chance.below(100)),
            fat: if chance.percent(fat) { FAT_BYTES } else { 0 },
        };
        let first = self
            .firsts
            .iter()
            .find(|(_, first)| (&first.id, first.version) == (&prediction.id, prediction.version));
        match first {
            // Another one of a known id: only where the first is, behind it.
            Some((home, _)) if *home != log => None,
            Some(_) => Some(prediction),
            None => {
                self.firsts.push((log, prediction.clone()));
                Some(prediction)
            }
        }
    }

    /// A prediction that was sent twice, perhaps on another way.
    fn copy(&mut self, log: usize, scope: usize) -> Option<Entry> {
        let prefix = format!("p{scope}-");
        let is_known = |(_, first): &&(usize, Prediction)| first.id.starts_with(&prefix);
        let known: Vec<_> = self.firsts.iter().filter(is_known).cloned().collect();
        if known.is_empty() {
            return None;
        }
        let (home, first) = self.chance.pick(&known).clone();
        let is_csv = |log: usize| self.logs[log].kind == LogKind::Csv;
        // Its text would be another, and so its document.
        if home != log && (is_csv(home) || is_csv(log)) {
            return None;
        }
        Some(self.entry(log, vec![Fact::Prediction(first)]))
    }

    fn label(&mut self, log: usize, scope: usize) -> Option<Entry> {
        let label = self.new_label(log, scope)?;
        Some(self.entry(log, vec![Fact::Label(label)]))
    }

    fn new_label(&mut self, log: usize, scope: usize) -> Option<Label> {
        if self.logs[log].kind == LogKind::Csv {
            return None;
        }
        let chance = &mut self.chance;
        // Now and then for a prediction whose horizon is over.
        let of = if chance.percent(15) { 0 } else { scope };
        let (number, class) = (chance.below(5), chance.below(3));
        let minute = chance.between(0, 300) / 10 * 10;
        // Labels without a time come from one log, and each log has milliseconds of its own.
        let own = i64::try_from(log).unwrap();
        let time = (log > 0 || chance.percent(80)).then(|| NINE + minute * 60_000 + own);
        Some(Label {
            id: format!("p{of}-{number}"),
            class,
            time,
        })
    }

    /// An array of records in one line, or several lines in one post.
    fn several(&mut self, log: usize, scope: usize) -> Option<Entry> {
        if self.logs[log].kind == LogKind::Csv {
            return None;
        }
        let mut facts = Vec::new();
        for _ in 0..=self.chance.below(3) {
            let fact = if self.chance.percent(50) {
                // Two long ones would be one over-long line.
                self.new_prediction(log, scope, 0).map(Fact::Prediction)
            } else {
                self.new_label(log, scope).map(Fact::Label)
            };
            facts.extend(fact);
        }
        let texts: Vec<String> = facts.iter().map(json).collect();
        let mut text = format!("[{}]\n", texts.join(","));
        if self.chance.percent(20) {
            // What comes behind an element that is no object is lost to the dead letter.
            let comma = if texts.is_empty() { "" } else { "," };
            text = format!("[{}{comma}7,{{\"event\":\"label\"}}]\n", texts.join(","));
            facts.push(Fact::Bad);
        } else if facts.is_empty() {
            facts.push(Fact::Ignored);
        }
        let record = Record {
            text: text.into_bytes(),
            facts,
        };
        Some(Entry {
            kind: None,
            records: vec![record],
        })
    }

    /// A line that is no event.
    fn odd(&mut self, log: usize) -> Option<Entry> {
        let far = NINE + 400 * DAY;
        let is_csv = self.logs[log].kind == LogKind::Csv;
        let (text, fact): (Vec<u8>, Option<Fact>) = match self.chance.below(8) {
            0 => (b"\n".to_vec(), None),
            1 => (b"\r\n".to_vec(), None),
            2 if is_csv => (b"one,cell too few\n".to_vec(), Some(Fact::Bad)),
            2 => (
                b"{\"event\":\"prediction\",\"id\":\n".to_vec(),
                Some(Fact::Bad),
            ),
            3 => (b"\xff\xfe no text\n".to_vec(), Some(Fact::Bad)),
            4 if self.logs[log].kind != LogKind::Http => {
                let mut long = vec![b'x'; RECORD_BYTES_MAX + 200];
                long.push(b'\n');
                (long, Some(Fact::Bad))
            }
            5 if !is_csv => {
                let text = format!(
                    "{{\"event\":\"prediction\",\"id\":\"far\",\"ts\":{far},\"predicted\":\"fraud\"}}\n"
                );
                (text.into_bytes(), Some(Fact::Bad))
            }
            6 if !is_csv => {
                let text = format!(
                    "{{\"event\":\"label\",\"id\":\"p0-1\",\"ts\":{far},\"label\":\"fraud\"}}\n"
                );
                (text.into_bytes(), Some(Fact::Bad))
            }
            _ if !is_csv => (b"{\"event\":\"start\"}\n".to_vec(), Some(Fact::Ignored)),
            _ => return None,
        };
        let record = Record {
            text,
            facts: fact.into_iter().collect(),
        };
        Some(Entry {
            kind: None,
            records: vec![record],
        })
    }

    /// The last entry of the log once more: a post whose answer got lost.
    fn again(&mut self, log: usize, era: usize) -> Option<Entry> {
        let last = self.logs[log].entries.last();
        last.filter(|(of, _)| *of == era)
            .map(|(_, entry)| entry.clone())
    }

    fn entry(&mut self, log: usize, facts: Vec<Fact>) -> Entry {
        let kind = match facts.first() {
            _ if self.logs[log].kind != LogKind::Http || self.chance.percent(30) => None,
            Some(Fact::Prediction(_)) => Some(Kind::Prediction),
            Some(Fact::Label(_)) => Some(Kind::Label),
            _ => None,
        };
        let end = if self.chance.percent(10) {
            "\r\n"
        } else {
            "\n"
        };
        let is_csv = self.logs[log].kind == LogKind::Csv;
        let text = |fact: &Fact| if is_csv { csv(fact) } else { json(fact) };
        let records = facts
            .into_iter()
            .map(|fact| Record {
                text: (text(&fact) + end).into_bytes(),
                facts: vec![fact],
            })
            .collect();
        Entry { kind, records }
    }

    /// The logs with only the first so many entries of the story.
    fn cut_to(mut self, records: usize) -> Vec<Log> {
        let mut kept = vec![0; self.logs.len()];
        for log in self.order.iter().take(records) {
            kept[*log] += 1;
        }
        for (log, kept) in self.logs.iter_mut().zip(kept) {
            log.entries.truncate(kept);
            if log.kind == LogKind::Csv && !log.entries.is_empty() {
                let header = Record {
                    text: b"id,ts,version,predicted,score,segment.country,note\n".to_vec(),
                    facts: Vec::new(),
                };
                let era = log.entries[0].0;
                log.entries.insert(
                    0,
                    (
                        era,
                        Entry {
                            kind: None,
                            records: vec![header],
                        },
                    ),
                );
            }
        }
        self.logs
    }
}

fn json(fact: &Fact) -> String {
    match fact {
        Fact::Prediction(prediction) => {
            let mut text = format!(
                r#"{{"event":"prediction","id":"{}","ts":{},"version":"v{}""#,
                prediction.id, prediction.time, prediction.version
            );
            if let Some(class) = prediction.class {
                text += &format!(r#","predicted":"{}""#, CLASSES[class]);
            }
            if let Some(score) = prediction.score {
                text += &format!(r#","score":{}"#, score as f64 / 100.0);
            }
            if let Some(country) = prediction.country {
                text += &format!(r#","segment":{{"country":"{}"}}"#, COUNTRIES[country]);
            }
            if prediction.fat > 0 {
                text += &format!(r#","note":"{}""#, "x".repeat(prediction.fat));
            }
            text + "}"
        }
        Fact::Label(label) => {
            let time = label
                .time
                .map_or("null".to_owned(), |time| time.to_string());
            format!(
                r#"{{"event":"label","id":"{}","ts":{time},"label":"{}"}}"#,
                label.id, CLASSES[label.class]
            )
        }
        Fact::Bad | Fact::Ignored => String::new(),
    }
}

fn csv(fact: &Fact) -> String {
    let Fact::Prediction(prediction) = fact else {
        return String::new();
    };
    let score = prediction.score.map(|score| score as f64 / 100.0);
    format!(
        "{},{},v{},{},{},{},{}",
        prediction.id,
        prediction.time,
        prediction.version,
        prediction.class.map_or("", |class| CLASSES[class]),
        score.map_or(String::new(), |score| score.to_string()),
        prediction.country.map_or("", |country| COUNTRIES[country]),
        "x".repeat(prediction.fat)
    )
}
