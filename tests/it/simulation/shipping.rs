//! Shipping, step by step: what `edge::ship` does in a loop, cut where a process can die. Lane, requests, verdicts and
//! backoff are flow's own; only their order of events is chance's.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use modelbeat::flow::bulk::{Lane, Request, backoff};
use modelbeat::flow::document::{DeadLetter, Documents};
use modelbeat::flow::engine::Checkpoint;

use super::chance::Chance;
use super::cluster::{Answer, Cluster, Mood, documents};
use super::disk::Disk;

/// Steps of the engine that may wait for shipping.
pub(super) const CARGO_MAX: usize = 4;

/// Requests in flight at once.
const FLIGHTS_MAX: usize = 3;

/// Checkpoints that wait for their documents: the oldest and the newest.
const BARRIERS_MAX: usize = 2;

/// What travels from the engine to here.
#[derive(Debug)]
pub(super) enum Cargo {
    Documents(Documents),
    Barrier(Checkpoint),
}

/// What the disk is to do, in order.
#[derive(Debug)]
pub(super) enum Order {
    Letters(Vec<DeadLetter>),
    Save(Checkpoint),
    /// It is saved; its delta goes to the store.
    Apply(Checkpoint),
}

/// One request on its way, and what is left of it.
#[derive(Debug)]
pub(super) struct Flight {
    first: u64,
    ids: BTreeSet<String>,
    left: Vec<Request>,
    attempt: u32,
    /// It is sent again from here on.
    pub(super) wakes: i64,
    /// It was sent, and this is what comes back.
    pub(super) answer: Option<Answer>,
    refused: Vec<DeadLetter>,
}

/// Documents since the process started, by what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ledger {
    pub(super) made: usize,
    pub(super) stored: usize,
    pub(super) superseded: usize,
    pub(super) dead: usize,
}

/// The shipper's memory.
#[derive(Debug)]
pub(super) struct Shipping {
    pub(super) cargo: VecDeque<Cargo>,
    lane: Lane,
    /// Documents that left the lane in requests.
    sent: usize,
    backlog: Option<(Documents, usize)>,
    pub(super) flights: Vec<Flight>,
    barriers: VecDeque<(u64, Checkpoint)>,
    pub(super) orders: VecDeque<Order>,
    saving: bool,
    /// Number of the last checkpoint that is saved and applied.
    pub(super) saved: u64,
    pub(super) ledger: Ledger,
}

impl Shipping {
    pub(super) fn new(bulk_bytes: usize) -> Self {
        Self {
            cargo: VecDeque::new(),
            lane: Lane::new(bulk_bytes),
            sent: 0,
            backlog: None,
            flights: Vec::new(),
            barriers: VecDeque::new(),
            orders: VecDeque::new(),
            saving: false,
            saved: 0,
            ledger: Ledger::default(),
        }
    }

    /// Nothing is on its way, not even a checkpoint.
    pub(super) fn is_idle(&self) -> bool {
        self.cargo.is_empty()
            && self.backlog.is_none()
            && self.lane.is_empty()
            && self.flights.is_empty()
            && self.barriers.is_empty()
            && self.orders.is_empty()
    }

    pub(super) fn may_take(&self) -> bool {
        !self.cargo.is_empty() && self.backlog.is_none() && !self.lane.is_closed()
    }

    pub(super) fn may_pack(&self) -> bool {
        !self.lane.is_empty() && self.flights.len() < FLIGHTS_MAX
    }

    /// Takes the next cargo.
    pub(super) fn take(&mut self) {
        match self.cargo.pop_front() {
            Some(Cargo::Documents(mut documents)) => {
                let letters = std::mem::take(&mut documents.dead_letters);
                if !letters.is_empty() {
                    self.orders.push_back(Order::Letters(letters));
                }
                self.backlog = Some((documents, 0));
                self.fill();
            }
            Some(Cargo::Barrier(checkpoint)) => {
                if self.barriers.len() >= BARRIERS_MAX {
                    self.barriers.pop_back();
                }
                self.barriers.push_back((self.lane.taken(), checkpoint));
            }
            None => {}
        }
        self.pass_barrier();
    }

    fn fill(&mut self) {
        if let Some((documents, next)) = &mut self.backlog {
            *next = self.lane.push(documents, *next);
            if *next == documents.items.len() {
                self.backlog = None;
            }
        }
    }

    /// Closes the request being built, and lets it fly.
    ///
    /// # Errors
    /// A document is in two requests in flight.
    pub(super) fn pack(&mut self, now: i64) -> Result<(), String> {
        self.lane.close();
        let Some(request) = self.lane.take() else {
            return Ok(());
        };
        self.sent += request.documents();
        let body = request.body();
        let documents = documents(std::str::from_utf8(&body).unwrap());
        let ids: BTreeSet<String> = documents.into_iter().map(|document| document.id).collect();
        for flight in &self.flights {
            if let Some(id) = flight.ids.intersection(&ids).next() {
                return Err(format!("{id} is in two requests in flight"));
            }
        }
        self.flights.push(Flight {
            ids,
            first: request.first(),
            left: vec![request],
            attempt: 0,
            wakes: now,
            answer: None,
            refused: Vec::new(),
        });
        self.fill();
        Ok(())
    }

    /// Sends a flight's next request. What the cluster makes of it is done; the answer is under way.
    pub(super) fn send(
        &mut self,
        flight: usize,
        cluster: &mut Cluster,
        mood: Mood,
        chance: &mut Chance,
    ) {
        let flight = &mut self.flights[flight];
        if let Some(request) = flight.left.last() {
            flight.answer = Some(cluster.bulk(&request.body(), mood, chance));
        }
    }

    /// The answer comes in, or it is clear that none will.
    pub(super) fn hear(&mut self, index: usize, now: i64, chance: &mut Chance) {
        let flight = &mut self.flights[index];
        let (Some(answer), Some(request)) = (flight.answer.take(), flight.left.pop()) else {
            return;
        };
        let retry_after = match answer {
            Answer::Nothing => {
                flight.left.push(request);
                Some(None)
            }
            Answer::Reply {
                status,
                body,
                retry_after_s,
            } => {
                let settled = request.settle(status, &body);
                self.ledger.stored += settled.stored;
                self.ledger.superseded += settled.superseded;
                self.ledger.dead += settled.refused.len();
                flight.refused.extend(settled.refused);
                let waits = !settled.split && !settled.again.is_empty();
                flight.left.extend(settled.again.into_iter().rev());
                waits.then_some(retry_after_s)
            }
        };
        match retry_after {
            None => flight.attempt = 0,
            Some(wish) => {
                let wish = wish.map(Duration::from_secs);
                let wait = backoff(flight.attempt, chance.number(), wish);
                flight.wakes = now + i64::try_from(wait.as_millis()).unwrap();
                flight.attempt += 1;
            }
        }
        if self.flights[index].left.is_empty() {
            let flight = self.flights.remove(index);
            if !flight.refused.is_empty() {
                self.orders.push_back(Order::Letters(flight.refused));
            }
            self.lane.settled(flight.first);
            self.fill();
        }
        self.pass_barrier();
    }

    /// Has the newest checkpoint saved whose documents are all settled.
    fn pass_barrier(&mut self) {
        if self.saving {
            return;
        }
        let settled = self.lane.settled_below();
        let mut passed = None;
        while self
            .barriers
            .front()
            .is_some_and(|(behind, _)| *behind <= settled)
        {
            passed = self.barriers.pop_front();
        }
        if let Some((_, checkpoint)) = passed {
            self.saving = true;
            self.orders.push_back(Order::Save(checkpoint));
        }
    }

    /// The disk does one thing. A checkpoint takes three: sync what came before, save, apply.
    pub(super) fn obey(&mut self, disk: &mut Disk) -> &'static str {
        match self.orders.pop_front() {
            Some(Order::Letters(letters)) => {
                disk.letters.extend(letters);
                "dead letters are written"
            }
            Some(Order::Save(checkpoint)) if disk.letters_synced < disk.letters.len() => {
                disk.letters_synced = disk.letters.len();
                self.orders.push_front(Order::Save(checkpoint));
                "dead letters are synced"
            }
            Some(Order::Save(checkpoint)) => {
                disk.saved = Some(checkpoint.clone());
                self.orders.push_front(Order::Apply(checkpoint));
                "the checkpoint is saved"
            }
            Some(Order::Apply(checkpoint)) => {
                disk.store.apply(&checkpoint);
                self.saved = checkpoint.cold.edges.number;
                self.saving = false;
                self.pass_barrier();
                "the checkpoint's delta is applied"
            }
            None => "",
        }
    }

    /// Documents that are neither stored nor superseded nor dead, wherever they are.
    pub(super) fn in_flight(&self) -> usize {
        let waiting = |cargo: &Cargo| match cargo {
            Cargo::Documents(documents) => documents.items.len(),
            Cargo::Barrier(_) => 0,
        };
        let taken = usize::try_from(self.lane.taken()).unwrap();
        let backlog = self
            .backlog
            .as_ref()
            .map_or(0, |(documents, next)| documents.items.len() - next);
        let flying: usize = self.flights.iter().map(Flight::documents).sum();
        self.cargo.iter().map(waiting).sum::<usize>() + backlog + (taken - self.sent) + flying
    }
}

impl Flight {
    pub(super) fn documents(&self) -> usize {
        self.left.iter().map(Request::documents).sum()
    }
}
