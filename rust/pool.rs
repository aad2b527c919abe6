// SPDX-License-Identifier: GPL-2.0

//! The pool: what zswap stores its compressed pages in.
//!
//! # Locks
//!
//! `malloc` and `free` take one class lock at a time. `map` takes a zspage's lock as a reader and
//! keeps it, two of them for an object that compaction has moved; whoever has a mapping may take
//! any other lock. Page migration tries a zspage's lock as a writer and takes no other. Compaction
//! takes one or two class locks, of the smaller objects first, and tries the locks of up to three
//! zspages as a writer. So what waits for a class lock waits for the copy of one object at most,
//! and what waits for a zspage's lock for the copy of one object or page, during which preemption
//! is off.
//!
//! An object that compaction has moved is freed in two steps, each under the class lock of one of
//! the two zspages. From the first to the last, its home is locked as a reader, so the object is
//! not moved again.

use crate::{
    backend::{Backend, MapMode},
    bounce::{free_buffer, BounceBuffers, Buffer, Ended},
    class::{Class, Freed},
    compaction::{Compactor, Limit, Scope},
    core::{
        handle::Handle,
        size_class::{SlotRange, BUCKETS, MAX_PAGES},
    },
    error::Error,
    lock::ZspageLock,
    sys::{
        atomic::{AtomicU16, AtomicU64, AtomicU8, Ordering},
        c_str,
        debugfs::{WriteOnlyFile, Written},
        gfp::Gfp,
        init::{pin_data, pin_init_array_from_fn, try_pin_init, PinInit},
        list::{List, ObjRef},
        lockdep::OwnedLockMap,
        memory::copy,
        movable,
        page::{self, DirectMap, PAGE_SIZE},
        parameters::populous_pages,
        preempt::reschedule,
        report,
        shrinker::{Shrink, Shrinker},
        spinlock::{lock_class, SpinLock},
        work::{DeferredWork, HasDeferredWork},
        CStr,
    },
    zspage::{DescriptorCaches, Tag, Zspage, CLASSES, CLASS_TABLE},
};
use core::{array, mem::offset_of, ptr};

/// A pool.
///
/// What all calls read and nobody writes shares no cache line with what is written.
#[pin_data]
#[repr(C)]
pub(crate) struct Pool {
    #[pin]
    classes: [Class; CLASSES],
    /// The index of the class that objects of each bucket go to, see [`Pool::class_for_growth`].
    class_of: [AtomicU8; BUCKETS],
    tag: Tag,
    direct_map: DirectMap,
    descriptors: DescriptorCaches,
    #[pin]
    zspage_locks: OwnedLockMap,
    pub(crate) compactor: Compactor,
    /// Pages of all zspages.
    pages: AtomicU64,
    #[pin]
    bounce: SpinLock<BounceBuffers>,
    /// Zspages without objects that still have pages.
    #[pin]
    emptied: SpinLock<List<Zspage>>,
    /// Gives back what is in `emptied`, and compacts.
    #[pin]
    work: DeferredWork<Pool>,
    shrinker: Shrinker<Pool>,
    /// The file `compact` of the pool's directory in debugfs.
    compact_file: WriteOnlyFile<Pool>,
}

/// A class with fewer zspages makes use of the free slots of the next classes before it gets
/// another zspage: the room that this one would have unused is more than what too large slots
/// waste.
pub(crate) const FEW_ZSPAGES: usize = 3;

/// How many of the next classes.
pub(crate) const NEXT_CLASSES: usize = 3;

/// The name of the file through which an administrator has a pool compacted.
const COMPACT_FILE: &CStr = c_str!("compact");

/// The interval at which waste is looked for in a pool that is in use, in milliseconds.
const TICK: u32 = 20;

// SAFETY: That is where the work is, and `close` disables it before anything of the pool goes.
unsafe impl HasDeferredWork for Pool {
    const WORK_OFFSET: usize = offset_of!(Pool, work);

    fn run(&self) {
        self.tick();
        self.release_emptied();
    }
}

impl Shrink for Pool {
    fn count(&self) -> usize {
        let gain = self.gain();
        self.kept_pages() + gain.within + gain.across
    }

    fn scan(&self, pages: usize) -> Option<usize> {
        let kept = self.release_kept();
        if kept >= pages {
            return Some(kept);
        }
        let limit = Limit {
            pages: pages - kept,
            ..Limit::NONE
        };
        Some(kept + self.compact(Scope::LargerClasses, limit)?.pages)
    }
}

impl Written for Pool {
    fn written(&self) {
        self.release_kept();
        let _ = self.compact(Scope::LargerClasses, Limit::NONE);
    }
}

impl Backend for Pool {
    const TYPE: &'static CStr = c_str!("rsmalloc");
    const SLEEP_MAPPED: bool = true;
    const SUPPORTS_MOVABLE: bool = movable::SUPPORTED;

    fn new(name: &CStr) -> impl PinInit<Self, Error> {
        static POOLS_MADE: AtomicU16 = AtomicU16::new(0);
        let pool_number = POOLS_MADE.fetch_add(1, Ordering::Relaxed);
        // The kernel may ask for compaction as soon as there is a way to ask: that comes last.
        try_pin_init!(&this in Self {
            class_of: array::from_fn(|bucket| {
                AtomicU8::new(CLASS_TABLE.choice(bucket as u8).coarse)
            }),
            tag: Tag::new(pool_number),
            direct_map: DirectMap::new().ok_or(Error::NoMemory)?,
            pages: AtomicU64::new(0),
            descriptors: DescriptorCaches::new(pool_number).ok_or(Error::NoMemory)?,
            zspage_locks <- OwnedLockMap::new(c_str!("rsmalloc_zspage")),
            classes <- pin_init_array_from_fn(|_| Class::new()),
            bounce <- SpinLock::new(
                BounceBuffers::with_reserve(page::possible_cpus())?,
                lock_class!("rsmalloc_bounce"),
            ),
            emptied <- SpinLock::new(List::new(), lock_class!("rsmalloc_emptied")),
            compactor: Compactor::new(),
            work <- DeferredWork::new(),
            // SAFETY: The pool is complete but for the next field, which `scan` does not use; it is
            // pinned, and `close` stops the shrinker first.
            shrinker: unsafe { Shrinker::new(name, this) }.ok_or(Error::NoMemory)?,
            // SAFETY: The pool is complete, it is pinned, and `close` removes the file first.
            compact_file: unsafe { WriteOnlyFile::new(name, COMPACT_FILE, this) },
        }? Error)
    }

    fn close(&self) -> bool {
        self.shrinker.stop();
        self.compact_file.remove();
        // From here on nothing is put off any more: what is left is done below.
        self.work.disable();
        self.release_kept();
        self.release_emptied();
        if cfg!(debug_assertions) {
            self.validate();
        }
        // Of an object that was left, or that was freed while it was mapped. The kernel may move
        // its pages at any time, which leads here; there is no list by which to find them.
        let has_pages = self.pages() != 0;
        if has_pages {
            report::warn(c_str!("a pool is destroyed with objects in it"), 0);
        }
        !has_pages
    }

    #[inline]
    fn malloc(&self, size: usize, gfp: Gfp) -> Result<Handle, Error> {
        let bucket = CLASS_TABLE.bucket(size).ok_or(match size {
            0 => Error::EmptyObject,
            _ => Error::ObjectTooLarge,
        })?;
        match self.class(self.class_of(bucket)).take_slot() {
            Some(handle) => Ok(handle),
            None => self.malloc_elsewhere(bucket, gfp),
        }
    }

    #[inline]
    unsafe fn free(&self, handle: Handle) {
        // SAFETY: The caller promises that the handle is valid.
        let zspage = unsafe { Zspage::of(handle) };
        // SAFETY: A zspage's class is one of those that there are.
        let class = unsafe { self.classes.get_unchecked(zspage.class() as usize) };
        let mut partial = class.lock();
        let freed = partial.put_slot(self.tag, zspage, handle.slot());
        drop(partial);
        if freed != Freed::InUse {
            // SAFETY: It is.
            unsafe { self.after_free(handle, freed) };
        }
    }

    #[inline]
    unsafe fn map(&self, handle: Handle, mode: MapMode) -> *mut u8 {
        // SAFETY: The caller promises that the handle is valid.
        let zspage = unsafe { Zspage::of(handle) };
        zspage.lock().read_lock();
        if zspage.is_plain(self.tag) {
            let start = zspage.geometry().start(handle.slot());
            self.direct_map
                .address(zspage.first_pfn())
                .wrapping_add(start)
        } else {
            self.map_special(zspage, handle, mode)
        }
    }

    #[inline]
    unsafe fn unmap(&self, handle: Handle) {
        // SAFETY: The caller promises that the handle is valid.
        let zspage = unsafe { Zspage::of(handle) };
        if zspage.is_plain(self.tag) {
            zspage.lock().read_unlock();
        } else {
            self.unmap_special(zspage, handle);
        }
    }

    #[inline]
    fn total_pages(&self) -> u64 {
        self.pages() + self.bookkeeping_pages()
    }
}

impl Pool {
    /// Walks all that can be reached from here, and panics at the first invariant that does not
    /// hold.
    pub(crate) fn validate(&self) {
        for (index, class) in self.classes.iter().enumerate() {
            class.validate(self.tag, |zspage| {
                assert_eq!(zspage.class() as usize, index);
                zspage.validate_guests();
            });
        }
    }

    /// Pages of all zspages.
    #[inline]
    pub(crate) fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// The class with index `index`.
    #[inline]
    pub(crate) fn class(&self, index: u8) -> &Class {
        &self.classes[index as usize]
    }

    /// Has the pool's work done in a while.
    pub(crate) fn schedule_tick(&self) {
        self.work.schedule_after(TICK);
    }

    /// Pages of the zspages that are kept without objects.
    fn kept_pages(&self) -> usize {
        self.classes
            .iter()
            .zip(0..)
            .map(|(class, index)| class.empty_zspages() * CLASS_TABLE.class(index).pages as usize)
            .sum()
    }

    /// The index of the class that objects of `bucket` go to.
    #[inline]
    fn class_of(&self, bucket: u8) -> u8 {
        self.class_of[bucket as usize].load(Ordering::Relaxed)
    }

    /// The index of the class that objects of `bucket` should go to if there must be another
    /// zspage: the fine one if the bucket's classes have many pages.
    fn class_for_growth(&self, bucket: u8) -> u8 {
        let choice = CLASS_TABLE.choice(bucket);
        let pages_of =
            |index| self.class(index).zspages() * CLASS_TABLE.class(index).pages as usize;
        if choice.fine != choice.coarse
            && pages_of(choice.coarse) + pages_of(choice.fine) >= populous_pages()
        {
            choice.fine
        } else {
            choice.coarse
        }
    }

    /// Allocates an object for whose `bucket` the class that it goes to has no free slot.
    #[cold]
    fn malloc_elsewhere(&self, bucket: u8, gfp: Gfp) -> Result<Handle, Error> {
        let index = self.class_of(bucket);
        if let Some(handle) = self.take_slot_near(bucket, index) {
            return Ok(handle);
        }
        let grown = self.class_for_growth(bucket);
        if grown != index {
            self.class_of[bucket as usize].store(grown, Ordering::Relaxed);
            let own = self.class(grown).take_slot();
            if let Some(handle) = own.or_else(|| self.take_slot_near(bucket, grown)) {
                return Ok(handle);
            }
        }
        let zspage = match self.new_zspage(grown, gfp) {
            // What is kept for a moment is wanted now, by another class.
            Err(_) if self.release_kept() > 0 => self.new_zspage(grown, gfp)?,
            made => made?,
        };
        self.class(grown).insert(zspage);
        Ok(zspage.handle(0))
    }

    /// Takes a slot for an object of `bucket` that is not of class `index` but not much larger.
    fn take_slot_near(&self, bucket: u8, index: u8) -> Option<Handle> {
        let coarse = CLASS_TABLE.choice(bucket).coarse;
        if index != coarse {
            // What was stored there when there was less.
            let found = self.class(coarse).take_slot();
            if found.is_some() {
                return found;
            }
        }
        if self.class(index).zspages() >= FEW_ZSPAGES {
            return None;
        }
        let next = self.classes.iter().skip(index as usize + 1);
        next.take(NEXT_CLASSES).find_map(Class::take_slot)
    }

    /// Maps an object of a zspage that is not plain, and locked as a reader.
    #[inline(never)]
    fn map_special(&self, home: ObjRef<Zspage>, handle: Handle, mode: MapMode) -> *mut u8 {
        let (mut zspage, mut slot) = (home, handle.slot());
        if let Some(relocation) = home.relocation() {
            (zspage, slot) = relocation.place(home, slot);
            if zspage != home {
                zspage.lock().read_lock();
            }
        }
        let range = zspage.range(slot);
        if zspage.is_adjacent(range) {
            return self.address(zspage, range);
        }
        let address = self.map_bounced(zspage, range, handle, mode);
        if address.is_null() {
            unlock_both(zspage, home);
        }
        address
    }

    /// Ends a mapping by [`Pool::map_special`].
    #[inline(never)]
    fn unmap_special(&self, home: ObjRef<Zspage>, handle: Handle) {
        let (mut zspage, mut slot) = (home, handle.slot());
        // The mapping keeps the object and the pages in place: the answers are those that
        // `map_special` had.
        if let Some(relocation) = home.relocation() {
            (zspage, slot) = relocation.place(home, slot);
        }
        let range = zspage.range(slot);
        if !zspage.is_adjacent(range) {
            self.unmap_bounced(zspage, range, handle);
        }
        unlock_both(zspage, home);
    }

    /// Does what there is to do beyond giving back the slot of `handle`.
    ///
    /// # Safety
    ///
    /// It is what became of the slot, and nothing was done about it yet.
    #[inline(never)]
    unsafe fn after_free(&self, handle: Handle, freed: Freed) {
        match freed {
            Freed::InUse => (),
            Freed::Sparser => self.may_have_waste(),
            Freed::Emptied => {
                // SAFETY: Nobody else releases the zspage.
                self.release(unsafe { Zspage::of(handle) });
            }
            // SAFETY: The slot is still in use, so the descriptor lives.
            Freed::Away => self.free_away(unsafe { Zspage::of(handle) }, handle),
            Freed::NotAllocated => report::warn(c_str!("double free"), handle.into_raw()),
            Freed::OtherPool => {
                report::warn(
                    c_str!("free of a handle of another pool"),
                    handle.into_raw(),
                );
            }
        }
    }

    /// Frees an object that is not in the zspage `home` that its handle names.
    #[cold]
    fn free_away(&self, home: ObjRef<Zspage>, handle: Handle) {
        // The object stays where it is while its home is locked. Writers are quick.
        let reader = home.lock().read();
        let Some(relocation) = home.relocation() else {
            return;
        };
        let (zspage, slot) = relocation.place(home, handle.slot());
        let mut partial = self.class(zspage.class()).lock();
        let freed = partial.put_guest_slot(zspage, slot);
        if zspage.class() != home.class() {
            drop(partial);
            partial = self.class(home.class()).lock();
        }
        drop(reader);
        let is_over = partial.put_away_slot(home, handle.slot());
        drop(partial);
        match freed {
            // A zspage with guests is not kept.
            Freed::Emptied => {
                self.release(zspage);
            }
            Freed::Sparser => self.may_have_waste(),
            _ => (),
        }
        if is_over {
            self.free_descriptor(home);
        }
    }

    /// Copies the object in slot `slot` of `source` to slot `place` of `destination`, which is not
    /// smaller. The caller has both zspages locked as a writer.
    pub(crate) fn copy_object(
        &self,
        source: ObjRef<Zspage>,
        slot: usize,
        destination: ObjRef<Zspage>,
        place: usize,
    ) {
        let (from, to) = (source.range(slot), destination.range(place));
        let mut done = 0;
        while done < from.len {
            let (from, to) = (from.skip(done, PAGE_SIZE), to.skip(done, PAGE_SIZE));
            let len = from.len_in_page(PAGE_SIZE).min(to.len_in_page(PAGE_SIZE));
            // SAFETY: Both are parts of pages of the zspages, which are locked: nobody else
            // accesses these slots, and the pages stay.
            unsafe {
                copy(
                    self.address(source, from),
                    self.address(destination, to),
                    len,
                )
            };
            done += len;
        }
    }

    /// The address of the beginning of `range` in `zspage`, whose lock the caller holds.
    #[inline]
    fn address(&self, zspage: ObjRef<Zspage>, range: SlotRange) -> *mut u8 {
        self.direct_map
            .address(zspage.pfn(range.page))
            .wrapping_add(range.offset)
    }

    /// Allocates a zspage of which slot 0 is taken.
    #[cold]
    fn new_zspage(&self, class: u8, gfp: Gfp) -> Result<ObjRef<Zspage>, Error> {
        let count = CLASS_TABLE.class(class).pages as usize;
        let descriptors = self.descriptors.of_class(class);
        let descriptor = descriptors
            .alloc(gfp.for_metadata())
            .ok_or(Error::NoMemory)?;
        let mut pfns = [0; MAX_PAGES];
        let pfns = &mut pfns[..count];
        let lock = ZspageLock::new(self.zspage_locks.map());
        let zspage = alloc_pages(pfns, gfp).and_then(|()| {
            // SAFETY: The memory is what the cache gives.
            let zspage = unsafe { Zspage::init(descriptor, lock, self.tag, class, pfns) };
            if zspage.is_none() {
                free_pages(pfns);
            }
            zspage
        });
        let Some(zspage) = zspage else {
            // SAFETY: The descriptor was just allocated from this cache, and nobody knows of it.
            unsafe { descriptors.free(descriptor) };
            return Err(Error::NoMemory);
        };
        self.pages.fetch_add(count as u64, Ordering::Relaxed);
        // SAFETY: The pages are new.
        unsafe { zspage.adopt_pages() };
        self.grew();
        Ok(zspage)
    }

    /// Gives back the pages of a zspage that has lost its last object, and then its descriptor
    /// unless there are objects that are away. If some of the pages are locked, because the kernel
    /// is just about to move them, that happens later. Returns the number of pages given back now.
    #[cold]
    pub(crate) fn release(&self, zspage: ObjRef<Zspage>) -> usize {
        // A relocated zspage may be just about to be left for where an object is.
        if zspage.lock().has_readers() && zspage.relocation().is_none() {
            // Losing the pages is better than giving away memory that somebody is using.
            let handle = zspage.handle(0).into_raw();
            report::warn(c_str!("free of an object that is mapped"), handle);
            return 0;
        }
        // SAFETY: The zspage is off its list, no object is left in it and nobody has one mapped:
        // its pages are ours alone.
        let released = unsafe { zspage.try_release_pages() };
        self.pages.fetch_sub(released as u64, Ordering::Relaxed);
        if released == zspage.geometry().pages as usize {
            self.pages_released(zspage);
        } else {
            self.emptied.lock().push_front(zspage);
            self.work.schedule();
        }
        released
    }

    /// Gives back all zspages that are kept without objects, and returns the number of their pages.
    pub(crate) fn release_kept(&self) -> usize {
        let mut released = 0;
        for class in &self.classes {
            while let Some(zspage) = class.take_empty() {
                released += self.release(zspage);
                reschedule();
            }
        }
        released
    }

    /// Releases the pages that could not be had at once. Sleeps.
    fn release_emptied(&self) {
        loop {
            let mut emptied = self.emptied.lock();
            let Some(zspage) = emptied.first() else {
                break;
            };
            emptied.remove(zspage);
            drop(emptied);
            // SAFETY: Nobody but `release` puts zspages on that list, and their pages are nobody
            // else's.
            let released = unsafe { zspage.release_pages() };
            self.pages.fetch_sub(released as u64, Ordering::Relaxed);
            self.pages_released(zspage);
        }
    }

    /// Frees the descriptor of a zspage that has no page left, unless objects of it are away.
    fn pages_released(&self, zspage: ObjRef<Zspage>) {
        if zspage.relocation().is_none() || self.class(zspage.class()).lock().pages_released(zspage)
        {
            self.free_descriptor(zspage);
        }
    }

    /// Frees the descriptor of a zspage that has no page left and no object away.
    fn free_descriptor(&self, zspage: ObjRef<Zspage>) {
        // SAFETY: The descriptor came from this cache. No handle is left of it, and no page that
        // leads to it.
        unsafe {
            self.free_relocation(zspage);
            self.descriptors
                .of_class(zspage.class())
                .free(zspage.as_ptr());
        }
    }

    /// Copies an object into a bounce buffer. Returns a null pointer if there is none, which is
    /// after more mappings at once than there are CPUs, and without memory.
    #[cold]
    fn map_bounced(
        &self,
        zspage: ObjRef<Zspage>,
        range: SlotRange,
        handle: Handle,
        mode: MapMode,
    ) -> *mut u8 {
        let reserved = self.bounce.lock().take(handle, mode);
        let Some(buffer) = reserved.or_else(|| {
            // Not under the lock: to allocate sleeps on PREEMPT_RT.
            let spare = Buffer::alloc(false, Gfp::NOWAIT)?;
            let (buffer, spare) = self.bounce.lock().take_or_add(handle, mode, spare);
            if let Some(spare) = spare {
                free_buffer(spare);
            }
            Some(buffer)
        }) else {
            report::warn(c_str!("no bounce buffer for a mapping"), handle.into_raw());
            return ptr::null_mut();
        };
        let address = self.direct_map.address(buffer.pfn());
        if mode != MapMode::WriteOnly {
            let [head, tail] = self.halves(zspage, range);
            // SAFETY: The object's pages stay while the zspage is locked, and the buffer is a page
            // of ours; an object is not larger than a page.
            unsafe {
                copy(head.start, address, head.len);
                copy(tail.start, address.wrapping_add(head.len), tail.len);
            }
        }
        address
    }

    /// Ends a mapping by [`Pool::map_bounced`], and copies the buffer back if it was for writing.
    #[cold]
    fn unmap_bounced(&self, zspage: ObjRef<Zspage>, range: SlotRange, handle: Handle) {
        let ended = self.bounce.lock().end(handle);
        match ended {
            Ended::Done => (),
            Ended::WriteBack(buffer) => {
                let address = self.direct_map.address(buffer.pfn());
                let [head, tail] = self.halves(zspage, range);
                // SAFETY: As in `map_bounced`; the buffer is on no list, so it is ours alone.
                unsafe {
                    copy(address, head.start, head.len);
                    copy(address.wrapping_add(head.len), tail.start, tail.len);
                }
                self.bounce.lock().put(buffer);
            }
            Ended::NotMapped => {
                report::warn(
                    c_str!("unmap of an object that is not mapped"),
                    handle.into_raw(),
                );
            }
        }
    }

    /// The two parts of a slot that lies in two pages. The caller holds the zspage's lock.
    fn halves(&self, zspage: ObjRef<Zspage>, range: SlotRange) -> [Part; 2] {
        let in_first = PAGE_SIZE - range.offset;
        let first = self.direct_map.address(zspage.pfn(range.page));
        [
            Part {
                start: first.wrapping_add(range.offset),
                len: in_first,
            },
            Part {
                start: self.direct_map.address(zspage.pfn(range.page + 1)),
                len: range.len - in_first,
            },
        ]
    }
}

/// Releases the locks that a mapping holds as a reader: that of the zspage that the object is in,
/// and that of its home.
fn unlock_both(zspage: ObjRef<Zspage>, home: ObjRef<Zspage>) {
    zspage.lock().read_unlock();
    if zspage != home {
        home.lock().read_unlock();
    }
}

/// A part of a slot.
struct Part {
    start: *mut u8,
    len: usize,
}

/// Fills `pfns` with the numbers of newly allocated pages, next to each other if possible: then no
/// object needs a bounce buffer. [`None`] without memory.
fn alloc_pages(pfns: &mut [usize], gfp: Gfp) -> Option<()> {
    if let Some(first) = page::alloc_adjacent(pfns.len(), gfp.for_adjacent_pages()) {
        for (place, pfn) in pfns.iter_mut().zip(first..) {
            *place = pfn;
        }
        return Some(());
    }
    for index in 0..pfns.len() {
        let Some(pfn) = page::alloc(gfp.for_page()) else {
            free_pages(&pfns[..index]);
            return None;
        };
        pfns[index] = pfn;
    }
    Some(())
}

/// Gives back pages of [`alloc_pages`], of which nobody else knows.
fn free_pages(pfns: &[usize]) {
    for &pfn in pfns {
        // SAFETY: The page was just allocated, and nobody knows of it.
        unsafe { page::free(pfn) };
    }
}
