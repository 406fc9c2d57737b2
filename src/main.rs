//! The program: parse the command line, hand over, exit code (0 ok, 1 failed, 2 wrong usage).

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    allocator::settle();
    modelbeat::cli::main()
}

/// How glibc's allocator keeps what was freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod allocator {
    /// Larger blocks are mapped on their own and given back when they are freed. Left alone, glibc raises this up to 32 MiB as
    /// such blocks are freed, and the holes they leave between small ones stay with the process: a third of its peak.
    /// What is larger than this and comes often is kept by ourselves (`flow::pool`).
    const MMAP_BYTES: libc::c_int = 1 << 20;

    /// Free bytes at the end of the heap beyond which they are given back: at the usual 128 KiB, what the next batch needs again
    /// would come and go with each.
    const TRIM_BYTES: libc::c_int = 4 << 20;

    /// Sets both, unless whoever started us has tuned the allocator.
    #[expect(unsafe_code, reason = "the only way to tell glibc; see the proof")]
    pub(super) fn settle() {
        if std::env::var_os("GLIBC_TUNABLES").is_some() {
            return;
        }
        for (parameter, value) in [
            (libc::M_MMAP_THRESHOLD, MMAP_BYTES),
            (libc::M_TRIM_THRESHOLD, TRIM_BYTES),
        ] {
            // SAFETY: mallopt takes two integers by value, no pointer, and refuses those it does not know by returning 0. It is
            // not safe beside other threads (mallopt(3), "MT-Unsafe init"), and there are none: `main` calls this first, and
            // nothing before `main` starts a thread.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}
