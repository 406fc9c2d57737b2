//! 400 to some documents: they go to the dead-letter log, whole, and the others are stored as if nothing were.

use std::collections::BTreeSet;

use super::delivery::{Delivery, name};
use super::stub::{Answer, Stub};

#[test]
fn documents_that_the_cluster_refuses_are_in_the_dead_letter_log_and_nowhere_else() {
    let cluster = Stub::start();
    let bad: BTreeSet<String> = [3, 4, 400, 799].map(name).into();
    for id in &bad {
        cluster.refuse(&format!("\"{id}\""));
    }
    // Trouble of other kinds beside it changes nothing.
    cluster.script([
        Answer::EverySecond(429),
        Answer::Close,
        Answer::Whole(503, None),
    ]);
    let delivery = Delivery::to(&cluster);
    let closing = delivery.once();
    delivery.expect_only_failures_again();
    assert_eq!(delivery.dead(), bad);
    assert_eq!(closing.count("refused"), 4);
}
