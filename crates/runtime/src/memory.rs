//! How this process asks the system for memory.

/// Keeps memory that was given back for the next run, instead of returning it to the system.
///
/// A network's values are large, and the usual allocator of Linux maps each one afresh and unmaps it after use. The
/// system then clears every page again on every run, which costs more than the convolutions of a small network do. A
/// choice of the whole process, so the program makes it, at its start. Without effect where the allocator has no such
/// setting.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// More than any value takes.
        const NEVER: libc::c_int = libc::c_int::MAX;
        /// The most that old versions of the library take.
        const OLD_LIMIT: libc::c_int = 32 << 20;
        let set = |what, value| {
            #[expect(unsafe_code, reason = "a setting of the C library")]
            // SAFETY: takes two numbers and no address; the allocator locks itself.
            unsafe {
                libc::mallopt(what, value) == 1
            }
        };
        let _ = set(libc::M_MMAP_THRESHOLD, NEVER) || set(libc::M_MMAP_THRESHOLD, OLD_LIMIT);
        set(libc::M_TRIM_THRESHOLD, NEVER);
        // One place for all threads: what one gave back another finds, and only this place grows without a limit.
        set(libc::M_ARENA_MAX, 1);
    }
}
