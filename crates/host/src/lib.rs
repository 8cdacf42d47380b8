//! What a host does with a manifest: fetch, check, unpack, sync, switch, run commands.
