//! Connections that break: before an answer, in the middle of one, and closed in one direction only.

use super::delivery::Delivery;
use super::stub::{Answer, Stub};

#[test]
fn a_connection_closed_without_an_answer_costs_nothing() {
    let cluster = Stub::start();
    cluster.script([Answer::Close, Answer::Close, Answer::Fine, Answer::Close]);
    let delivery = Delivery::to(&cluster);
    delivery.once();
    delivery.expect_only_failures_again();
}

#[test]
fn half_an_answer_is_no_answer() {
    let cluster = Stub::start();
    cluster.script([Answer::StoreAndCut, Answer::Fine, Answer::StoreAndCut]);
    let delivery = Delivery::to(&cluster);
    delivery.once();
    delivery.expect_sent_twice_and_stored_once();
}
