// SPDX-License-Identifier: GPL-2.0

//! The list against a vector.

use crate::sys::{
    gfp::Gfp,
    list::{Linked, Links, List, ObjRef},
    machine::{Machine, Memory},
    memory::{free_object, new_object},
};
use proptest::prelude::*;

struct Item(Links<Item>);

impl Linked for Item {
    fn links(&self) -> &Links<Self> {
        &self.0
    }
}

proptest! {
    /// Catches a removal that loses a neighbour, at either end or in the middle.
    #[test]
    fn a_list_is_a_sequence(steps in prop::collection::vec((any::<bool>(), 0usize..8), 0..200)) {
        let _machine = Machine::new(Memory::Plenty);
        let mut list = List::new();
        let mut model: Vec<ObjRef<Item>> = Vec::new();
        for (push, index) in steps {
            if push || model.is_empty() {
                let item = new_object(Item(Links::new()), Gfp::KERNEL).unwrap();
                list.push_front(item);
                model.insert(0, item);
            } else {
                let item = model.remove(index % model.len());
                list.remove(item);
                // SAFETY: It is on no list.
                unsafe { free_object(item) };
            }
            prop_assert!(list.iter().eq(model.iter().copied()));
            prop_assert!(list.first() == model.first().copied());
        }
        for item in model {
            // SAFETY: The list is not used any more.
            unsafe { free_object(item) };
        }
    }
}
