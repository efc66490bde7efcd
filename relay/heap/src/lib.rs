//! Returns the heap's free memory to the operating system.
//!
//! glibc returns only free memory at the end of a heap by itself. A single small block behind megabytes of free ones
//! keeps them all, so memory that a burst needed would stay with the process for as long as it runs.

/// Returns every free page of the heap, wherever it lies; a later allocation gets it back from the system. Takes a few
/// milliseconds for each hundred megabytes, during which other threads wait that allocate. Does nothing without glibc.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::malloc_trim(0);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::ffi::c_int;

    #[expect(unsafe_code, reason = "the declaration is what this crate exists for")]
    // SAFETY: this is the declaration in glibc's `malloc.h`: `int malloc_trim (size_t __pad)`. Any argument and any thread may
    // call it at any time: it takes the heap's locks and touches only pages in which no byte is allocated.
    unsafe extern "C" {
        pub(super) safe fn malloc_trim(pad: usize) -> c_int;
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    /// Resident memory of this process, in pages.
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn free_memory_between_blocks_in_use_is_returned() {
        const BLOCKS: usize = 4096;
        let blocks: Vec<_> = (0..BLOCKS).map(|nth| vec![1_u8; 8192 + nth % 2]).collect();
        let full = resident();
        // The last one, and one in 64, keep the end of the heap and every megabyte in use.
        let kept: Vec<_> = blocks.into_iter().rev().step_by(64).collect();
        super::trim();
        let trimmed = resident();
        assert!(trimmed + BLOCKS < full, "{full} pages before, {trimmed} after");
        assert!(kept.iter().flatten().all(|byte| *byte == 1));
    }
}
