//! Shipping against a cluster of the imagination, in every mood. Time is paused: a wait of an hour takes no time, and the
//! order of events is the only thing that counts.

mod cluster;
mod rig;
mod spooling;

use std::future::pending;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use cluster::{Cluster, Mood, documents};
use rig::{SETTINGS, checkpoint, data, outlets, start, start_on, start_until, start_with};

#[tokio::test(start_paused = true)]
async fn documents_are_stored_in_both_outputs_and_the_checkpoint_follows() {
    let cluster = Cluster::default();
    let rig = start(&cluster);
    rig.send(0..20).await;
    rig.barrier(1).await;
    let ended = rig.finish().await;
    assert_eq!(ended.ending, Ending::Settled);
    assert_eq!((ended.totals.documents, ended.totals.stored), (20, 20));
    assert_eq!((ended.totals.written, ended.totals.in_flight()), (20, 0));
    assert_eq!(ended.saved, Some(checkpoint(1)));
    assert_eq!(cluster.ids(), (0..20).collect::<Vec<_>>());
    let file = std::fs::read(ended.folder.path().join("out/i.ndjson")).unwrap();
    assert_eq!(file, documents(0..20).bytes);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_down_for_hours_is_waited_for_and_nothing_is_saved_meanwhile() {
    let cluster = Cluster::default();
    cluster.be(std::iter::repeat_n(Mood::Down, 500));
    let mut rig = start(&cluster);
    rig.send(0..3).await;
    rig.barrier(1).await;
    let before = Instant::now();
    while rig.progress.totals().requests < 400 {
        tokio::time::sleep(Duration::from_mins(1)).await;
        if rig.progress.totals().requests < 400 {
            assert!(rig.heard.try_recv().is_err());
        }
    }
    assert!(before.elapsed() > Duration::from_hours(1));
    assert!(rig.progress.trouble().unwrap().contains("down"));
    assert_eq!(rig.heard.recv().await, Some(checkpoint(1)));
    assert_eq!(rig.progress.trouble(), None);
    let ended = rig.finish().await;
    assert_eq!((ended.totals.stored, ended.totals.retries), (3, 1500));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_waits_for_the_documents_before_it_and_those_behind_go_on() {
    let cluster = Cluster::default();
    cluster.be([Mood::Hang]);
    let mut rig = start(&cluster);
    rig.send(0..3).await;
    rig.barrier(1).await;
    // The first request is under way once its second of patience is over.
    rig.cluster.until(|cluster| cluster.hanging() == 1).await;
    rig.send(3..6).await;
    rig.barrier(2).await;
    rig.cluster
        .until(|cluster| cluster.ids() == [3, 4, 5])
        .await;
    assert!(rig.heard.try_recv().is_err());
    assert_eq!(rig.progress.totals().checkpoints, 0);
    rig.cluster.release();
    assert_eq!(
        rig.heard.recv().await,
        Some(checkpoint(2)),
        "the newest that may pass"
    );
    assert_eq!(rig.finish().await.totals.stored, 6);
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_while_the_cluster_hangs() {
    let cluster = Cluster::default();
    cluster.be(std::iter::repeat_n(Mood::Hang, 2));
    let rig = start(&cluster);
    // A step is a little more than a request. Requests in flight hold steps 1 and 2 but for two documents, the one being
    // built those and most of step 3, which is being packed; steps 4 and 5 fill the channel.
    let mut taken = 0_u64;
    let hour = Duration::from_hours(1);
    let step = |number: u64| rig.send(number * 8..number * 8 + 8);
    while tokio::time::timeout(hour, step(taken)).await.is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 5);
    rig.cluster.release();
    rig.cluster.release();
    assert_eq!(rig.finish().await.totals.stored, 40);
}

#[tokio::test(start_paused = true)]
async fn refused_documents_and_bad_records_are_in_the_log_before_the_checkpoint() {
    let cluster = Cluster::default();
    cluster.refuse([1, 4]);
    let mut rig = start(&cluster);
    let mut step = documents(0..5);
    step.dead_letters.push(crate::flow::document::DeadLetter {
        reason: "not json".to_owned(),
        origin: "p.jsonl:9".to_owned(),
        position: None,
        text: "{".to_owned(),
        action: None,
        record: None,
        notifier: None,
    });
    rig.cargo
        .send(Cargo::Documents(step, Share::default()))
        .await
        .unwrap();
    rig.barrier(1).await;
    assert_eq!(rig.heard.recv().await, Some(checkpoint(1)));
    let ended = rig.finish().await;
    assert_eq!(ended.refused, ["i/1", "i/4", "p.jsonl:9"]);
    let Totals {
        stored,
        dead_documents,
        dead_records,
        ..
    } = ended.totals;
    assert_eq!((stored, dead_documents, dead_records), (3, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_split_and_later_requests_are_smaller() {
    let cluster = Cluster::default();
    cluster.take_at_most(150);
    let rig = start(&cluster);
    rig.send(0..40).await;
    let ended = rig.finish().await;
    assert_eq!((ended.totals.stored, ended.totals.dead_documents), (40, 0));
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_write_is_said_and_goes_on_once_mended() {
    let cluster = Cluster::default();
    cluster.be(std::iter::repeat_n(Mood::Forbidden, 4));
    let rig = start(&cluster);
    rig.send(0..2).await;
    let progress = rig.progress.clone();
    let said = || {
        let trouble = progress.trouble();
        trouble.is_some_and(|why| why.contains("forbids it (403)"))
            && progress.pacing().needs_a_person
            && progress.disk_trouble().is_none()
    };
    rig.cluster.until(|_| said()).await;
    assert_eq!(rig.finish().await.totals.stored, 2);
    assert!(!progress.pacing().needs_a_person);
}

#[tokio::test(start_paused = true)]
async fn while_it_is_forbidden_one_request_asks_and_the_others_wait() {
    let cluster = Cluster::default();
    cluster.be(std::iter::repeat_n(Mood::Forbidden, 8));
    let rig = start(&cluster);
    rig.send(0..24).await;
    rig.cluster
        .until(|_| rig.progress.totals().requests >= 5)
        .await;
    let before = rig.cluster.abreast_since_asked();
    rig.cluster
        .until(|_| rig.progress.totals().requests >= 8)
        .await;
    assert_eq!((before, rig.cluster.abreast_since_asked()), (2, 1));
    let ended = rig.finish().await;
    assert_eq!((ended.totals.stored, ended.totals.requests), (24, 12));
}

#[tokio::test(start_paused = true)]
async fn corrections_of_one_document_land_in_their_order() {
    let cluster = Cluster::default();
    cluster.be([
        Mood::Down,
        Mood::LostAnswer,
        Mood::SomeBusy,
        Mood::Fine,
        Mood::Down,
    ]);
    let rig = start(&cluster);
    for _ in 0..5 {
        rig.send([7, 8]).await;
    }
    let ended = rig.finish().await;
    assert_eq!(ended.totals.stored, 10);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_the_grace_it_says_what_is_left_and_saves_nothing() {
    let cluster = Cluster::default();
    cluster.be([Mood::Hang]);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let rig = start_until(&cluster, async move {
        ended.await.unwrap();
    });
    rig.send(0..3).await;
    rig.barrier(1).await;
    rig.cluster.until(|cluster| cluster.hanging() == 1).await;
    end.send(()).unwrap();
    let ended = rig.finish().await;
    assert_eq!(ended.ending, Ending::Deadline { left: 3 });
    assert_eq!(ended.saved, None);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_sent_again_once_the_cause_is_mended() {
    let cluster = Cluster::default();
    cluster.refuse([4]);
    cluster.be([Mood::Down, Mood::SomeBusy]);
    let progress = Progress::default();
    let again = resend(SETTINGS, &documents(0..20), &cluster, &progress).await;
    assert_eq!(again.len(), 1);
    assert_eq!(
        (progress.totals().stored, progress.totals().in_flight()),
        (19, 0)
    );
}

#[tokio::test]
async fn files_alone_need_no_cluster() {
    let cluster = Cluster::default();
    let folder = tempfile::tempdir().unwrap();
    let mut outlets = outlets(&cluster, folder.path(), 1 << 20);
    outlets.elastic = None;
    let (cargo, receiver) = mpsc::channel(2);
    let progress = Arc::new(Progress::default());
    let ship = tokio::spawn(run(
        SETTINGS,
        outlets,
        receiver,
        progress.clone(),
        |_: &Checkpoint| {},
        pending(),
    ));
    cargo
        .send(Cargo::Documents(documents(0..9), Share::default()))
        .await
        .unwrap();
    cargo.send(Cargo::Barrier(checkpoint(1))).await.unwrap();
    drop(cargo);
    assert_eq!(ship.await.unwrap().unwrap(), Ending::Settled);
    let Totals {
        documents,
        stored,
        written,
        checkpoints,
        ..
    } = progress.totals();
    assert_eq!((documents, stored, written, checkpoints), (9, 9, 9, 1));
    assert!(cluster.ids().is_empty());
}

/// The disk waits in real time: so does this test.
#[tokio::test]
async fn a_full_dead_letter_log_holds_shipping_up_until_there_is_room() {
    let cluster = Cluster::default();
    cluster.refuse(0..40);
    let mut rig = start_with(&cluster, pending(), 600);
    rig.send(0..40).await;
    rig.barrier(1).await;
    let progress = rig.progress.clone();
    let is_full = || {
        let is_full = |why: String| why.contains("is full");
        progress.trouble().is_some_and(is_full) && progress.disk_trouble().is_some_and(is_full)
    };
    rig.cluster.until(|_| is_full()).await;
    assert!(rig.heard.try_recv().is_err());
    let mut dropped = 0;
    let saved = loop {
        if let Ok(saved) = rig.heard.try_recv() {
            break saved;
        }
        for path in dead_letters::take(&data(rig.folder.path())).unwrap() {
            dropped += dead_letters::read(&path).unwrap().count();
            std::fs::remove_file(path).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert_eq!(saved, checkpoint(1));
    let ended = rig.finish().await;
    assert_eq!(dropped + ended.refused.len(), 40);
    assert_eq!(ended.totals.dead_documents, 40);
    assert_eq!((progress.trouble(), progress.disk_trouble()), (None, None));
}

fn any_mood() -> impl Strategy<Value = Mood> {
    prop_oneof![
        3 => Just(Mood::Fine),
        1 => Just(Mood::Down),
        1 => Just(Mood::LostAnswer),
        1 => Just(Mood::Busy),
        1 => Just(Mood::SomeBusy),
        1 => Just(Mood::Forbidden),
        1 => Just(Mood::Garbage),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn in_any_mood_every_document_is_stored_or_refused_once(
        steps in proptest::collection::vec(proptest::collection::vec(0_u64..30, 0..12), 0..12),
        moods in proptest::collection::vec(any_mood(), 0..30),
        poison in proptest::collection::btree_set(0_u64..30, 0..4),
        bytes_max in prop_oneof![Just(usize::MAX), Just(200)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let cluster = Cluster::default();
            cluster.be(moods);
            cluster.refuse(poison.clone());
            cluster.take_at_most(bytes_max);
            let rig = start(&cluster);
            for (number, ids) in (1..).zip(&steps) {
                rig.send(ids.iter().copied()).await;
                rig.barrier(number).await;
            }
            let ended = rig.finish().await;

            let sent: Vec<u64> = steps.concat();
            let (mut bad, mut good): (Vec<u64>, Vec<u64>) = sent.iter().partition(|id| poison.contains(id));
            good.sort_unstable();
            good.dedup();
            prop_assert_eq!(cluster.ids(), good);
            bad.sort_by_key(|id| format!("i/{id}"));
            let expected: Vec<_> = bad.iter().map(|id| format!("i/{id}")).collect();
            prop_assert_eq!(ended.refused, expected);
            prop_assert_eq!(ended.totals.documents, sent.len() as u64);
            prop_assert_eq!(ended.totals.in_flight(), 0);
            prop_assert_eq!(ended.totals.dead_documents, bad.len() as u64);
            let last = u8::try_from(steps.len()).unwrap();
            prop_assert_eq!(ended.saved, (last > 0).then(|| checkpoint(last)));
            Ok(())
        })?;
    }
}

/// While the cluster takes nothing, people are told all the same; and no checkpoint knows a change that the outbox does not.
#[tokio::test(start_paused = true)]
async fn notices_are_in_the_outbox_before_the_checkpoint_behind_them() {
    let cluster = Cluster::default();
    cluster.be([Mood::Down]);
    let folder = tempfile::tempdir().unwrap();
    let mut outlets = outlets(&cluster, folder.path(), 1 << 20);
    let open = |folder: &std::path::Path| {
        let letters = dead_letters::DeadLetters::new(folder, dead_letters::Settings::default());
        let addressee = outbox::Addressee {
            name: "page".into(),
            give_up: Duration::from_hours(1),
            is_reminded: false,
        };
        Outbox::open(folder, &[addressee], letters).unwrap()
    };
    outlets.outbox = Some(Arc::new(open(&data(folder.path()))));
    outlets.operations = Some(Operations::new(&data(folder.path())));
    let rig = start_on(folder, outlets, pending());
    let mut step = documents(0..3);
    step.notices.push(crate::edge::notify::sample("a", 1));
    for number in [1, 2] {
        // The second time as in a replay.
        let cargo = Cargo::Documents(step.clone(), Share::default());
        rig.cargo.send(cargo).await.unwrap();
        rig.barrier(number).await;
    }
    let ended = rig.finish().await;
    assert_eq!(ended.saved, Some(checkpoint(2)));
    let folder = data(ended.folder.path());
    assert_eq!(open(&folder).waiting("page"), 1);
    let entered = crate::edge::operations::read(&folder, 0, 10).unwrap();
    assert_eq!(entered.len(), 1, "{entered:?}");
    assert_eq!(entered[0].operation.details["notice_id"], "a.1");
}
