//! Bugs planted on purpose, one at a time, to see that the tests find them. Not in any product: compiled
//! only with the feature `sabotage`.

use std::cell::Cell;

thread_local! {
    static PLANTED: Cell<&'static str> = const { Cell::new("") };
}

/// Plants the bug of this name on this thread; an empty name removes it.
pub fn plant(name: &'static str) {
    PLANTED.set(name);
}

/// Whether this bug is planted on this thread.
pub fn is_planted(name: &str) -> bool {
    PLANTED.get() == name
}
