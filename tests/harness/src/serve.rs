//! A TCP server in threads: accepts, hands each connection to a handler in a thread of its own, and closes
//! everything on drop. What is spoken on a connection is the handler's business.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::ports::Address;

/// A listening server.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    _address: Address,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    live: Mutex<BTreeMap<u64, TcpStream>>,
}

impl Server {
    /// Listens on an address of its own.
    #[track_caller]
    pub(crate) fn start(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let address = Address::claim();
        let listener = TcpListener::bind((address.ip(), 0)).expect("cannot bind on an address that is ours");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let handle = Arc::new(handle);
        let accepting = thread::spawn(move || accept(&listener, &for_thread, &handle));
        Self {
            addr,
            shared,
            accepting: Some(accepting),
            _address: address,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

fn accept<H: Fn(TcpStream) + Send + Sync + 'static>(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    handle: &Arc<H>,
) {
    for number in 0.. {
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        // An answer in several writes must not wait for the client's acknowledgement of the first.
        let _ = stream.set_nodelay(true);
        let Ok(copy) = stream.try_clone() else { continue };
        shared.live.lock().unwrap().insert(number, copy);
        let (shared, handle) = (Arc::clone(shared), Arc::clone(handle));
        thread::spawn(move || {
            handle(stream);
            // The copy held here would keep the connection open.
            let copy = shared.live.lock().unwrap().remove(&number);
            if let Some(copy) = copy {
                let _ = copy.shutdown(Shutdown::Both);
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.addr);
        for stream in self.shared.live.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}
