// SPDX-License-Identifier: GPL-2.0

//! The zspage lock.
//!
//! It follows from two discussions on linux-mm: that of December 2020, in which a mapping that held
//! a bit spinlock turned out to sleep in atomic context, and that of February 2025, which asked for
//! readers that may sleep and writers that only try, with lockdep.

use crate::sys::{
    atomic::{spin_loop, AtomicU32, Ordering},
    lockdep::LockMap,
    preempt::PreemptionOff,
};

/// Keeps the pages of one zspage in place while somebody has an object in them mapped.
///
/// | | reader: a mapping | writer: moves a page or an object |
/// |---|---|---|
/// | acquires | may spin while a writer is in; never sleeps to acquire | tries once |
/// | holds | may sleep, change CPU, be released by another task | preemption off, bounded |
/// | excludes | writers | readers and writers |
/// | may take meanwhile | anything | nothing that sleeps |
///
/// A reader leaves `preempt_count` as it found it; a writer adds 1 while it is in, however many
/// objects it moves. New readers are always admitted while there are readers: no writer queues, so
/// a preempted reader holds up nobody but writers, who go away and come back. A reader waits for a
/// writer at most as long as the writer copies: one page.
///
/// One atomic read-modify-write operation acquires, and one releases, for readers and writers.
///
/// The lock orders accesses to the pages' contents and to the zspage's page array: what a writer
/// did under it is seen by whoever holds it next. It takes no part in allocating and freeing slots,
/// which the class lock covers. It does not keep the zspage alive: an object in use does, or the
/// page lock of one of its movable pages.
///
/// # Why not one of the kernel's
///
/// - `rw_semaphore`: 40 bytes for each zspage, and a writer that sleeps. A try-only writer uses none
///   of what makes it large.
/// - `rwlock_t`, and any spinlock: their readers may not be preempted, and on PREEMPT_RT they must
///   be released by the task that took them.
/// - `bit_spin_lock`: as those, without lockdep, and one for each object overflowed `preempt_count`.
/// - `percpu_rw_semaphore`: a per-CPU counter for each zspage.
/// - RCU, SRCU: a grace period tells that all old readers are gone, not that there is none: they
///   would have to be waited for, and a page cannot move while somebody writes into it.
pub(crate) struct ZspageLock {
    /// The number of readers, or [`WRITER`], to which readers that arrive meanwhile may for a
    /// moment add.
    state: AtomicU32,
    dep: LockMap,
}

/// Set while a writer holds the lock.
const WRITER: u32 = 1 << 31;

impl ZspageLock {
    /// Makes a lock that nobody holds, and that lockdep counts among those of `dep`.
    pub(crate) fn new(dep: LockMap) -> Self {
        Self {
            state: AtomicU32::new(0),
            dep,
        }
    }

    /// Acquires the lock as a reader. Any task may give it back, by [`ZspageLock::read_unlock`].
    ///
    /// This pair is for the C boundary, where `map` acquires and `unmap` releases; everybody else
    /// uses [`ZspageLock::read`].
    #[inline]
    pub(crate) fn read_lock(&self) {
        let acquiring = self.dep.acquire_read();
        // Acquire: what the last writer left in the pages and the page array is seen from here on.
        while self.state.fetch_add(1, Ordering::Acquire) & WRITER != 0 {
            acquiring.contended();
            self.wait_for_writer();
        }
        acquiring.acquired();
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

    /// Acquires the lock as a reader, as long as the guard lives.
    pub(crate) fn read(&self) -> ReadGuard<'_> {
        self.read_lock();
        ReadGuard { lock: self }
    }

    /// Acquires the lock as a writer, unless somebody holds it.
    pub(crate) fn try_write(&self) -> Option<WriteGuard<'_>> {
        let preemption_off = PreemptionOff::new();
        // Acquire: what readers wrote into the pages is seen from here on. The chain of their
        // releases carries all of them.
        self.state
            .compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        self.dep.write_acquired();
        Some(WriteGuard {
            lock: self,
            _preemption_off: preemption_off,
        })
    }

    /// Whether a reader holds the lock.
    pub(crate) fn has_readers(&self) -> bool {
        self.state.load(Ordering::Relaxed) & !WRITER != 0
    }
}

/// Shows that a [`ZspageLock`] is held by a reader.
#[must_use = "the lock is released when the guard goes"]
pub(crate) struct ReadGuard<'a> {
    lock: &'a ZspageLock,
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        self.lock.read_unlock();
    }
}

/// Shows that this task holds a [`ZspageLock`] as a writer, with preemption off.
#[must_use = "the lock is released when the guard goes"]
pub(crate) struct WriteGuard<'a> {
    lock: &'a ZspageLock,
    /// Dropped after the lock is released: a writer is never preempted.
    _preemption_off: PreemptionOff,
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        self.lock.dep.write_released();
        // Release: who acquires next sees what this writer moved. A reader that is about to take
        // its mark back is left its mark.
        self.lock.state.fetch_and(!WRITER, Ordering::Release);
    }
}
