// SPDX-License-Identifier: GPL-2.0

//! Breaks the lock, one operation at a time, to see whether the models notice.

use crate::{
    models::MODELS,
    sys::atomic::{activate, possible},
};
use std::{collections::BTreeSet, panic};

/// Catches an ordering that the lock does not need or that no model looks at, the same for each
/// atomic operation that the models execute, and a model that cannot fail. Run with `--nocapture`,
/// it shows which model notices what.
#[test]
fn every_operation_is_needed() {
    for (_, model) in MODELS {
        model();
    }
    let mut useful = BTreeSet::new();
    let mut unnoticed = Vec::new();
    for mutant in possible() {
        activate(Some(mutant));
        let noticed_by: Vec<_> = MODELS
            .iter()
            .filter(|(_, model)| panic::catch_unwind(model).is_err())
            .map(|(name, _)| *name)
            .collect();
        activate(None);
        let (site, mutation) = mutant;
        println!("{mutation:?} at {site}: noticed by {noticed_by:?}");
        if noticed_by.is_empty() {
            unnoticed.push(format!("{mutation:?} at {site}"));
        }
        useful.extend(noticed_by);
    }
    assert!(unnoticed.is_empty(), "no model notices: {unnoticed:?}");
    for (name, _) in MODELS {
        assert!(useful.contains(name), "{name} notices no mutant");
    }
}
