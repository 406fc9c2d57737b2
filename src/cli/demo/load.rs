//! The work of the simulated server: half of the cores really compute while it has its incident, so that the CPU figures are
//! measured and not made up.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Computing and resting take turns; a tenth of rest leaves the host usable.
const COMPUTES: Duration = Duration::from_millis(18);
const RESTS: Duration = Duration::from_millis(2);

/// How often an idle thread looks whether there is something to do.
const LOOKS: Duration = Duration::from_millis(20);

const IDLE: u8 = 0;
const BUSY: u8 = 1;
const OVER: u8 = 2;

/// The threads that compute. Dropped, they end by themselves.
#[derive(Debug)]
pub(super) struct Load(Arc<AtomicU8>);

impl Load {
    /// Starts half as many threads as there are cores, at least one.
    pub(super) fn start() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let load = Self(Arc::new(AtomicU8::new(IDLE)));
        for _ in 0..(cores / 2).max(1) {
            let state = Arc::clone(&load.0);
            let work = thread::Builder::new().name("model".to_owned());
            work.spawn(move || work_by(&state))?;
        }
        Ok(load)
    }

    pub(super) fn set_busy(&self, is_busy: bool) {
        self.0
            .store(if is_busy { BUSY } else { IDLE }, Ordering::Relaxed);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(OVER, Ordering::Relaxed);
    }
}

fn work_by(state: &AtomicU8) {
    loop {
        match state.load(Ordering::Relaxed) {
            IDLE => thread::sleep(LOOKS),
            BUSY => {
                let start = Instant::now();
                let mut number = 1_u64;
                while start.elapsed() < COMPUTES {
                    for _ in 0..1_000 {
                        number = black_box(number.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 1);
                    }
                }
                thread::sleep(RESTS);
            }
            _ => return,
        }
    }
}
