//! Any story of notices, failures and kills: each notifier is told each notice once, an alert's in order.

use proptest::prelude::*;

use super::super::message::tests::notice;
use super::*;

const NOTIFIERS: [&str; 2] = ["ops", "manager"];

fn of(alert: u8, change: u8) -> Notice {
    let kind = if change.is_multiple_of(2) {
        Change::Firing
    } else {
        Change::Resolved
    };
    Notice {
        id: format!("a{alert}.{change}"),
        alert_id: format!("a{alert}"),
        change: kind,
        at: Timestamp(i64::from(change)),
        starts_at: Timestamp(0),
        notify: NOTIFIERS.map(str::to_owned).to_vec(),
        ..notice()
    }
}

fn queue() -> Queue {
    Queue::new(BTreeSet::from(["manager".to_owned()]))
}

/// The queue and what was written of it.
struct Story {
    queue: Queue,
    log: Vec<Record>,
    told: Vec<(String, String)>,
}

impl Story {
    fn new() -> Self {
        Self {
            queue: queue(),
            log: Vec::new(),
            told: Vec::new(),
        }
    }

    fn write(&mut self, record: Record) {
        self.log.push(record.clone());
        self.queue.apply(record);
    }

    fn take(&mut self, notice: &Notice) {
        if let Some(record) = self.queue.offer(notice, Timestamp(0)) {
            self.write(record);
        }
    }

    fn tell(&mut self, to: &str, works: bool) -> bool {
        let Some((notice, _)) = self.queue.next(to) else {
            return false;
        };
        if works {
            self.told.push((to.to_owned(), notice.id.clone()));
            self.write(Record::Done {
                id: notice.id.clone(),
                to: to.to_owned(),
                told: true,
            });
        } else {
            self.queue.failed(&notice.id, to);
        }
        true
    }

    fn restart(&mut self, compact: bool) {
        if compact {
            self.log = self.queue.records().collect();
        }
        self.queue = queue();
        for record in self.log.clone() {
            self.queue.apply(record);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take(u8, u8),
    Tell(usize, bool),
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..4, 0_u8..4).prop_map(|(alert, change)| Step::Take(alert, change)),
        (0_usize..2, any::<bool>()).prop_map(|(to, works)| Step::Tell(to, works)),
        any::<bool>().prop_map(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn each_is_told_once_and_in_order(steps in prop::collection::vec(step(), 0..80)) {
        let mut story = Story::new();
        // An engine makes the changes of an alert in order, and again from any of them on.
        let mut made = [0_u8; 4];
        for step in steps {
            match step {
                Step::Take(alert, change) => {
                    let next = &mut made[usize::from(alert)];
                    let change = change.min(*next);
                    *next = (*next).max(change + 1);
                    story.take(&of(alert, change));
                }
                Step::Tell(to, works) => {
                    story.tell(NOTIFIERS[to], works);
                }
                Step::Restart(compact) => story.restart(compact),
            }
        }
        for to in NOTIFIERS {
            while story.tell(to, true) {}
        }
        for to in NOTIFIERS {
            let told: Vec<&String> = story.told.iter().filter(|(who, _)| who == to).map(|(_, id)| id).collect();
            for (alert, made) in made.iter().enumerate() {
                let expected: Vec<String> = (0..*made).map(|change| format!("a{alert}.{change}")).collect();
                let of_alert: Vec<&String> = told.iter().copied().filter(|id| id.starts_with(&format!("a{alert}."))).collect();
                prop_assert_eq!(of_alert, expected.iter().collect::<Vec<_>>());
            }
        }
        prop_assert!(story.queue.standing("ops", Timestamp(0)).is_empty());
        let standing: Vec<String> = story.queue.standing("manager", Timestamp(0)).iter().map(|notice| notice.alert_id.clone()).collect();
        // What was told last was that it fires.
        let firing: Vec<String> = made.iter().enumerate().filter(|(_, made)| *made % 2 == 1).map(|(alert, _)| format!("a{alert}")).collect();
        prop_assert_eq!(standing, firing);
    }
}

#[test]
fn one_that_cannot_be_told_does_not_hold_up_others() {
    let mut story = Story::new();
    for (alert, change) in [(0, 0), (0, 1), (1, 0)] {
        story.take(&of(alert, change));
    }
    story.tell("ops", false);
    let next = |story: &Story| {
        story
            .queue
            .next("ops")
            .map(|(notice, tries)| (notice.id.clone(), tries))
    };
    assert_eq!(next(&story), Some(("a1.0".into(), 0)));
    story.tell("ops", true);
    // Its alert's later change waits behind it.
    assert_eq!(next(&story), Some(("a0.0".into(), 1)));
}

#[test]
fn what_waits_too_long_or_is_too_much_is_given_up_oldest_first() {
    let mut queue = queue();
    let old = of(0, 0);
    let record = queue.offer(&old, Timestamp(0)).unwrap();
    queue.apply(record);
    assert_eq!(queue.overdue("ops", Timestamp(1_000), 1_000), []);
    let overdue = queue.overdue("ops", Timestamp(1_001), 1_000);
    assert_eq!(overdue[0].0.id, "a0.0");
    for number in 0..WAITING_MAX {
        let notice = Notice {
            id: format!("b{number}.0"),
            alert_id: format!("b{number}"),
            ..of(0, 0)
        };
        let record = queue.offer(&notice, Timestamp(500)).unwrap();
        queue.apply(record);
    }
    let overdue = queue.overdue("ops", Timestamp(1_000), 1_000);
    assert_eq!(overdue.len(), 1);
    assert_eq!(overdue[0].0.id, "a0.0");
    assert!(overdue[0].1.contains("more than 2000"), "{}", overdue[0].1);
}

#[test]
fn only_so_many_are_remembered_and_none_that_waits_is_forgotten() {
    let mut queue = queue();
    let waits = of(0, 0);
    let record = queue.offer(&waits, Timestamp(0)).unwrap();
    queue.apply(record);
    for number in 0..KNOWN_MAX as u64 + 10 {
        queue.apply(Record::Known { name: (number, 0) });
    }
    assert_eq!(queue.known.len(), KNOWN_MAX);
    assert_eq!(queue.notices.len(), KNOWN_MAX);
    assert_eq!(queue.offer(&waits, Timestamp(0)), None);
    assert_eq!(queue.waiting("ops"), 1);
}
