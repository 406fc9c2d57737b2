//! Answers that mean nothing: a web page, bytes that are no HTTP, and an answer of one byte a packet, which does mean something.

use super::delivery::Delivery;
use super::stub::{Answer, Stub};

#[test]
fn an_answer_that_is_no_answer_is_asked_for_again() {
    let cluster = Stub::start();
    cluster.script([Answer::Page, Answer::Noise, Answer::Fine, Answer::Page]);
    let delivery = Delivery::to(&cluster);
    let closing = delivery.once();
    assert!(
        closing
            .text
            .contains("check output.elasticsearch.hosts, and any proxy between"),
        "{}",
        closing.text
    );
}

#[test]
fn an_answer_that_comes_byte_by_byte_is_an_answer() {
    let cluster = Stub::start();
    cluster.be(Answer::Slow);
    let delivery = Delivery::to(&cluster);
    delivery.once();
    delivery.expect_only_failures_again();
}
