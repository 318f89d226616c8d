//! How much work an answer is, for tests: a step of a walk and a copy of a chunk count, on whatever machine.

use std::cell::Cell;

thread_local! {
    static VISITED: Cell<u64> = const { Cell::new(0) };
    static COPIED: Cell<u64> = const { Cell::new(0) };
}

/// A step of a walk over the elements of a collection.
pub(crate) fn visited() {
    VISITED.set(VISITED.get() + 1);
}

/// A chunk that something else shares was copied before a change.
pub(crate) fn copied() {
    COPIED.set(COPIED.get() + 1);
}

/// How many elements were looked at in walks.
pub(crate) fn visits<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = VISITED.get();
    let done = work();
    (done, VISITED.get() - before)
}

/// How many chunks were copied.
pub(crate) fn copies<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COPIED.get();
    let done = work();
    (done, COPIED.get() - before)
}
