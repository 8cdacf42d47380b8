//! Starting a process in a session of its own, which is what every child of this crate gets.
//!
//! A session, not only a process group: it has no controlling terminal, so that a tool which opens /dev/tty to ask for
//! a password fails at once, where a background group would be stopped for ever; and ctrl-C on the terminal reaches
//! shipit alone, which then decides.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{Pid, Signal};

/// Makes `command` start in a session of its own, with umask 022. With `die_with_us` it gets TERM when the thread that
/// starts it ends: the thread must live as long as the child is wanted.
#[allow(
    unsafe_code,
    reason = "pre_exec: the standard library has no safe way to setsid and umask a child"
)]
pub(crate) fn in_own_session(command: &mut Command, die_with_us: bool) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. `enter` makes plain system calls, takes no
    // lock and allocates nothing, its errors included.
    unsafe {
        command.pre_exec(move || enter(parent, die_with_us));
    }
}

fn enter(parent: Pid, die_with_us: bool) -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::umask(Mode::from_bits_retain(0o022));
    if die_with_us {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // The parent may have died before the line above took effect.
        if rustix::process::getppid() != Some(parent) {
            return Err(rustix::io::Errno::SRCH.into());
        }
    }
    Ok(())
}
