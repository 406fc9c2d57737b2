//! How the C library's allocator gives memory back, which can be said to a program only before it starts.
//!
//! glibc takes buffers beyond a threshold from the kernel, and gives them back when they are freed. With each that is freed it
//! raises the threshold to that size, up to 32 MiB, and lets every thread's arena keep twice as much at its end. An agent's
//! buffers are of some mebibytes, filled by one thread and freed by another: what was freed and not given back came to a third of
//! its memory. A threshold that is set stays. It is set by the environment, which is read when a program starts: so this one
//! starts once more in its own place, as the same process, before it has done anything.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What glibc reads.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Larger buffers come from the kernel and go back to it. Those that come and go with each batch are kept for reuse by us.
const THRESHOLD: &str = "glibc.malloc.mmap_threshold=262144";

/// That this was done: a program with privileges of its own is not given the other variable, and would start for ever.
const DONE: &str = "MODELBEAT_ALLOCATOR_IS_SET";

/// Starts the program anew, if that is of use and was not done. It is a matter of memory only: what fails is let be.
pub(super) fn settle() {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    if !cfg!(target_env = "gnu") || is_set(TUNABLES) || is_set(DONE) {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let mut again = Command::new(&program);
    again
        .arg0(name.as_deref().unwrap_or(OsStr::new("modelbeat")))
        .args(arguments)
        .env(TUNABLES, THRESHOLD)
        .env(DONE, "1");
    // It returns only if it failed.
    drop(again.exec());
}
