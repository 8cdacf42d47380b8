//! The `shipit` binary.

fn main() {}
