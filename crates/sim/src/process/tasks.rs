//! The tasks of a process: asynchronous code of `anser-host`, polled in the order in which it is woken.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake},
};

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
pub(super) struct Tasks {
    running: BTreeMap<u64, Task>,
    woken: Arc<Woken>,
    begun: u64,
}

/// The numbers of tasks that are to be polled.
type Woken = Mutex<VecDeque<u64>>;

struct Waker {
    task: u64,
    woken: Arc<Woken>,
}

impl Wake for Waker {
    fn wake(self: Arc<Self>) {
        lock(&self.woken).push_back(self.task);
    }
}

impl Tasks {
    /// Begins a task; its number.
    pub(super) fn begin(&mut self, task: Task) -> u64 {
        self.begun += 1;
        self.running.insert(self.begun, task);
        lock(&self.woken).push_back(self.begun);
        self.begun
    }

    /// Drops a task, at whatever it waits for.
    pub(super) fn end(&mut self, number: u64) {
        self.running.remove(&number);
    }

    /// Polls the tasks that were woken until all wait.
    pub(super) fn run(&mut self) {
        while let Some(number) = self.next() {
            let Some(task) = self.running.get_mut(&number) else {
                continue;
            };
            let waker = Waker {
                task: number,
                woken: Arc::clone(&self.woken),
            };
            let waker = Arc::new(waker).into();
            if let Poll::Ready(()) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.running.remove(&number);
            }
        }
    }

    fn next(&mut self) -> Option<u64> {
        lock(&self.woken).pop_front()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.running.keys();
        formatter.debug_list().entries(tasks).finish()
    }
}

fn lock(woken: &Woken) -> std::sync::MutexGuard<'_, VecDeque<u64>> {
    woken.lock().unwrap_or_else(PoisonError::into_inner)
}
