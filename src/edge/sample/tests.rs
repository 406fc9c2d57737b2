//! This very machine and this very process, sampled for real.

use std::time::Duration;

use super::*;
use crate::flow::host::{Metric, Reading};

/// Generous: nothing here takes a second on a machine at rest.
const DEADLINE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn this_machine_and_this_process_are_plausible() {
    let settings = Settings {
        every: Duration::from_secs(1),
        lapse: None,
        process: Some(ProcessSelector::Pid(std::process::id())),
    };
    let snapshots = collect(settings, 2).await;
    for snapshot in &snapshots {
        for metric in Metric::all().filter(|metric| metric.path().ends_with("norm.pct")) {
            if let Some(share) = snapshot.get(metric).and_then(Reading::number) {
                assert!((0.0..=1.0).contains(&share), "{} {share}", metric.path());
            }
        }
        assert!(number(snapshot, Metric::CpuCores) >= 1.0);
        assert!((0.0..=1.0).contains(&number(snapshot, Metric::CpuTotal)));
        assert!((0.0..=1.0).contains(&number(snapshot, Metric::ProcessCpu)));
        assert!((0.0..=1.0).contains(&number(snapshot, Metric::MemoryUsed)));
        assert!((0.0..=1.0).contains(&number(snapshot, Metric::FilesystemUsed)));
        let used = number(snapshot, Metric::MemoryUsedBytes);
        assert!(used > 0.0 && used <= number(snapshot, Metric::MemoryTotal));
        assert!(number(snapshot, Metric::ProcessRss) > 0.0);
        assert!(number(snapshot, Metric::ProcessThreads) >= 1.0);
        assert!(number(snapshot, Metric::ProcessOpenFiles) >= 3.0);
        assert!(number(snapshot, Metric::Load1) >= 0.0);
    }
    let times: Vec<_> = snapshots.iter().map(|snapshot| snapshot.time).collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// Of a child, whose files do not change meanwhile as this process's do.
#[test]
fn open_files_and_their_limit_are_those_in_proc() {
    let mut child = child();
    let snapshot = Sampler::new(Some(ProcessSelector::Pid(child.id()))).take();
    let files = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    let files = files.count();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    end(&mut child);

    assert_eq!(count(&snapshot, Metric::ProcessOpenFiles), files as u64);
    assert_eq!(count(&snapshot, Metric::ProcessThreads), 1);
    let limit = limits.lines().find(|line| line.contains("open files"));
    let soft = limit.unwrap().split_ascii_whitespace().nth(3).unwrap();
    let found = snapshot.get(Metric::ProcessOpenFilesLimit);
    assert_eq!(found.and_then(Reading::number), soft.parse().ok());
}

#[test]
fn a_restart_is_another_process_and_a_lost_one_has_no_figures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pid");
    let mut sampler = Sampler::new(Some(ProcessSelector::PidFile(path.clone())));
    assert_absent(&sampler.take());

    let mut first = child();
    std::fs::write(&path, format!("{}\n", first.id())).unwrap();
    let seen = sampler.take();
    assert_eq!(pid(&seen), first.id());
    assert_eq!(seen.get(Metric::ProcessName), Some(&Reading::from("cat")));
    assert_eq!(seen.get(Metric::ProcessCpu), None); // seen once: no time between
    assert!(sampler.take().get(Metric::ProcessCpu).is_some());

    // Dead, but nobody has waited for it: a zombie is no server.
    first.kill().unwrap();
    let status = format!("/proc/{}/status", first.id());
    while !std::fs::read_to_string(&status)
        .unwrap()
        .contains("State:\tZ")
    {
        std::thread::yield_now();
    }
    assert_absent(&sampler.take());

    let mut second = child();
    std::fs::write(&path, second.id().to_string()).unwrap();
    let seen = sampler.take();
    assert_eq!(pid(&seen), second.id());
    assert_eq!(seen.get(Metric::ProcessCpu), None);

    end(&mut first);
    end(&mut second);
    assert_absent(&sampler.take());
}

#[test]
fn of_several_with_one_name_the_oldest_is_meant() {
    // A name of this test's own, of more than the 15 bytes that Linux keeps.
    let name = format!("mb{}-of-several-one", std::process::id());
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(&name);
    std::os::unix::fs::symlink("/bin/cat", &program).unwrap();
    let mut first = spawn(&program);
    let mut second = spawn(&program);
    let mut sampler = Sampler::new(Some(ProcessSelector::Name(name)));
    assert_eq!(pid(&sampler.take()), first.id());
    end(&mut first);
    assert_eq!(pid(&sampler.take()), second.id());
    end(&mut second);
    assert_absent(&sampler.take());
}

#[tokio::test]
async fn it_stops_when_told_and_when_nobody_listens() {
    let settings = Settings {
        every: Duration::from_hours(1),
        lapse: None,
        process: None,
    };
    let (out, _inbox) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(run(settings.clone(), out, Arc::default(), stopped));
    stop.send(true).unwrap();
    time::timeout(DEADLINE, running).await.unwrap().unwrap();

    let (out, inbox) = mpsc::channel(1);
    drop(inbox);
    let (_stop, stopped) = watch::channel(false);
    let running = tokio::spawn(run(settings, out, Arc::default(), stopped));
    time::timeout(DEADLINE, running).await.unwrap().unwrap();
}

async fn collect(settings: Settings, count: usize) -> Vec<HostSnapshot> {
    let (out, mut inbox) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(run(settings, out, Arc::default(), stopped));
    let mut snapshots = Vec::new();
    while snapshots.len() < count {
        match time::timeout(DEADLINE, inbox.recv()).await.unwrap() {
            Some(Intake::Host(snapshot)) => snapshots.push(snapshot),
            other => panic!("{other:?}"),
        }
    }
    stop.send(true).unwrap();
    time::timeout(DEADLINE, running).await.unwrap().unwrap();
    snapshots
}

/// A process that does nothing until its standard input ends.
fn child() -> std::process::Child {
    spawn(std::path::Path::new("/bin/cat"))
}

/// Once `spawn` returns, the child has become the program: it waits for exec.
fn spawn(program: &std::path::Path) -> std::process::Child {
    let mut command = std::process::Command::new(program);
    command.stdin(std::process::Stdio::piped()).spawn().unwrap()
}

fn end(child: &mut std::process::Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[track_caller]
fn number(snapshot: &HostSnapshot, metric: Metric) -> f64 {
    let reading = snapshot.get(metric).and_then(Reading::number);
    reading.unwrap_or_else(|| panic!("{} is absent", metric.path()))
}

#[track_caller]
fn count(snapshot: &HostSnapshot, metric: Metric) -> u64 {
    match snapshot.get(metric) {
        Some(Reading::Integer(number)) => *number,
        other => panic!("{}: {other:?}", metric.path()),
    }
}

#[track_caller]
fn pid(snapshot: &HostSnapshot) -> u32 {
    count(snapshot, Metric::ProcessPid).try_into().unwrap()
}

#[track_caller]
fn assert_absent(snapshot: &HostSnapshot) {
    for metric in Metric::all().filter(|metric| metric.path().contains("process.")) {
        assert_eq!(snapshot.get(metric), None, "{}", metric.path());
    }
}
