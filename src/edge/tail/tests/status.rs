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

#[test]
fn what_cannot_be_looked_at_is_told_until_it_is_gone_or_is_something_else() {
    let mut desk = Desk::new(&["*.log"]);
    let unread = |desk: &Desk| -> Vec<PathBuf> {
        let unread = desk.tailer.as_ref().unwrap().snapshot().unread;
        unread.into_iter().map(|unread| unread.path).collect()
    };
    let make_circle = |desk: &Desk, name: &str| {
        // A link to itself: nobody can follow that.
        std::os::unix::fs::symlink(desk.path(name), desk.path(name)).unwrap();
    };
    let (gone, folder) = (desk.path("gone.log"), desk.path("folder.log"));
    make_circle(&desk, "gone.log");
    make_circle(&desk, "folder.log");
    desk.poll();
    assert_eq!(unread(&desk), [folder.clone(), gone.clone()]);
    fs::remove_file(gone).unwrap();
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    desk.poll();
    assert!(unread(&desk).is_empty());
}
