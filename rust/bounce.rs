// SPDX-License-Identifier: GPL-2.0

//! Bounce buffers: where an object is mapped whose two pages are not next to each other.

use crate::{
    backend::MapMode,
    core::handle::Handle,
    error::Error,
    sys::{
        gfp::Gfp,
        list::{Linked, Links, List, ObjRef},
        memory::{free_object, new_object},
        page,
    },
};
use core::cell::Cell;

/// A page that stands in for a mapped object.
pub(crate) struct Buffer {
    links: Links<Buffer>,
    pfn: usize,
    /// Whether it is kept when nobody uses it.
    reserved: bool,
    /// What it stands in for, if it is in use.
    mapping: Cell<Option<Mapping>>,
}

#[derive(Clone, Copy)]
struct Mapping {
    handle: Handle,
    mode: MapMode,
    /// How often the object is mapped like this.
    count: usize,
}

// SAFETY: `links` and `mapping` are accessed only by who has the `BounceBuffers` that the buffer is
// in to itself.
unsafe impl Sync for Buffer {}

impl Linked for Buffer {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

impl Buffer {
    /// Allocates a buffer; unless `reserved`, it is freed after its first use.
    pub(crate) fn alloc(reserved: bool, gfp: Gfp) -> Option<ObjRef<Self>> {
        let pfn = page::alloc(gfp)?;
        let buffer = new_object(
            Self {
                links: Links::new(),
                pfn,
                reserved,
                mapping: Cell::new(None),
            },
            gfp,
        );
        if buffer.is_none() {
            // SAFETY: The page was just allocated, and nobody knows of it.
            unsafe { page::free(pfn) };
        }
        buffer
    }

    /// The number of the buffer's page.
    pub(crate) fn pfn(&self) -> usize {
        self.pfn
    }
}

/// What is left to do when a mapping has ended.
pub(crate) enum Ended {
    /// Nothing.
    Done,
    /// The caller copies the buffer back into the object, and then gives it back with
    /// [`BounceBuffers::put`].
    WriteBack(ObjRef<Buffer>),
    /// Nothing can be done: there is no such mapping.
    NotMapped,
}

/// The bounce buffers of a pool.
///
/// zswap maps an object only while it holds one of its per-CPU mutexes, so a pool has at most as
/// many mappings at once as there are possible CPUs. With a buffer in reserve for each, mapping
/// cannot fail. No buffer belongs to a CPU: who maps may change CPU before it unmaps.
pub(crate) struct BounceBuffers {
    idle: List<Buffer>,
    in_use: List<Buffer>,
}

impl BounceBuffers {
    /// Allocates a reserve of `count` buffers. May sleep.
    pub(crate) fn with_reserve(count: usize) -> Result<Self, Error> {
        let mut buffers = Self {
            idle: List::new(),
            in_use: List::new(),
        };
        for _ in 0..count {
            let buffer = Buffer::alloc(true, Gfp::KERNEL).ok_or(Error::NoMemory)?;
            buffers.idle.push_front(buffer);
        }
        Ok(buffers)
    }

    /// A buffer for a mapping of `handle`; [`None`] if there is none in reserve.
    ///
    /// All who have the object mapped for reading share one buffer, for `unmap` does not tell which
    /// mapping it ends. Each of them copies the object into it, and none changes a byte by that.
    pub(crate) fn take(&mut self, handle: Handle, mode: MapMode) -> Option<ObjRef<Buffer>> {
        if mode == MapMode::ReadOnly {
            if let Some((buffer, mapping)) = self.mapping_of(handle) {
                buffer.mapping.set(Some(Mapping {
                    count: mapping.count + 1,
                    ..mapping
                }));
                return Some(buffer);
            }
        }
        let buffer = self.idle.first()?;
        self.idle.remove(buffer);
        self.add(buffer, handle, mode);
        Some(buffer)
    }

    /// A buffer for a mapping of `handle`: one from here, if meanwhile there is one, else `spare`,
    /// which is on no list. Returns the spare as well if it was not wanted.
    pub(crate) fn take_or_add(
        &mut self,
        handle: Handle,
        mode: MapMode,
        spare: ObjRef<Buffer>,
    ) -> (ObjRef<Buffer>, Option<ObjRef<Buffer>>) {
        if let Some(buffer) = self.take(handle, mode) {
            return (buffer, Some(spare));
        }
        self.add(spare, handle, mode);
        (spare, None)
    }

    /// Makes `buffer`, which is on no list, a mapping of `handle`.
    fn add(&mut self, buffer: ObjRef<Buffer>, handle: Handle, mode: MapMode) {
        buffer.mapping.set(Some(Mapping {
            handle,
            mode,
            count: 1,
        }));
        self.in_use.push_front(buffer);
    }

    /// Ends one mapping of `handle`.
    pub(crate) fn end(&mut self, handle: Handle) -> Ended {
        let Some((buffer, mapping)) = self.mapping_of(handle) else {
            return Ended::NotMapped;
        };
        if mapping.count > 1 {
            buffer.mapping.set(Some(Mapping {
                count: mapping.count - 1,
                ..mapping
            }));
            return Ended::Done;
        }
        self.in_use.remove(buffer);
        if mapping.mode != MapMode::ReadOnly {
            return Ended::WriteBack(buffer);
        }
        self.put(buffer);
        Ended::Done
    }

    /// Gives back a buffer that is on no list.
    pub(crate) fn put(&mut self, buffer: ObjRef<Buffer>) {
        if buffer.reserved {
            self.idle.push_front(buffer);
        } else {
            free_buffer(buffer);
        }
    }

    fn mapping_of(&self, handle: Handle) -> Option<(ObjRef<Buffer>, Mapping)> {
        self.in_use
            .iter()
            .filter_map(|buffer| Some((buffer, buffer.mapping.get()?)))
            .find(|(_, mapping)| mapping.handle == handle)
    }
}

impl Drop for BounceBuffers {
    /// Frees the reserve. A buffer that is still mapped stays: somebody is using it.
    fn drop(&mut self) {
        while let Some(buffer) = self.idle.first() {
            self.idle.remove(buffer);
            free_buffer(buffer);
        }
    }
}

/// Frees a buffer that is on no list.
pub(crate) fn free_buffer(buffer: ObjRef<Buffer>) {
    // SAFETY: The buffer is on no list, so nobody can reach it or its page, which is the buffer's
    // own.
    unsafe {
        page::free(buffer.pfn);
        free_object(buffer);
    }
}
