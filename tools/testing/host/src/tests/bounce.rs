// SPDX-License-Identifier: GPL-2.0

//! Bounce buffers: a reserve that is never lost, and buffers that are not reused while somebody may
//! read them.

use crate::{
    backend::MapMode::{ReadOnly, WriteOnly},
    bounce::{free_buffer, BounceBuffers, Buffer, Ended},
    core::handle::Handle,
    sys::{
        gfp::Gfp,
        machine::{Machine, Memory},
    },
};

const A: usize = 0x1000;
const B: usize = 0x2000;

fn handle(raw: usize) -> Handle {
    Handle::from_raw(raw)
}

/// Catches a buffer of the reserve that does not come back, or that is given out twice.
#[test]
fn the_reserve_is_kept() {
    let machine = Machine::new(Memory::Plenty);
    let mut buffers = BounceBuffers::with_reserve(2).ok().unwrap();
    machine.set_memory(Memory::Left(0));
    for _ in 0..3 {
        let a = buffers.take(handle(A), WriteOnly).unwrap();
        let b = buffers.take(handle(B), ReadOnly).unwrap();
        assert!(a.pfn() != b.pfn());
        assert!(buffers.take(handle(A + 1), ReadOnly).is_none());
        match buffers.end(handle(A)) {
            Ended::WriteBack(buffer) => {
                assert!(buffer == a);
                buffers.put(buffer);
            }
            _ => panic!("nothing to write back"),
        }
        assert!(matches!(buffers.end(handle(B)), Ended::Done));
        assert!(matches!(buffers.end(handle(B)), Ended::NotMapped));
    }
}

/// Catches the first of two readers of an object giving back the buffer that the other one still
/// reads, and readers of one object using up the reserve although one of them stays.
#[test]
fn readers_of_one_object_share_a_buffer() {
    let machine = Machine::new(Memory::Plenty);
    let mut buffers = BounceBuffers::with_reserve(2).ok().unwrap();
    machine.set_memory(Memory::Left(0));
    let first = buffers.take(handle(A), ReadOnly).unwrap();
    for _ in 0..10 {
        assert!(buffers.take(handle(A), ReadOnly).unwrap() == first);
        assert!(matches!(buffers.end(handle(A)), Ended::Done));
    }
    let other = buffers.take(handle(B), ReadOnly).unwrap();
    assert!(other != first);
    for object in [A, B] {
        assert!(matches!(buffers.end(handle(object)), Ended::Done));
        assert!(matches!(buffers.end(handle(object)), Ended::NotMapped));
    }
}

/// Catches a buffer beyond the reserve that is kept, or a page that is lost when there is no memory
/// for its entry.
#[test]
fn extra_buffers_go_after_use() {
    let machine = Machine::new(Memory::Plenty);
    let mut buffers = BounceBuffers::with_reserve(0).ok().unwrap();
    let (pages, objects) = (machine.pages(), machine.objects());
    for left in 0..2 {
        machine.set_memory(Memory::Left(left));
        assert!(Buffer::alloc(false, Gfp::NOWAIT).is_none());
    }
    machine.set_memory(Memory::Left(2));
    let extra = Buffer::alloc(false, Gfp::NOWAIT).unwrap();
    assert_eq!(
        (machine.pages(), machine.objects()),
        (pages + 1, objects + 1)
    );
    buffers.take_or_add(handle(A), ReadOnly, extra);
    assert!(matches!(buffers.end(handle(A)), Ended::Done));
    assert_eq!((machine.pages(), machine.objects()), (pages, objects));
    assert!(BounceBuffers::with_reserve(1).is_err());
}

/// Catches the buffer of one reader being freed when another reader of the same object ends its
/// mapping: two that found no buffer in reserve at the same time must come to share one.
#[test]
fn readers_without_a_reserve_share_a_buffer() {
    let machine = Machine::new(Memory::Plenty);
    let mut buffers = BounceBuffers::with_reserve(0).unwrap();
    let [first, second] = [(); 2].map(|()| {
        assert!(buffers.take(handle(A), ReadOnly).is_none());
        Buffer::alloc(false, Gfp::NOWAIT).unwrap()
    });
    let (mine, spare) = buffers.take_or_add(handle(A), ReadOnly, first);
    assert!(mine == first && spare.is_none());
    let (yours, spare) = buffers.take_or_add(handle(A), ReadOnly, second);
    assert!(yours == first && spare == Some(second));
    free_buffer(second);
    assert!(matches!(buffers.end(handle(A)), Ended::Done));
    assert_eq!(machine.pages(), 1);
    assert!(matches!(buffers.end(handle(A)), Ended::Done));
    assert_eq!(machine.pages(), 0);
}
