// SPDX-License-Identifier: GPL-2.0

//! A machine's memory, and its complaints.

use super::{movable::Busy, page::PAGE_SIZE, preempt::assert_preemptible};
use crate::core::pfn::{PFN_BITS, REGION_BITS};
use std::{
    alloc::{alloc_zeroed, dealloc, Layout},
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

/// How the machine's memory is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Memory {
    /// Pages next to each other can be had.
    Plenty,
    /// Only single pages can be had, of which no two are next to each other.
    Fragmented,
    /// Only single pages can be had, and each second one is next to the one before.
    PartlyFragmented,
    /// Only single pages can be had, those around the border of two regions.
    AtBorder,
    /// So many more allocations succeed, of pages or of other memory.
    Left(usize),
    /// So many pages can be in use at a time.
    AtMost(usize),
}

/// Moves what is in one page to another.
type MovePage = Rc<dyn Fn(usize, usize) -> Result<(), Busy>>;

/// What the kernel knows of a page.
#[derive(Clone, Default)]
struct Page {
    references: usize,
    locked: bool,
    isolated: bool,
    owner: Option<MovePage>,
}

/// Work that was put off, unless it is not wanted any more.
type Work = (Rc<Cell<bool>>, Box<dyn FnOnce()>);

/// What the machine has handed out.
struct State {
    memory: Memory,
    arena: *mut u8,
    frames: Vec<Page>,
    /// The page after the last that was looked at.
    next: usize,
    pages: usize,
    counted_in_zone: isize,
    objects: BTreeMap<usize, Layout>,
    complaints: Vec<(String, usize)>,
    work: Vec<Work>,
    ticks: Vec<Work>,
    wasted_share: u32,
    populous_pages: usize,
}

const ARENA_PAGES: usize = 4096;

/// Pages at the end of the arena that only [`Memory::AtBorder`] gives out.
const PAGES_AT_BORDER: usize = 16;

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// The first page of the last region that there is. The pages at the end of the arena lie around
/// it.
pub(crate) const BORDER: usize = (1 << PFN_BITS) - (1 << REGION_BITS);

/// The number of the arena's first page.
pub(crate) const FIRST_PFN: usize = BORDER + PAGES_AT_BORDER / 2 - ARENA_PAGES;

fn arena_layout() -> Layout {
    Layout::from_size_align(ARENA_PAGES * PAGE_SIZE, PAGE_SIZE).unwrap()
}

fn with<R>(work: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(|state| work(state.as_mut().expect("no machine in this thread")))
}

/// A machine, for this thread.
pub(crate) struct Machine(());

impl Machine {
    pub(crate) fn new(memory: Memory) -> Self {
        STATE.with_borrow_mut(|state| {
            assert!(state.is_none());
            *state = Some(State {
                memory,
                // SAFETY: The size is not 0.
                arena: unsafe { alloc_zeroed(arena_layout()) },
                frames: vec![Page::default(); ARENA_PAGES],
                next: 0,
                pages: 0,
                counted_in_zone: 0,
                objects: BTreeMap::new(),
                complaints: Vec::new(),
                work: Vec::new(),
                ticks: Vec::new(),
                wasted_share: 0,
                populous_pages: usize::MAX,
            })
        });
        Self(())
    }

    pub(crate) fn set_memory(&self, memory: Memory) {
        with(|state| state.memory = memory);
    }

    /// Pages handed out and not given back.
    pub(crate) fn pages(&self) -> usize {
        with(|state| state.pages)
    }

    /// The page that [`Memory::AtBorder`] gives out next.
    pub(crate) fn next_page(&self) -> usize {
        with(|state| {
            let is_free = |i: &usize| state.frames[*i].references == 0;
            let mut places = ARENA_PAGES - PAGES_AT_BORDER..ARENA_PAGES;
            FIRST_PFN + places.find(is_free).unwrap()
        })
    }

    /// What the zone's counter of compressed-memory pages stands at.
    pub(crate) fn counted_in_zone(&self) -> isize {
        with(|state| state.counted_in_zone)
    }

    /// Other memory handed out and not given back, in pieces.
    pub(crate) fn objects(&self) -> usize {
        with(|state| state.objects.len())
    }

    /// The pages that can be moved.
    pub(crate) fn movable_pages(&self) -> Vec<usize> {
        with(|state| {
            let movable = |page: &Page| page.owner.is_some() && !page.locked && !page.isolated;
            (0..ARENA_PAGES)
                .filter(|i| movable(&state.frames[*i]))
                .map(|i| FIRST_PFN + i)
                .collect()
        })
    }

    /// Isolates a movable page, as `isolate_movable_page()` of mm/migrate.c does.
    pub(crate) fn isolate(&self, pfn: usize) {
        get_page(pfn);
        with_page(pfn, |page| {
            assert!(!page.isolated);
            page.isolated = true;
        });
    }

    /// Locks an isolated page, to move it. Whoever waits for the lock has it moved.
    pub(crate) fn start_migration(&self, pfn: usize) {
        assert!(lock_page(pfn));
    }

    /// Moves a page of [`Machine::start_migration`]; false if its owner did not want that.
    pub(crate) fn finish_migration(&self, pfn: usize) -> bool {
        finish_migration(pfn)
    }

    /// Whether there is work that was put off.
    pub(crate) fn has_work(&self) -> bool {
        with(|state| {
            state
                .work
                .iter()
                .chain(&state.ticks)
                .any(|(wanted, _)| wanted.get())
        })
    }

    /// Does the work that was put off.
    pub(crate) fn run_work(&self) {
        run_work();
    }

    /// Lets the time pass that work was put off for, and does it; false if there was none.
    pub(crate) fn tick(&self) -> bool {
        let ticks = with(|state| std::mem::take(&mut state.ticks));
        let any = !ticks.is_empty();
        do_work(ticks);
        any
    }

    /// Lets time pass until no work is put off any more, and returns how often there was some.
    pub(crate) fn tick_to_the_end(&self) -> usize {
        let ticks = (0..1000).take_while(|_| self.tick()).count();
        assert!(ticks < 1000, "background work without end");
        ticks
    }

    /// Sets the module's parameter of that name.
    pub(crate) fn set_wasted_share(&self, share: u32) {
        with(|state| state.wasted_share = share);
    }

    pub(crate) fn set_populous_pages(&self, pages: usize) {
        with(|state| state.populous_pages = pages);
    }

    /// Whether somebody is moving the page.
    pub(crate) fn is_migrating(&self, pfn: usize) -> bool {
        with(|state| state.frames[pfn - FIRST_PFN].locked)
    }

    /// Ends the test without looking for what was not given back.
    pub(crate) fn forget(self) {
        STATE.take();
        std::mem::forget(self);
    }

    /// Warnings printed since the last call.
    pub(crate) fn complaints(&self) -> Vec<(String, usize)> {
        with(|state| std::mem::take(&mut state.complaints))
    }
}

impl Drop for Machine {
    /// Fails the test if anything was not given back, or if there is a warning that it did not ask
    /// about.
    fn drop(&mut self) {
        let state = STATE.take().unwrap();
        // SAFETY: It was allocated with this layout.
        unsafe { dealloc(state.arena, arena_layout()) };
        if !std::thread::panicking() {
            assert_eq!(state.pages, 0, "pages left");
            assert_eq!(state.counted_in_zone, 0, "pages still counted in the zone");
            assert!(state.objects.is_empty(), "objects left");
            assert_eq!(state.complaints, []);
        }
    }
}

/// Whether a small allocation succeeds.
pub(super) fn may_allocate() -> bool {
    with(take_from_memory)
}

/// Takes one from the allocations that still succeed.
fn take_from_memory(state: &mut State) -> bool {
    match &mut state.memory {
        Memory::Left(0) => false,
        Memory::Left(left) => {
            *left -= 1;
            true
        }
        _ => true,
    }
}

pub(super) fn arena() -> *mut u8 {
    with(|state| state.arena)
}

/// Allocates `count` consecutive pages.
pub(super) fn alloc_pages(count: usize) -> Option<usize> {
    with(|state| {
        if !take_from_memory(state) {
            return None;
        }
        let stride = match state.memory {
            Memory::Fragmented => 2,
            Memory::PartlyFragmented => 1 + state.pages % 2,
            _ => 1,
        };
        let adjacent = matches!(
            state.memory,
            Memory::Plenty | Memory::Left(_) | Memory::AtMost(_)
        );
        if count > 1 && !adjacent {
            return None;
        }
        if matches!(state.memory, Memory::AtMost(limit) if state.pages + count > limit) {
            return None;
        }
        let border = ARENA_PAGES - PAGES_AT_BORDER;
        for _ in 0..2 {
            let places = match state.memory {
                Memory::AtBorder => border..ARENA_PAGES,
                _ => state.next + stride - 1..border - count,
            };
            for first in places {
                let range = first..first + count;
                if state.frames[range.clone()]
                    .iter()
                    .all(|page| page.references == 0)
                {
                    state.frames[range]
                        .iter_mut()
                        .for_each(|page| page.references = 1);
                    state.next = first + count;
                    state.pages += count;
                    return Some(FIRST_PFN + first);
                }
            }
            state.next = 0;
        }
        panic!("the arena is too small for this test");
    })
}

pub(super) fn get_page(pfn: usize) {
    with_page(pfn, |page| page.references += 1);
}

/// Drops a reference, and with the last one the page.
pub(super) fn free_page(pfn: usize) {
    with_page(pfn, |page| page.references -= 1);
    with(|state| {
        let page = &state.frames[pfn - FIRST_PFN];
        if page.references > 0 {
            return;
        }
        assert!(
            !page.locked && !page.isolated && page.owner.is_none(),
            "bad page state"
        );
        state.pages -= 1;
        // What reads a page after its free finds this.
        // SAFETY: The page is in the arena, and nobody may use it now.
        unsafe {
            state
                .arena
                .add((pfn - FIRST_PFN) * PAGE_SIZE)
                .write_bytes(0xa5, PAGE_SIZE)
        };
    });
}

fn with_page<R>(pfn: usize, work: impl FnOnce(&mut Page) -> R) -> R {
    with(|state| {
        let page = &mut state.frames[pfn - FIRST_PFN];
        assert!(page.references > 0, "page {pfn} is used, but not allocated");
        work(page)
    })
}

/// Locks a page; false if it is locked.
pub(super) fn lock_page(pfn: usize) -> bool {
    with_page(pfn, |page| !std::mem::replace(&mut page.locked, true))
}

pub(super) fn unlock_page(pfn: usize) {
    with_page(pfn, |page| {
        assert!(page.locked, "page {pfn} is unlocked, but not locked");
        page.locked = false;
    });
}

pub(super) fn set_movable(pfn: usize, owner: Option<MovePage>) {
    with_page(pfn, |page| {
        assert!(
            page.locked,
            "page {pfn} changes its owner, but is not locked"
        );
        page.owner = owner;
    });
}

/// Finishes a [`Machine::start_migration`].
pub(super) fn finish_migration(pfn: usize) -> bool {
    let Some(to) = alloc_pages(1) else {
        abandon_migration(pfn);
        return false;
    };
    lock_page(to);
    let owner = with_page(pfn, |page| page.owner.clone());
    // As in `migrate_movable_ops_page()` of mm/migrate.c. A page that its owner has released
    // meanwhile counts as moved.
    let moved = match owner {
        Some(move_page) => move_page(pfn, to).is_ok(),
        None => true,
    };
    let owner = with_page(pfn, |page| if moved { page.owner.take() } else { None });
    if owner.is_some() {
        set_movable(to, owner);
        get_page(to);
        count_in_zone(to, 1);
        count_in_zone(pfn, -1);
        free_page(pfn);
    }
    unlock_page(to);
    free_page(to);
    abandon_migration(pfn);
    moved
}

/// Unlocks a page that was isolated, and puts it back.
fn abandon_migration(pfn: usize) {
    with_page(pfn, |page| page.isolated = false);
    unlock_page(pfn);
    free_page(pfn);
}

pub(super) fn count_in_zone(pfn: usize, delta: isize) {
    with(|state| {
        assert!(
            state.frames[pfn - FIRST_PFN].references > 0,
            "page {pfn} counted, but not allocated"
        );
        state.counted_in_zone += delta;
    });
}

pub(super) fn alloc_object(layout: Layout) -> Option<*mut u8> {
    assert_preemptible();
    with(|state| {
        if !take_from_memory(state) {
            return None;
        }
        // SAFETY: The module asks for no empty objects.
        let object = unsafe { alloc_zeroed(layout) };
        // What reads before it writes finds this.
        // SAFETY: It was just allocated with this size.
        unsafe { object.write_bytes(0x5a, layout.size()) };
        state.objects.insert(object as usize, layout);
        Some(object)
    })
}

pub(super) fn free_object(object: *mut u8) {
    assert_preemptible();
    with(|state| {
        let layout = state
            .objects
            .remove(&(object as usize))
            .expect("object freed twice");
        // SAFETY: It was allocated with this layout, and is not used any more.
        unsafe { dealloc(object, layout) };
    });
}

pub(super) fn add_work(work: Work) {
    with(|state| state.work.push(work));
}

pub(super) fn add_tick(tick: Work) {
    with(|state| state.ticks.push(tick));
}

pub(crate) fn wasted_share() -> u32 {
    with(|state| state.wasted_share)
}

pub(crate) fn populous_pages() -> usize {
    with(|state| state.populous_pages)
}

pub(super) fn run_work() {
    let work = with(|state| std::mem::take(&mut state.work));
    do_work(work);
}

fn do_work(work: Vec<Work>) {
    for (wanted, work) in work {
        if wanted.take() {
            work();
        }
    }
}

pub(super) fn complain(what: &str, handle: usize) {
    with(|state| state.complaints.push((what.to_owned(), handle)));
}
