// SPDX-License-Identifier: GPL-2.0

//! The zspage lock under loom, which runs each model in every interleaving, and with every value
//! that the memory model lets a load return.
//!
//! `rust/lock.rs` is here as it is: the [`sys`] of this crate gives it loom's atomic operations.

#![cfg(test)]

#[path = "../../../../../rust/lock.rs"]
mod lock;
mod models;
mod mutants;
mod sys;
