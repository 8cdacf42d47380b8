//! Lets the disk write while the processors are busy with something else. The release's files have to be on the disk before the
//! manifest's `post` marks it complete, and it waits for that by itself; what was written until then is not waited for twice.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;

use crate::error::Error;

/// Does `work` while what stands in `tree` is brought to the disk, and waits for both. What the disk refuses is an error: it
/// tells only once.
pub(crate) fn beside<T>(tree: &Path, work: impl FnOnce() -> T) -> Result<T, Error> {
    let failed = |error| Error::disk("writing to the disk", tree, error);
    let on = File::open(tree).map_err(failed)?;
    thread::scope(|scope| {
        let writing = thread::Builder::new().spawn_scoped(scope, || rustix::fs::syncfs(&on));
        let done = work();
        // Without a thread it is written later, that is all.
        if let Ok(writing) = writing {
            let ended = |_| failed(io::Error::other("the thread that waits for it ended"));
            let written = writing.join().map_err(ended)?;
            written.map_err(|error| failed(error.into()))?;
        }
        Ok(done)
    })
}
