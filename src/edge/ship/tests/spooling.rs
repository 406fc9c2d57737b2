//! Shipping with a spool, against the cluster of the imagination: what passes through it, when a checkpoint may, and what
//! the next start finds.

use std::path::Path;

use super::*;
use crate::edge::spool::Spool;
use crate::flow::join::{Delta, Edges};
use rig::{Ended, Rig, start_on};

/// Checkpoint `number`, which the spool knows by it.
fn numbered(number: u8) -> Checkpoint {
    let edges = Edges {
        number: number.into(),
        ..Edges::default()
    };
    Checkpoint {
        state: vec![number],
        cold: Delta {
            edges,
            ..Delta::default()
        },
        ..Checkpoint::default()
    }
}

/// The spool as the agent opens it: at the saved checkpoint.
fn open_spool(folder: &Path, bytes_max: u64, saved: Option<&Checkpoint>) -> Option<Spool> {
    let number = saved.map(|checkpoint| checkpoint.cold.edges.number);
    crate::edge::spool::open(&data(folder).join("spool"), bytes_max, number).unwrap()
}

const BYTES_MAX: u64 = 1 << 20;

/// A shipper with a spool, on a folder where one may have run before.
fn start_in(
    folder: tempfile::TempDir,
    cluster: &Cluster,
    bytes_max: u64,
    deadline: impl Future<Output = ()> + Send + 'static,
) -> Rig {
    let mut outlets = outlets(cluster, folder.path(), 1 << 20);
    outlets.files = None;
    let saved = outlets.checkpoints.load().unwrap();
    outlets.spool = open_spool(folder.path(), bytes_max, saved.as_ref());
    start_on(folder, outlets, deadline)
}

fn start(cluster: &Cluster) -> Rig {
    start_in(tempfile::tempdir().unwrap(), cluster, BYTES_MAX, pending())
}

/// A shipper that ends when told, as when the grace is over or the process is killed.
fn start_mortal(
    folder: tempfile::TempDir,
    cluster: &Cluster,
) -> (Rig, tokio::sync::oneshot::Sender<()>) {
    let (kill, killed) = tokio::sync::oneshot::channel::<()>();
    let deadline = async move { killed.await.unwrap_or(()) };
    (start_in(folder, cluster, BYTES_MAX, deadline), kill)
}

impl Rig {
    async fn numbered(&self, number: u8) {
        let cargo = Cargo::Barrier(numbered(number));
        self.cargo.send(cargo).await.unwrap();
    }

    async fn until(&self, is_so: impl Fn(&Totals) -> bool) {
        let progress = &self.progress;
        self.cluster.until(|_| is_so(&progress.totals())).await;
    }
}

fn spool_files(ended: &Ended) -> usize {
    let folder = data(ended.folder.path()).join("spool");
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn down(requests: usize) -> impl Iterator<Item = Mood> {
    std::iter::repeat_n(Mood::Down, requests)
}

#[tokio::test(start_paused = true)]
async fn a_hiccup_does_not_touch_the_disk() {
    let cluster = Cluster::default();
    cluster.be(down(2));
    let rig = start(&cluster);
    rig.send(0..30).await;
    rig.numbered(1).await;
    let ended = rig.finish().await;
    assert_eq!((ended.totals.stored, ended.totals.spooled), (30, 0));
    assert!(
        !data(ended.folder.path())
            .join("spool")
            .try_exists()
            .unwrap()
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_cluster_is_away_documents_are_taken_and_checkpoints_pass() {
    let cluster = Cluster::default();
    cluster.be(down(100_000));
    let mut rig = start(&cluster);
    for number in 0..50 {
        let first = u64::from(number) * 10;
        rig.send(first..first + 10).await;
        rig.numbered(number + 1).await;
        assert_eq!(rig.heard.recv().await, Some(numbered(number + 1)));
    }
    assert!(rig.cluster.ids().is_empty());
    assert_eq!(rig.progress.totals().spool_documents, 500);
    assert!(rig.progress.totals().spool_bytes > 0);
    let spool = rig.progress.spool().unwrap();
    assert_eq!((spool.bytes_max, spool.trouble), (BYTES_MAX, None));
    cluster.recover();
    let ended = rig.finish().await;
    assert_eq!(cluster.ids(), (0..500).collect::<Vec<_>>());
    let Totals {
        documents,
        stored,
        spooled,
        spool_documents,
        spool_bytes,
        ..
    } = ended.totals;
    assert_eq!((documents, stored, spooled), (500, 500, 500));
    assert_eq!(
        (spool_documents, spool_bytes, spool_files(&ended)),
        (0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_barrier_that_waits_when_spooling_begins_passes_too() {
    let cluster = Cluster::default();
    cluster.be(down(100_000));
    let (mut rig, kill) = start_mortal(tempfile::tempdir().unwrap(), &cluster);
    rig.send(0..20).await;
    rig.numbered(1).await;
    rig.send(20..22).await;
    assert_eq!(rig.heard.recv().await, Some(numbered(1)));
    rig.until(|totals| totals.spooled == 22).await;
    kill.send(()).unwrap();
    let ended = rig.finish().await;
    assert_eq!(ended.ending, Ending::Deadline { left: 22 });
    // What came behind the barrier is made again.
    let mut spool = open_spool(ended.folder.path(), 0, ended.saved.as_ref()).unwrap();
    assert_eq!(spool.unread(), 20);
    let mut bytes = Vec::new();
    while spool.unread() > 0 {
        bytes.extend(spool.read().unwrap().documents.bytes);
    }
    assert_eq!(bytes, documents(0..20).bytes);
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_run_spooled_is_sent_first_though_no_spool_is_wanted_any_more() {
    let cluster = Cluster::default();
    cluster.be(down(100_000));
    let (mut rig, kill) = start_mortal(tempfile::tempdir().unwrap(), &cluster);
    rig.send(0..20).await;
    rig.numbered(1).await;
    assert_eq!(rig.heard.recv().await, Some(numbered(1)));
    rig.send(20..30).await;
    rig.until(|totals| totals.spooled == 30).await;
    kill.send(()).unwrap();
    let folder = rig.finish().await.folder;

    let cluster = Cluster::default();
    let mut rig = start_in(folder, &cluster, 0, pending());
    rig.until(|totals| totals.documents == 20).await;
    rig.send(20..40).await;
    rig.numbered(2).await;
    assert_eq!(rig.heard.recv().await, Some(numbered(2)));
    let ended = rig.finish().await;
    assert_eq!(cluster.ids(), (0..40).collect::<Vec<_>>());
    assert_eq!((ended.totals.stored, ended.totals.in_flight()), (40, 0));
    assert_eq!((ended.totals.spooled, spool_files(&ended)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn corrections_of_one_document_never_overtake_each_other() {
    let cluster = Cluster::default();
    // Away, back for a moment, away again.
    cluster.be(down(40)
        .chain([Mood::Fine, Mood::LostAnswer, Mood::SomeBusy])
        .chain(down(40)));
    let rig = start(&cluster);
    for round in 0..200 {
        rig.send([7, 8, round + 100]).await;
    }
    let ended = rig.finish().await;
    assert_eq!((ended.totals.stored, ended.totals.in_flight()), (600, 0));
    assert!(ended.totals.spooled > 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_holds_cargo_back_and_loses_nothing() {
    let cluster = Cluster::default();
    cluster.be(std::iter::repeat_n(Mood::Hang, 2));
    let rig = start_in(tempfile::tempdir().unwrap(), &cluster, 20_000, pending());
    let hour = Duration::from_hours(1);
    let mut taken = 0_u64;
    let step = |number: u64| rig.send(number * 8..number * 8 + 8);
    while tokio::time::timeout(hour, step(taken)).await.is_ok() {
        taken += 1;
    }
    let totals = rig.progress.totals();
    assert!(totals.spool_bytes <= 20_000 + 100);
    assert!(totals.spooled > 100 && taken < 1_000);
    let progress = rig.progress.clone();
    let trouble = || progress.spool().unwrap().trouble;
    assert!(
        trouble()
            .unwrap()
            .contains("the spool is full (20000 bytes)")
    );
    rig.cluster.release();
    rig.cluster.release();
    // There is room again once some of it is settled.
    rig.send(taken * 8..taken * 8 + 8).await;
    let ended = rig.finish().await;
    assert_eq!(cluster.ids(), (0..taken * 8 + 8).collect::<Vec<_>>());
    assert_eq!(trouble(), None);
    assert_eq!((ended.totals.in_flight(), spool_files(&ended)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn damaged_documents_are_letters_and_the_others_are_sent() {
    let cluster = Cluster::default();
    cluster.be(down(100_000));
    let (mut rig, kill) = start_mortal(tempfile::tempdir().unwrap(), &cluster);
    rig.send(0..8).await;
    rig.send(8..16).await;
    rig.send(16..40).await;
    rig.numbered(1).await;
    assert_eq!(rig.heard.recv().await, Some(numbered(1)));
    kill.send(()).unwrap();
    let folder = rig.finish().await.folder;
    let path = data(folder.path()).join("spool/00000000000000000000.spool");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[32 + 40 + 5] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let cluster = Cluster::default();
    let ended = start_in(folder, &cluster, BYTES_MAX, pending())
        .finish()
        .await;
    let Totals {
        documents,
        stored,
        dead_documents,
        ..
    } = ended.totals;
    assert_eq!((documents, stored + dead_documents), (40, 40));
    assert!(dead_documents > 0);
    assert_eq!(ended.refused, [format!("{}:32", path.display())]);
    assert_eq!(cluster.ids(), (dead_documents..40).collect::<Vec<_>>());
}

/// The disk waits in real time: so does this test.
#[tokio::test]
async fn refused_documents_stay_in_the_spool_until_their_letters_are_durable() {
    let cluster = Cluster::default();
    cluster.refuse(0..40);
    cluster.be(down(100_000));
    let folder = tempfile::tempdir().unwrap();
    let mut outlets = outlets(&cluster, folder.path(), 600);
    outlets.files = None;
    outlets.spool = open_spool(folder.path(), BYTES_MAX, None);
    let mut rig = start_on(folder, outlets, pending());
    rig.send(0..10).await;
    rig.numbered(1).await;
    assert_eq!(rig.heard.recv().await, Some(numbered(1)));
    cluster.recover();
    let progress = rig.progress.clone();
    let is_full = || {
        let trouble = progress.trouble();
        trouble.is_some_and(|why| why.contains("is full"))
    };
    rig.cluster.until(|_| is_full()).await;
    rig.until(|totals| totals.dead_documents == 10).await;
    // All is settled, and still: as often as one looks, the spool holds what no letter holds yet.
    for _ in 0..100 {
        assert!(rig.progress.totals().spool_bytes > 0);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let letters = data(rig.folder.path());
    let ended = tokio::spawn(rig.finish());
    let mut dropped = 0;
    while !ended.is_finished() {
        for path in dead_letters::take(&letters).unwrap() {
            dropped += dead_letters::read(&path).unwrap().count();
            std::fs::remove_file(path).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ended = ended.await.unwrap();
    assert_eq!(dropped + ended.refused.len(), 10);
    assert_eq!((ended.totals.spool_bytes, spool_files(&ended)), (0, 0));
}

/// What happens around a shipper.
#[derive(Clone, Debug)]
enum Event {
    /// The engine sends so many documents.
    Make(u64),
    Barrier,
    /// The next requests find the cluster so.
    Moods(Vec<Mood>),
    /// So many seconds pass.
    Wait(u64),
    /// Killed, and started again.
    Kill,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_u64..12).prop_map(Event::Make),
        3 => Just(Event::Barrier),
        2 => proptest::collection::vec(any_mood(), 0..6).prop_map(Event::Moods),
        1 => (1_usize..40).prop_map(|count| Event::Moods(vec![Mood::Down; count])),
        2 => (1_u64..20).prop_map(Event::Wait),
        1 => Just(Event::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_happens_every_document_before_the_saved_checkpoint_is_stored_in_the_end(
        events in proptest::collection::vec(any_event(), 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let cluster = Cluster::default();
            let (mut rig, mut kill) = start_mortal(tempfile::tempdir().unwrap(), &cluster);
            let (mut made, mut number) = (0, 0_u8);
            // What each checkpoint covers.
            let mut covered = vec![0];
            for event in events {
                match event {
                    Event::Make(count) => {
                        rig.send(made..made + count).await;
                        made += count;
                    }
                    Event::Barrier => {
                        number += 1;
                        covered.truncate(number.into());
                        covered.push(made);
                        rig.numbered(number).await;
                    }
                    Event::Moods(moods) => cluster.be(moods),
                    Event::Wait(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                    Event::Kill => {
                        kill.send(()).unwrap();
                        let Ended { folder, saved, .. } = rig.finish().await;
                        cluster.forget_flights();
                        // The engine goes on from there.
                        number = saved.map_or(0, |saved| saved.state[0]);
                        made = covered[usize::from(number)];
                        (rig, kill) = start_mortal(folder, &cluster);
                    }
                }
            }
            let ended = rig.finish().await;
            prop_assert_eq!(ended.ending, Ending::Settled);
            prop_assert_eq!(ended.totals.in_flight(), 0);
            prop_assert_eq!(ended.totals.spool_documents, 0);
            prop_assert_eq!(ended.saved.map_or(0, |saved| saved.state[0]), number);
            let stored = cluster.ids();
            prop_assert!((0..made).all(|id| stored.contains(&id)), "{stored:?} of {made}");
            Ok(())
        })?;
    }
}
