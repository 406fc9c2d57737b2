//! What a snapshot tells of files that are behind.

use super::*;

#[test]
fn an_inputs_status_says_what_was_read_what_waits_and_since_when() {
    let mut desk = Desk::new(&["*.log"]);
    let status = |desk: &Desk| desk.tailer.as_ref().unwrap().snapshot().inputs[0].clone();
    desk.now = Timestamp(1_000);
    desk.write("a.log", "one\ntwo\nhal");
    desk.poll();
    let seen = status(&desk);
    assert_eq!((seen.input, seen.files), (InputId(3), 1));
    assert_eq!((seen.read_bytes_total, seen.lag_bytes), (8, 3));
    assert_eq!(seen.waiting_since, None, "half a line waits for its writer");
    desk.write("a.log", "f\nthree\n");
    // A scan finds news, and the file's turn has not come.
    let mut tailer = desk.tailer.take().unwrap();
    tailer.scan(0, Timestamp(9_000), &mut Vec::new());
    let seen = tailer.snapshot().inputs[0].clone();
    assert_eq!((seen.read_bytes_total, seen.lag_bytes), (8, 11));
    assert_eq!(seen.waiting_since, Some(Timestamp(1_000)));
    assert_eq!(seen.lag(Timestamp(9_500)), Duration::from_millis(8_500));
    assert_eq!(
        seen.lag(Timestamp(0)),
        Duration::ZERO,
        "the clock was set back"
    );
    desk.tailer = Some(tailer);
    fs::remove_file(desk.path("a.log")).unwrap();
    desk.polls(3);
    let seen = status(&desk);
    assert_eq!(
        (seen.files, seen.read_bytes_total, seen.lag_bytes),
        (0, 19, 0)
    );
}
