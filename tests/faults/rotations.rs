//! A log is rotated in every usual way while its writer writes: no line is lost, none is read twice.

mod scene;

use std::fs;
use std::io::Write;

use scene::{LOG, Scene};

#[test]
fn a_log_renamed_while_it_is_written_is_read_to_its_end() {
    let mut scene = Scene::new("logs/*.jsonl");
    for round in 0..3 {
        scene.rename(LOG, &format!("logs/events.jsonl.{round}"));
        // The server has the old file open still.
        scene.write_some();
        let before = scene.reopen(LOG);
        scene.write_some();
        scene.wait_until_known(before);
    }
    scene.while_killed(|scene| {
        scene.rename(LOG, "logs/events.jsonl.killed");
        scene.write_some();
        scene.reopen(LOG);
        scene.write_some();
    });
    scene.finish();
}

#[test]
fn a_chain_of_renames_reads_each_file_once_under_whatever_name() {
    let mut scene = Scene::new("logs/events.jsonl*");
    let chain = |scene: &mut Scene| {
        for number in (0..5).rev() {
            let from = format!("{LOG}.{number}");
            if scene.home.path(&from).try_exists().expect("a folder") {
                scene.rename(&from, &format!("{LOG}.{}", number + 1));
            }
        }
        scene.rename(LOG, &format!("{LOG}.0"));
        scene.write_some();
        scene.reopen(LOG);
        scene.write_some();
    };
    chain(&mut scene);
    chain(&mut scene);
    scene.while_killed(chain);
    chain(&mut scene);
    scene.finish();
}

/// The copier races with the writer by its nature; here the writer pauses from copy to truncation, so nothing is cut.
#[test]
fn copytruncate_within_the_globs_loses_nothing_even_if_the_agent_was_down() {
    let mut scene = Scene::new("logs/events.jsonl*");
    let copytruncate = |scene: &mut Scene, to: &str| {
        scene.write_some();
        let pause = scene.pause();
        fs::copy(scene.home.path(LOG), scene.home.path(to)).expect("copy");
        truncate(scene);
        drop(pause);
        scene.write_some();
    };
    copytruncate(&mut scene, "logs/events.jsonl.1");
    scene.while_killed(|scene| copytruncate(scene, "logs/events.jsonl.2"));
    copytruncate(&mut scene, "logs/events.jsonl.3");
    scene.finish();
}

/// The copy is out of sight: what was not read when the log was cut is lost, and nothing else.
#[test]
fn copytruncate_out_of_the_globs_loses_what_was_cut_unread_and_no_more() {
    let mut scene = Scene::new("logs/*.jsonl");
    let log = scene.server_log();
    for _ in 0..2 {
        let pause = log.lock().expect("no panic while held");
        scene.wait_for(pause.written());
        truncate(&scene);
        drop(pause);
        scene.write_some();
    }
    let pause = log.lock().expect("no panic while held");
    let read = pause.written();
    scene.wait_for(read);
    scene.while_stopped(|scene| {
        drop(pause);
        scene.write_some();
        let pause = log.lock().expect("no panic while held");
        scene.expect_cut(read..pause.written());
        fs::copy(scene.home.path(LOG), scene.home.path("logs/copy")).expect("copy");
        truncate(scene);
    });
    scene.write_some();
    scene.finish();
}

#[test]
fn a_log_deleted_while_it_is_open_and_made_again_is_read_to_its_end_and_from_its_start() {
    let mut scene = Scene::new("logs/*.jsonl");
    for _ in 0..3 {
        fs::remove_file(scene.home.path(LOG)).expect("delete");
        scene.write_some();
        let before = scene.reopen(LOG);
        scene.write_some();
        scene.wait_until_known(before);
    }
    // Stopped, nobody holds the old file open: many file systems give the next one its inode.
    let log = scene.server_log();
    let mut pause = log.lock().expect("no panic while held");
    scene.wait_for(pause.written());
    scene.while_stopped(|scene| {
        fs::remove_file(scene.home.path(LOG)).expect("delete");
        // Only now does its writer let go of it.
        pause.reopen(&scene.home.path("logs/other"));
        pause.reopen(&scene.home.path(LOG));
    });
    drop(pause);
    scene.write_some();
    scene.finish();
}

#[test]
fn a_rotated_log_that_is_gzipped_is_read_once() {
    compressed("gz");
}

#[test]
fn a_rotated_log_that_is_compressed_by_zstd_is_read_once() {
    compressed("zst");
}

#[track_caller]
fn compressed(extension: &str) {
    let mut scene = Scene::new("logs/events.jsonl*");
    let rotate = |scene: &mut Scene, name: &str| {
        scene.rename(LOG, name);
        scene.write_some();
        scene.reopen(LOG);
        scene.write_some();
        scene.compress(name, &format!("{name}.{extension}"));
    };
    rotate(&mut scene, "logs/events.jsonl.1");
    scene.while_killed(|scene| rotate(scene, "logs/events.jsonl.2"));
    scene.wait_until_stored();
    // Known by what they hold, also under other names, and after a restart.
    for number in [2, 1] {
        let name = |number| format!("logs/events.jsonl.{number}.{extension}");
        scene.rename(&name(number), &name(number + 1));
    }
    scene.while_killed(|_| {});
    scene.finish();
}

/// Killed in between, and no glob leads to the compressed file.
#[test]
fn a_log_gzipped_out_of_the_globs_while_the_agent_was_down_loses_nothing() {
    let mut scene = Scene::new("logs/*.jsonl");
    scene.while_killed(|scene| {
        scene.rename(LOG, "logs/events-20260102");
        scene.write_some();
        scene.reopen(LOG);
        scene.compress("logs/events-20260102", "logs/events-20260102.gz");
    });
    scene.finish();
}

#[test]
fn a_log_cut_to_nothing_and_written_shorter_or_longer_is_read_from_its_start() {
    let mut scene = Scene::new("logs/*.jsonl");
    for lines in [1, 400] {
        let log = scene.server_log();
        let mut pause = log.lock().expect("no panic while held");
        scene.wait_for(pause.written());
        // In one go, so that the agent never sees it empty.
        let text: String = (0..lines).map(|_| pause.count_line()).collect();
        fs::write(scene.home.path(LOG), text).expect("write");
        drop(pause);
        scene.write_some();
    }
    scene.finish();
}

/// It may be another file that only starts alike: it is read from its start, and the ids tell what was known.
#[test]
fn a_log_cut_to_a_part_of_itself_counts_its_known_lines_as_duplicates() {
    let mut scene = Scene::new("logs/*.jsonl");
    let log = scene.server_log();
    let pause = log.lock().expect("no panic while held");
    scene.wait_for(pause.written());
    let length: usize = (0..10).map(|number| scene::line(number).len()).sum();
    let file = fs::File::options().write(true).open(scene.home.path(LOG));
    file.and_then(|file| file.set_len(length as u64))
        .expect("truncate");
    scene.expect_duplicates(10);
    drop(pause);
    scene.finish();
}

#[test]
fn a_link_that_is_switched_leads_to_the_new_log_and_the_old_one_is_read_to_its_end() {
    let mut scene = Scene::new("links/current");
    let switch = |scene: &mut Scene, to: &str| {
        scene.home.write(&format!("links/{to}"), "");
        let link = scene.home.path("links/next");
        std::os::unix::fs::symlink(to, &link).expect("a link");
        scene.rename("links/next", "links/current");
        // To the old one still, then to the new one.
        scene.write_some();
        scene.reopen(&format!("links/{to}"));
        scene.write_some();
        scene.wait_until_stored();
    };
    switch(&mut scene, "monday");
    switch(&mut scene, "tuesday");
    switch(&mut scene, "wednesday");
    scene.finish();
}

#[test]
fn a_new_log_in_a_new_folder_is_found() {
    let mut scene = Scene::new("logs/**/*.jsonl");
    for name in ["logs/a/events.jsonl", "logs/b/c/events.jsonl"] {
        scene.home.write(name, "");
        scene.reopen(name);
        scene.write_some();
        scene.wait_until_stored();
    }
    scene.while_killed(|scene| {
        scene.home.write("logs/d/events.jsonl", "");
        scene.reopen("logs/d/events.jsonl");
        scene.write_some();
    });
    scene.finish();
}

/// The editor loaded the file, its user added a line, and it saved to another file which it renamed over the log. What the
/// server wrote meanwhile would be lost by any editor, so it pauses.
#[test]
fn a_log_saved_by_an_editor_brings_only_the_added_line() {
    let mut scene = Scene::new("logs/*.jsonl");
    for is_down in [false, true] {
        let save = |scene: &mut Scene| {
            let log = scene.server_log();
            let mut pause = log.lock().expect("no panic while held");
            let mut text = fs::read(scene.home.path(LOG)).expect("a log");
            text.extend(pause.count_line().into_bytes());
            let mut file = fs::File::create(scene.home.path("logs/events.jsonl~")).expect("a file");
            file.write_all(&text).expect("write");
            scene.rename("logs/events.jsonl~", LOG);
            pause.reopen(&scene.home.path(LOG));
        };
        if is_down {
            scene.while_killed(save);
        } else {
            save(&mut scene);
        }
        scene.write_some();
    }
    scene.finish();
}

/// The log is emptied; its writer appends on.
fn truncate(scene: &Scene) {
    let file = fs::File::options().write(true).open(scene.home.path(LOG));
    file.and_then(|file| file.set_len(0)).expect("truncate");
}
