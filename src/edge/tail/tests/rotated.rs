//! What is done to files: renamed, copied, cut, deleted, replaced, moved away while they are closed.

use super::*;

#[test]
fn a_file_renamed_within_the_globs_is_read_once() {
    let mut desk = Desk::new(&["a.log*"]);
    desk.write("a.log", "one\n");
    desk.poll();
    desk.write("a.log", "two\nlast");
    desk.rename("a.log", "a.log.1");
    desk.write("a.log", "three\n");
    desk.poll();
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["a.log.1:two", "a.log:one", "a.log:three"]);
    desk.polls(QUIET_SCANS_RENAMED + 1);
    assert_eq!(desk.news(), ["a.log.1:last"], "nobody will complete it");
}

#[test]
fn a_file_renamed_out_of_the_globs_is_read_to_its_end() {
    let mut desk = Desk::new(&["a.log"]);
    desk.write("a.log", "one\n");
    desk.poll();
    desk.rename("a.log", "old");
    desk.write("a.log", "new\n");
    desk.write("old", "two\n");
    desk.poll();
    desk.write("old", "three\nend");
    desk.polls(2);
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["a.log:new", "a.log:one", "a.log:three", "a.log:two"]);
    desk.polls(QUIET_SCANS_RENAMED + 1);
    assert_eq!(desk.news(), ["a.log:end"]);
    desk.rename("old", "a.log");
    desk.polls(2);
    assert_eq!(desk.news(), NOTHING, "it is known when it comes back");
}

#[test]
fn a_file_renamed_out_of_the_globs_while_the_agent_was_down_is_read_to_its_end() {
    let mut desk = Desk::new(&["a.log"]);
    desk.write("a.log", "one\n");
    desk.poll();
    desk.restart();
    desk.write("a.log", "two\n");
    desk.rename("a.log", "a.log-20261124");
    desk.write("a.log", "three\n");
    desk.poll();
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["a.log-20261124:two", "a.log:one", "a.log:three"]);
}

#[test]
fn a_file_deleted_while_open_is_read_to_its_end_and_then_gone() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\n");
    desk.poll();
    let key = desk.heads.keys().next().unwrap().clone();
    desk.write("a.log", "two\nend");
    fs::remove_file(desk.path("a.log")).unwrap();
    desk.polls(3);
    assert_eq!(desk.news(), ["a.log:one", "a.log:two", "a.log:end"]);
    desk.polls(GONE_SCANS);
    assert_eq!((desk.gone.clone(), desk.heads.len()), (vec![key], 0));
}

#[test]
fn a_truncated_file_is_a_new_source_and_the_loss_is_counted() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\ntwo\n");
    desk.poll();
    desk.write("a.log", "never seen\n");
    fs::write(desk.path("a.log"), "new\n").unwrap();
    desk.poll();
    assert_eq!(desk.news(), ["a.log:one", "a.log:two", "a.log:new"]);
    desk.polls(GONE_SCANS + 1);
    assert_eq!(
        (desk.restarts, desk.gone.len(), desk.heads.len()),
        (2, 1, 1)
    );
}

#[test]
fn a_file_rewritten_longer_than_before_is_noticed() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\n");
    desk.poll();
    fs::write(desk.path("a.log"), "other\nand more\n").unwrap();
    desk.poll();
    assert_eq!(desk.news(), ["a.log:one", "a.log:other", "a.log:and more"]);
}

#[test]
fn a_file_deleted_and_made_again_is_new_even_with_the_same_inode() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\n");
    desk.poll();
    // Nobody holds it open, so many file systems give the inode to the next file.
    desk.restart();
    fs::remove_file(desk.path("a.log")).unwrap();
    desk.write("a.log", "six\nseven\n");
    desk.poll();
    assert_eq!(desk.news(), ["a.log:one", "a.log:six", "a.log:seven"]);
}

#[test]
fn a_remounted_file_is_known_by_its_content_and_its_copy_is_not_read() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\n");
    desk.write("b.log", "eins\n");
    desk.poll();
    desk.news();
    desk.restart();
    for head in desk.heads.values_mut() {
        let mut evidence: identity::Evidence = serde_json::from_str(&head.evidence).unwrap();
        evidence.dev += 1;
        head.evidence = serde_json::to_string(&evidence).unwrap();
    }
    desk.write("a.log", "two\n");
    desk.write("b.log", "zwei\n");
    fs::copy(desk.path("b.log"), desk.path("c.log")).unwrap();
    desk.poll();
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["a.log:two", "b.log:zwei"], "and c.log is a copy");
}

#[test]
fn two_names_of_one_file_are_read_once_and_a_switched_link_leads_to_the_new_one() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("first", "one\n");
    std::os::unix::fs::symlink("first", desk.path("current.log")).unwrap();
    fs::hard_link(desk.path("first"), desk.path("other.log")).unwrap();
    desk.poll();
    assert_eq!(desk.news(), ["current.log:one"]);
    fs::remove_file(desk.path("other.log")).unwrap();
    desk.write("second", "three\n");
    desk.write("first", "two\n");
    std::os::unix::fs::symlink("second", desk.path("switch")).unwrap();
    desk.rename("switch", "current.log");
    desk.poll();
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["current.log:three", "current.log:two"]);
}

#[test]
fn a_copy_made_before_a_truncation_has_what_was_not_read_yet() {
    let mut desk = Desk::new(&["a.log*"]);
    desk.write("a.log", "one\n");
    desk.poll();
    desk.write("a.log", "two\n");
    fs::copy(desk.path("a.log"), desk.path("a.log.1")).unwrap();
    fs::write(desk.path("a.log"), "new\n").unwrap();
    desk.polls(3);
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["a.log.1:two", "a.log:new", "a.log:one"]);
    let lost = || desk.tailer.as_ref().unwrap().snapshot().lost_bytes_total;
    assert_eq!(lost(), 0);
}

#[test]
fn a_copy_made_while_the_agent_was_down_goes_on_where_the_original_was_read_to() {
    let mut desk = Desk::new(&["a.log*"]);
    desk.write("a.log", "one\n");
    desk.poll();
    desk.restart();
    desk.write("a.log", "two\n");
    fs::copy(desk.path("a.log"), desk.path("a.log.1")).unwrap();
    fs::write(desk.path("a.log"), "n\n").unwrap();
    desk.polls(3);
    let mut news = desk.news();
    news.sort();
    assert_eq!(news, ["a.log.1:two", "a.log:n", "a.log:one"]);
}

#[test]
fn a_copy_of_a_file_that_goes_on_is_never_read() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("a.log", "one\ntwo\n");
    desk.poll();
    fs::copy(desk.path("a.log"), desk.path("b.log")).unwrap();
    desk.polls(30);
    desk.write("a.log", "three\n");
    desk.polls(2);
    desk.restart();
    desk.polls(30);
    assert_eq!(desk.news(), ["a.log:one", "a.log:two", "a.log:three"]);
    desk.write("b.log", "other\n");
    desk.polls(QUIET_SCANS_RENAMED + 2);
    assert_eq!(
        desk.news(),
        ["b.log:one", "b.log:two", "b.log:other"],
        "no copy"
    );
}

/// What `a.csv` holds when it is rotated is all that the next `a.csv` starts with.
#[test]
fn a_file_that_only_starts_like_another_is_read_after_some_scans() {
    let mut desk = Desk::new(&["a.csv*"]);
    desk.write("a.csv", "id,name\n");
    desk.poll();
    desk.rename("a.csv", "a.csv.1");
    desk.write("a.csv", "id,name\n1,x\n");
    desk.polls(QUIET_SCANS_RENAMED + 2);
    assert_eq!(desk.news(), ["a.csv:id,name", "a.csv:id,name", "a.csv:1,x"]);
}

#[test]
fn an_editors_save_brings_only_what_it_added() {
    let mut desk = Desk::new(&["a.log"]);
    desk.write("a.log", "one\ntwo\n");
    desk.poll();
    desk.write("a.tmp", "one\ntwo\nthree\n");
    desk.rename("a.tmp", "a.log");
    desk.polls(4);
    assert_eq!(desk.news(), ["a.log:one", "a.log:two", "a.log:three"]);
    desk.write("a.tmp", "uno\nfour\n");
    desk.rename("a.tmp", "a.log");
    desk.polls(4);
    assert_eq!(
        desk.news(),
        ["a.log:uno", "a.log:four"],
        "another beginning: a new file"
    );
}

#[test]
fn closed_files_that_are_renamed_into_another_folder_are_found_there() {
    let mut desk = Desk::new(&["*.log"]);
    desk.limits.open_max = 2;
    fs::create_dir(desk.path("old")).unwrap();
    for index in 0..20 {
        desk.write(&format!("{index}.log"), format!("first {index}\n"));
    }
    desk.poll();
    for index in 0..20 {
        desk.write(&format!("{index}.log"), format!("last {index}\nend"));
        desk.rename(&format!("{index}.log"), &format!("old/{index}"));
    }
    desk.polls(QUIET_SCANS_RENAMED + 3);
    assert_eq!(desk.news().len(), 60);
    assert_eq!(desk.tailer.as_ref().unwrap().snapshot().lost_bytes_total, 0);
}

#[test]
fn a_quiet_file_is_closed_and_nothing_else_changes() {
    let mut desk = Desk::new(&["*.log*"]);
    desk.write("a.log", "one\nhal");
    desk.poll();
    desk.now = Timestamp(4 * 60_000);
    desk.poll();
    let open = |desk: &Desk| desk.tailer.as_ref().unwrap().open_files();
    assert_eq!(open(&desk), 1);
    desk.now = Timestamp(6 * 60_000);
    desk.poll();
    assert_eq!(open(&desk), 0);
    desk.write("a.log", "f\n");
    desk.rename("a.log", "a.log.1");
    desk.poll();
    assert_eq!(desk.news(), ["a.log:one", "a.log.1:half"]);
    assert_eq!(open(&desk), 1);
}

#[test]
fn an_old_file_is_not_opened_unless_a_head_knows_it() {
    let mut desk = Desk::new(&["*.log"]);
    desk.write("known.log", "one\n");
    desk.poll();
    desk.restart();
    desk.settings[0].ignore_older = Some(Duration::from_hours(24));
    let modified = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for name in ["known.log", "unknown.log"] {
        desk.write(name, "two\n");
        let file = fs::File::options().append(true).open(desk.path(name));
        file.unwrap().set_modified(modified).unwrap();
    }
    desk.now = Timestamp(1_000_000_000 + 25 * 3_600_000);
    desk.poll();
    assert_eq!(desk.news(), ["known.log:one", "known.log:two"]);
    desk.now = Timestamp(1_000_000_000);
    desk.poll();
    assert_eq!(desk.news(), ["unknown.log:two"]);
}

/// As CIFS and FUSE may: the name stands in for the inode, and the content decides.
#[test]
fn where_inodes_are_made_up_the_content_tells_which_file_is_which() {
    let mut desk = Desk::new(&["a.log*"]);
    let dev = std::os::unix::fs::MetadataExt::dev(&desk.folder.path().metadata().unwrap());
    let mut tailer = desk.start();
    tailer.assume(
        dev,
        filesystem::Filesystem {
            is_network: true,
            has_inodes: false,
        },
    );
    assert_eq!(tailer.folders().len(), 0, "such a folder is polled");
    desk.tailer = Some(tailer);
    desk.write("a.log", "one\n");
    desk.poll();
    assert_eq!(desk.tailer.as_ref().unwrap().open_files(), 0);
    desk.write("a.log", "two\n");
    desk.poll();
    desk.write("a.log", "three\n");
    desk.rename("a.log", "a.log.1");
    desk.write("a.log", "four\n");
    desk.polls(QUIET_SCANS_RENAMED + 3);
    let mut news = desk.news();
    news.sort();
    assert_eq!(
        news,
        ["a.log.1:three", "a.log:four", "a.log:one", "a.log:two"]
    );
}

#[test]
fn unfinished_records_of_all_files_have_a_bound_together() {
    let mut desk = Desk::new(&["*.log"]);
    desk.limits.held_bytes_max = 300_000;
    for index in 0..10 {
        desk.write(&format!("{index}.log"), vec![b'x'; 100_000]);
    }
    desk.poll();
    assert!(desk.tailer.as_ref().unwrap().held_bytes() <= 300_000);
    for index in 0..10 {
        desk.write(&format!("{index}.log"), "\n");
        desk.poll();
    }
    let lengths: Vec<_> = desk
        .records
        .iter()
        .map(|(_, record)| record.len())
        .collect();
    assert_eq!(lengths, [100_000; 10]);
}
