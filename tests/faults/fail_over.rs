//! Several hosts, one of them down or silent: the others are asked.

use tokio::net::TcpSocket;

use super::delivery::Delivery;
use super::stub::{Answer, Stub};

#[test]
fn a_host_that_is_down_is_passed_over() {
    let cluster = Stub::start();
    // Bound and not listening: nobody else can have this port, and nobody answers.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a free port");
    let down = format!("http://{}", socket.local_addr().expect("its address"));
    let delivery = Delivery::to(&cluster).hosts(&[&down, &cluster.url()]);
    let closing = delivery.once();
    delivery.expect_only_failures_again();
    assert!(closing.times("a host does not answer, the others are asked meanwhile") >= 1);
    assert!(
        closing.text.contains("refuses the connection"),
        "{}",
        closing.text
    );
}

#[test]
fn a_host_that_hangs_is_passed_over() {
    let (cluster, silent) = (Stub::start(), Stub::start());
    silent.be(Answer::Hang);
    let delivery = Delivery::to(&cluster)
        .hosts(&[&silent.url(), &cluster.url()])
        .impatient();
    let closing = delivery.once();
    assert!(closing.times("a host does not answer, the others are asked meanwhile") >= 1);
    assert!(!silent.seen().is_empty(), "it was asked");
}
