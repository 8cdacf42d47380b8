//! Lets threads wait until another part of the work leaves them a processor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Opened once, for good.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it when what this is given to has ended, however it did.
    pub(crate) fn opener(self: &Arc<Self>) -> Opener {
        Opener(self.clone())
    }

    /// Waits until it is open, or nothing is `left` to be done.
    pub(crate) fn wait_while(&self, left: &AtomicBool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open && left.load(Ordering::Relaxed) {
            let changed = self.changed.wait(open);
            open = changed.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing is left of what others may wait to do.
    pub(crate) fn none(&self, left: &AtomicBool) {
        // With the lock: nobody is between looking and waiting then.
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        left.store(false, Ordering::Relaxed);
        drop(open);
        self.changed.notify_all();
    }
}

/// Opens a gate when it is dropped.
#[derive(Debug)]
pub(crate) struct Opener(Arc<Gate>);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn it_is_opened_even_by_a_panic() {
        let gate = Arc::new(Gate::default());
        let opener = gate.opener();
        let panics = thread::spawn(move || {
            let _opener = opener;
            panic!("as a test of it");
        });
        gate.wait_while(&AtomicBool::new(true));
        assert!(panics.join().is_err());
    }

    #[test]
    fn who_has_nothing_left_to_do_waits_no_more() {
        let (gate, left) = (Gate::default(), AtomicBool::new(true));
        thread::scope(|scope| {
            scope.spawn(|| gate.wait_while(&left));
            gate.none(&left);
        });
    }
}
