//! A shipper under way, and all that a test wants to know of it.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::{Path, PathBuf};

use super::super::*;
use super::cluster::{Cluster, documents};

pub(super) const SETTINGS: Settings = Settings {
    bulk_bytes: 400,
    flush_after: Duration::from_secs(1),
    requests_max: 2,
    spool_bytes_max: 0,
};

/// A shipper under way, and what the test holds of it.
pub(super) struct Rig {
    pub(super) folder: tempfile::TempDir,
    pub(super) cargo: mpsc::Sender<Cargo>,
    pub(super) cluster: Cluster,
    pub(super) progress: Arc<Progress>,
    pub(super) heard: mpsc::Receiver<Checkpoint>,
    run: tokio::task::JoinHandle<Result<Ending, Error>>,
}

/// Starts one that ends by itself.
pub(super) fn start(cluster: &Cluster) -> Rig {
    start_until(cluster, pending())
}

pub(super) fn start_until(
    cluster: &Cluster,
    deadline: impl Future<Output = ()> + Send + 'static,
) -> Rig {
    start_with(cluster, deadline, 1 << 20)
}

pub(super) fn outlets(
    cluster: &Cluster,
    folder: &Path,
    dead_letter_bytes: u64,
) -> Outlets<Cluster> {
    let output = write::Settings {
        path: folder.join("out"),
    };
    let letters = dead_letters::Settings {
        bytes_max: dead_letter_bytes,
    };
    Outlets {
        elastic: Some(cluster.clone()),
        files: Some(write::Output::open(&output).unwrap()),
        dead_letters: dead_letters::DeadLetters::new(&data(folder), letters),
        checkpoints: checkpoint::Store::open(&data(folder)).unwrap(),
        spool: None,
        outbox: None,
        operations: None,
    }
}

pub(super) fn start_with(
    cluster: &Cluster,
    deadline: impl Future<Output = ()> + Send + 'static,
    dead_letter_bytes: u64,
) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let outlets = outlets(cluster, folder.path(), dead_letter_bytes);
    start_on(folder, outlets, deadline)
}

pub(super) fn start_on(
    folder: tempfile::TempDir,
    outlets: Outlets<Cluster>,
    deadline: impl Future<Output = ()> + Send + 'static,
) -> Rig {
    let cluster = outlets.elastic.clone().unwrap_or_default();
    let (cargo, receiver) = mpsc::channel(2);
    let (tell, heard) = mpsc::channel(100);
    let progress = Arc::new(Progress::default());
    let on_checkpoint = move |checkpoint: &Checkpoint| tell.try_send(checkpoint.clone()).unwrap();
    let run = run(
        SETTINGS,
        outlets,
        receiver,
        progress.clone(),
        on_checkpoint,
        deadline,
    );
    Rig {
        folder,
        cargo,
        cluster,
        progress,
        heard,
        run: tokio::spawn(run),
    }
}

pub(super) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

impl Rig {
    pub(super) async fn send(&self, ids: impl IntoIterator<Item = u64>) {
        let cargo = Cargo::Documents(documents(ids), Share::default());
        self.cargo.send(cargo).await.unwrap();
    }

    pub(super) async fn barrier(&self, number: u8) {
        let cargo = Cargo::Barrier(checkpoint(number));
        self.cargo.send(cargo).await.unwrap();
    }

    /// Closes cargo and waits for the end.
    pub(super) async fn finish(self) -> Ended {
        drop(self.cargo);
        let ending = self.run.await.unwrap().unwrap();
        let totals = self.progress.totals();
        let mut refused: Vec<_> = dead_letters::files(&data(self.folder.path()))
            .unwrap()
            .iter()
            .flat_map(|path| dead_letters::read(path).unwrap())
            .map(|line| line.unwrap().entry.unwrap().letter.origin)
            .collect();
        refused.sort();
        let saved = loop {
            // The thread lets go of the folder a moment after it reports its end.
            match checkpoint::Store::open(&data(self.folder.path())) {
                Ok(store) => break store.load().unwrap(),
                Err(_) => std::thread::yield_now(),
            }
        };
        Ended {
            ending,
            totals,
            refused,
            saved,
            folder: self.folder,
        }
    }
}

pub(super) struct Ended {
    pub(super) ending: Ending,
    pub(super) totals: Totals,
    pub(super) refused: Vec<String>,
    pub(super) saved: Option<Checkpoint>,
    pub(super) folder: tempfile::TempDir,
}

pub(super) fn checkpoint(number: u8) -> Checkpoint {
    Checkpoint {
        heads: BTreeMap::new(),
        state: vec![number],
        ..Checkpoint::default()
    }
}
