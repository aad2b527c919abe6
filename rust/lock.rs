// SPDX-License-Identifier: GPL-2.0

//! The zspage lock.

use crate::sys::atomic::{spin_loop, AtomicU32, Ordering};

/// Keeps the pages of one zspage in place while somebody has an object in them mapped.
///
/// | | reader: a mapping | writer: moves a page or an object |
/// |---|---|---|
/// | acquires | may spin while a writer is in; never sleeps to acquire | tries once |
/// | holds | may sleep, change CPU, be released by another task | preemption off, bounded |
/// | excludes | writers | readers and writers |
///
/// A reader leaves `preempt_count` as it found it. New readers are always admitted while there are
/// readers: no writer queues, so a preempted reader holds up nobody but writers, who go away and
/// come back.
///
/// One atomic read-modify-write operation acquires, and one releases.
///
/// The lock orders accesses to the pages' contents and to the zspage's page array: what a writer
/// did under it is seen by whoever holds it next. It takes no part in allocating and freeing slots,
/// which the class lock covers.
pub(crate) struct ZspageLock {
    /// The number of readers, or [`WRITER`], to which readers that arrive meanwhile may for a
    /// moment add.
    state: AtomicU32,
}

/// Set while a writer holds the lock.
const WRITER: u32 = 1 << 31;

impl ZspageLock {
    /// Makes a lock that nobody holds.
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
        }
    }

    /// Acquires the lock as a reader. Any task may give it back, by [`ZspageLock::read_unlock`].
    ///
    /// This pair, rather than a guard, is for the C boundary, where `map` acquires and `unmap`
    /// releases.
    #[inline]
    pub(crate) fn read_lock(&self) {
        // Acquire: what the last writer left in the pages and the page array is seen from here on.
        while self.state.fetch_add(1, Ordering::Acquire) & WRITER != 0 {
            self.wait_for_writer();
        }
    }

    /// Takes a reader's mark back and waits until the writer is out.
    ///
    /// The writer runs with preemption off, so it is on another CPU and not held up.
    #[cold]
    fn wait_for_writer(&self) {
        self.state.fetch_sub(1, Ordering::Relaxed);
        while self.state.load(Ordering::Relaxed) & WRITER != 0 {
            spin_loop();
        }
    }

    /// Releases the lock that a reader acquired, in this task or in another.
    #[inline]
    pub(crate) fn read_unlock(&self) {
        // Release: a writer that finds no reader sees all that this reader wrote.
        let before = self.state.fetch_sub(1, Ordering::Release);
        debug_assert!(before & !WRITER != 0);
    }

    /// Whether nobody holds the lock.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.load(Ordering::Acquire) == 0
    }
}
