//! The artifact of a deploy: trees, frames, layers, indexes, the record, unpacking.
