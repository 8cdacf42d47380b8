//! What a command's output goes through before anyone sees it: the place where the caller masks its secrets.

use std::fmt;
use std::sync::Arc;

/// One stream's filter. It takes the bytes as they come, then nothing at the stream's end, and gives what may be shown
/// by now; what it holds back it gives later, at the end at the latest.
pub type Filter = Box<dyn FnMut(Option<&[u8]>) -> Vec<u8> + Send>;

/// Makes a filter for each stream. Cheap to clone.
#[derive(Clone)]
pub struct Filters(Arc<dyn Fn() -> Filter + Send + Sync>);

impl Filters {
    /// Every stream gets what `make` gives.
    pub fn new(make: impl Fn() -> Filter + Send + Sync + 'static) -> Self {
        Filters(Arc::new(make))
    }

    /// All bytes are shown as they are.
    pub fn none() -> Self {
        Filters::new(|| Box::new(|bytes| bytes.unwrap_or_default().to_vec()))
    }

    pub(super) fn make(&self) -> Filter {
        (self.0)()
    }
}

impl fmt::Debug for Filters {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Filters")
    }
}
