//! An application: answers with its name and the number of the connection; `/slow` waits until the
//! test lets it go on.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// A running one. It ends with the test.
pub(super) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    is_ending: AtomicBool,
    /// Requests for `/slow` that wait.
    waiting: AtomicUsize,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Origin {
    pub(super) fn start(name: &str) -> Origin {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            is_ending: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            is_open: Mutex::new(false),
            opened: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                if serving.is_ending.load(Ordering::SeqCst) {
                    return;
                }
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.serve(number, stream));
            }
        });
        Origin { address, shared }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests for `/slow` wait.
    pub(super) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// Lets every `/slow` be answered from now on.
    pub(super) fn open(&self) {
        *self.shared.is_open.lock().unwrap() = true;
        self.shared.opened.notify_all();
    }
}

impl Shared {
    fn serve(&self, number: usize, mut stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        loop {
            let line = lines.next()?.ok()?;
            while !lines.next()?.ok()?.is_empty() {}
            if line.contains(" /slow") {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                let open = self.is_open.lock().unwrap();
                drop(self.opened.wait_while(open, |is_open| !*is_open).unwrap());
                self.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            let name = &self.name;
            let length = name.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Connection: {number}\r\n\r\n{name}"
            );
            stream.write_all(answer.as_bytes()).ok()?;
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.open();
        self.shared.is_ending.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}
