// SPDX-License-Identifier: GPL-2.0

//! What the lock promises, each as a model that fails where it is not kept.
//!
//! The cells are loom's: it fails a model in which two threads could access one at the same time,
//! unless both read.

use crate::{lock::ZspageLock, sys::lockdep::LockMap};
use loom::{
    cell::UnsafeCell,
    thread::{self, JoinHandle},
};
use std::rc::Rc;

/// All of them.
pub(crate) const MODELS: &[(&str, fn())] = &[
    ("readers_share", readers_share),
    ("reader_and_writer_exclude", reader_and_writer_exclude),
    ("one_writer_wins", one_writer_wins),
    ("any_thread_releases", any_thread_releases),
    ("migration_is_seen", migration_is_seen),
    ("writes_of_readers_are_seen", writes_of_readers_are_seen),
    ("no_mark_is_lost", no_mark_is_lost),
];

/// A zspage of one page, which migrates from frame 0 to frame 1, with two slots.
///
/// It is shared as `Rc`, because loom's threads take turns on one real thread.
struct Zspage {
    lock: ZspageLock,
    /// The page array.
    frame: UnsafeCell<usize>,
    frames: [[UnsafeCell<u32>; 2]; 2],
}

/// What whoever gets a frame next leaves in it.
const POISON: u32 = 0xaa;

impl Zspage {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            lock: ZspageLock::new(LockMap),
            frame: UnsafeCell::new(0),
            frames: Default::default(),
        })
    }

    /// Reads a slot. The caller holds the lock.
    fn read(&self, slot: usize) -> u32 {
        // SAFETY: loom checks that nobody writes meanwhile.
        self.frames[self.frame()][slot].with(|content| unsafe { *content })
    }

    /// Writes a slot, which belongs to the caller. The caller holds the lock.
    fn write(&self, slot: usize, content: u32) {
        self.set(self.frame(), slot, content);
    }

    /// Moves the page to frame 1, and gives frame 0 away. The caller holds the lock as a writer.
    fn migrate(&self) {
        for slot in 0..2 {
            self.set(1, slot, self.read(slot));
        }
        // SAFETY: loom checks that nobody reads meanwhile.
        self.frame.with_mut(|frame| unsafe { *frame = 1 });
        for slot in 0..2 {
            self.set(0, slot, POISON);
        }
    }

    fn frame(&self) -> usize {
        // SAFETY: loom checks that nobody writes meanwhile.
        self.frame.with(|frame| unsafe { *frame })
    }

    fn set(&self, frame: usize, slot: usize, content: u32) {
        // SAFETY: loom checks that nobody accesses it meanwhile.
        self.frames[frame][slot].with_mut(|to| unsafe { *to = content });
    }

    /// Maps, reads and unmaps a slot.
    fn mapped_read(&self, slot: usize) -> u32 {
        let _reader = self.lock.read();
        self.read(slot)
    }

    /// Maps, writes and unmaps a slot.
    fn mapped_write(&self, slot: usize, content: u32) {
        self.lock.read_lock();
        self.write(slot, content);
        self.lock.read_unlock();
    }

    /// Fails if a mark is left, or too many were taken away.
    fn assert_idle(&self) {
        assert!(self.lock.try_write().is_some());
    }

    /// Tries to migrate the page.
    fn try_migrate(&self) -> bool {
        let guard = self.lock.try_write();
        if guard.is_some() {
            self.migrate();
        }
        guard.is_some()
    }
}

/// Runs `body` on a thread of its own.
fn spawn<T: 'static>(
    zspage: &Rc<Zspage>,
    body: impl FnOnce(&Zspage) -> T + 'static,
) -> JoinHandle<T> {
    let zspage = zspage.clone();
    thread::spawn(move || body(&zspage))
}

/// Catches a reader that waits for readers, and a count that loses one when two come or go at once.
#[test]
fn readers_share() {
    loom::model(|| {
        let zspage = Zspage::new();
        zspage.lock.read_lock();
        let others = [0, 1].map(|slot| spawn(&zspage, move |zspage| zspage.mapped_read(slot)));
        for other in others {
            other.join().unwrap();
        }
        assert!(zspage.lock.try_write().is_none());
        zspage.lock.read_unlock();
        zspage.assert_idle();
    });
}

/// Catches a writer that comes in while a reader is, and a reader that does not wait for a writer.
#[test]
fn reader_and_writer_exclude() {
    loom::model(|| {
        let zspage = Zspage::new();
        let writer = spawn(&zspage, |zspage| zspage.try_migrate());
        assert_eq!(zspage.mapped_read(0), 0);
        writer.join().unwrap();
        zspage.assert_idle();
    });
}

/// Catches two writers in at once, and writers who all give way to each other.
#[test]
fn one_writer_wins() {
    loom::model(|| {
        let zspage = Zspage::new();
        let try_count = |zspage: &Zspage| {
            let guard = zspage.lock.try_write();
            if guard.is_some() {
                zspage.write(0, zspage.read(0) + 1);
            }
            u32::from(guard.is_some())
        };
        let other = spawn(&zspage, try_count);
        let won = try_count(&zspage) + other.join().unwrap();
        assert!(won >= 1);
        assert_eq!(zspage.mapped_read(0), won);
    });
}

/// Catches a lock that only the thread that acquired it can release, or that does not order what
/// was read before against the writer when another releases it.
#[test]
fn any_thread_releases() {
    loom::model(|| {
        let zspage = Zspage::new();
        let writer = spawn(&zspage, |zspage| zspage.try_migrate());
        zspage.lock.read_lock();
        assert_eq!(zspage.read(0), 0);
        let other = spawn(&zspage, |zspage| zspage.lock.read_unlock());
        other.join().unwrap();
        writer.join().unwrap();
        zspage.assert_idle();
    });
}

/// Catches a reader that finds the old page, or the new one before its contents.
#[test]
fn migration_is_seen() {
    loom::model(|| {
        let zspage = Zspage::new();
        zspage.mapped_write(0, 1);
        let writer = spawn(&zspage, |zspage| zspage.try_migrate());
        zspage.lock.read_lock();
        assert_eq!(zspage.read(0), 1);
        let frame = zspage.frame();
        zspage.lock.read_unlock();
        let migrated = writer.join().unwrap();
        assert!(migrated || frame == 0);
    });
}

/// Catches a writer that sees what the last reader wrote but not what those before it did.
#[test]
fn writes_of_readers_are_seen() {
    loom::model(|| {
        let zspage = Zspage::new();
        let readers = [0, 1].map(|slot| {
            zspage.lock.read_lock();
            spawn(&zspage, move |zspage| {
                zspage.write(slot, 1);
                zspage.lock.read_unlock();
            })
        });
        zspage.try_migrate();
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!([0, 1].map(|slot| zspage.mapped_read(slot)), [1, 1]);
    });
}

/// Catches a reader's mark that gets lost, or stays, when the reader has to wait, and a writer that
/// comes in over it.
#[test]
fn no_mark_is_lost() {
    loom::model(|| {
        let zspage = Zspage::new();
        let guard = zspage.lock.try_write();
        let reader = spawn(&zspage, |zspage| zspage.mapped_read(0));
        let writer = spawn(&zspage, |zspage| zspage.try_migrate());
        zspage.migrate();
        drop(guard);
        assert_eq!(reader.join().unwrap(), 0);
        writer.join().unwrap();
        zspage.assert_idle();
    });
}
