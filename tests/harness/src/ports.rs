//! Addresses for servers: each gets a loopback address of its own, so that tests of any number of processes run
//! side by side, each server on whatever ports it likes. Linux answers on all of 127.0.0.0/8.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A listener here marks an address as taken. It lies above the range of ports that the kernel hands out.
const CLAIM_PORT: u16 = 61_999;

/// A loopback address that belongs to its holder until it is dropped.
#[derive(Debug)]
pub struct Address {
    ip: Ipv4Addr,
    given: Mutex<BTreeSet<u16>>,
    _claim: TcpListener,
}

impl Address {
    /// Takes an address that no other test holds.
    ///
    /// # Panics
    /// When a thousand addresses in a row are taken.
    #[track_caller]
    #[must_use]
    pub fn claim() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        for _ in 0..1000 {
            let ip = candidate(process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
            // Binding is the claim: the kernel lets one process have it.
            if let Ok(claim) = TcpListener::bind((ip, CLAIM_PORT)) {
                return Self {
                    ip,
                    given: Mutex::default(),
                    _claim: claim,
                };
            }
        }
        panic!("no loopback address is free: do a thousand test servers run, or is port {CLAIM_PORT} taken?");
    }

    /// The address.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// A port that is free for TCP and UDP, and that this address has not given before.
    #[track_caller]
    #[must_use]
    pub fn port(&self) -> u16 {
        let mut given = self.given.lock().unwrap();
        for _ in 0..1000 {
            let port = free(self.ip);
            if given.insert(port) {
                return port;
            }
        }
        panic!("no port of {} is free", self.ip);
    }

    /// The address with a fresh port.
    #[track_caller]
    #[must_use]
    pub fn socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.ip, self.port())
    }
}

/// A port of `ip` that is free for TCP and UDP at this moment. Only a holder of the address can rely on it to
/// stay free: see [`Address`].
#[track_caller]
#[must_use]
pub fn free(ip: Ipv4Addr) -> u16 {
    for _ in 0..1000 {
        let listener = TcpListener::bind((ip, 0)).unwrap_or_else(|err| panic!("cannot bind on {ip}: {err}"));
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        if UdpSocket::bind((ip, port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {ip} is free for TCP and UDP");
}

/// Spreads processes over 127.64.0.1 to 127.127.255.254; within one, addresses follow each other.
fn candidate(pid: u32, counter: u32) -> Ipv4Addr {
    let number = pid.wrapping_mul(1021).wrapping_add(counter) % (64 * 256 * 254);
    let [_, _, second, third] = (number / 254).to_be_bytes();
    let last = u8::try_from(number % 254 + 1).expect("below 255");
    Ipv4Addr::new(127, 64 + second, third, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ports_are_never_given_twice() {
        let held: Vec<Address> = (0..50).map(|_| Address::claim()).collect();
        let ips: BTreeSet<_> = held.iter().map(Address::ip).collect();
        assert_eq!(ips.len(), held.len());
        let ports: BTreeSet<_> = (0..20).map(|_| held[0].port()).collect();
        assert_eq!(ports.len(), 20);
    }

    #[test]
    fn candidates_stay_in_their_range() {
        for (pid, counter) in [(0, 0), (1, 253), (4_194_304, 7), (u32::MAX, u32::MAX)] {
            let [net, second, _, last] = candidate(pid, counter).octets();
            assert_eq!(net, 127);
            assert!((64..128).contains(&second), "{second}");
            assert!((1..255).contains(&last), "{last}");
        }
        assert_ne!(candidate(1, 0), candidate(1, 1));
        assert_ne!(candidate(1, 0), candidate(2, 0));
    }
}
