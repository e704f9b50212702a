//! What the relays of one worker share: one buffer, some pipes, and counts.

use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::pipe::PipeFlags;

use crate::config::default;

/// The shared things of one worker's relays.
#[derive(Debug)]
pub struct Stock {
    buffer: RefCell<Box<[u8]>>,
    pipes: RefCell<Vec<Pipe>>,
    lent: Rc<Cell<usize>>,
    can_splice: Cell<bool>,
    splices: Cell<u64>,
    spliced_bytes: Cell<u64>,
}

/// A pipe between two sockets. Empty whenever it lies in the stock.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) output: OwnedFd,
    pub(super) input: OwnedFd,
    pub(super) capacity: usize,
    lent: Rc<Cell<usize>>,
}

impl Default for Stock {
    fn default() -> Stock {
        Stock {
            buffer: RefCell::new(vec![0; default::RELAY_BUFFER_BYTES].into()),
            pipes: RefCell::default(),
            lent: Rc::default(),
            can_splice: Cell::new(true),
            splices: Cell::new(0),
            spliced_bytes: Cell::new(0),
        }
    }
}

impl Stock {
    /// How often, and how many bytes, the kernel moved for us.
    pub fn spliced(&self) -> (u64, u64) {
        (self.splices.get(), self.spliced_bytes.get())
    }

    /// The shared buffer. Borrowed within one poll, never across a wait.
    pub(super) fn buffer(&self) -> RefMut<'_, Box<[u8]>> {
        self.buffer.borrow_mut()
    }

    /// An empty pipe; `None` when enough are in use, or when the system gives none.
    pub(super) fn lend_pipe(&self) -> Option<Pipe> {
        if !self.can_splice.get() {
            return None;
        }
        if let Some(pipe) = self.pipes.borrow_mut().pop() {
            return Some(pipe);
        }
        if self.lent.get() >= default::RELAY_PIPES_MAX {
            return None;
        }
        Pipe::new(&self.lent).ok()
    }

    /// Takes back an empty pipe.
    pub(super) fn give_back(&self, pipe: Pipe) {
        let mut pipes = self.pipes.borrow_mut();
        if pipes.len() < default::RELAY_PIPES_KEPT_MAX {
            pipes.push(pipe);
        }
    }

    /// From now on everything is copied.
    pub(super) fn stop_splicing(&self) {
        self.can_splice.set(false);
    }

    pub(super) fn count_spliced(&self, bytes: usize) {
        self.splices.set(self.splices.get() + 1);
        self.spliced_bytes
            .set(self.spliced_bytes.get() + bytes as u64);
    }
}

#[cfg(test)]
impl Stock {
    /// Pipes that exist.
    pub(super) fn pipes_lent(&self) -> usize {
        self.lent.get()
    }

    /// Pipes that are not in stock.
    pub(super) fn pipes_in_use(&self) -> usize {
        self.lent.get() - self.pipes.borrow().len()
    }
}

impl Pipe {
    fn new(lent: &Rc<Cell<usize>>) -> io::Result<Pipe> {
        let (output, input) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Refused beyond the pages a user may pin (`pipe-user-pages-soft`): then it stays smaller.
        let capacity = rustix::pipe::fcntl_setpipe_size(&input, default::RELAY_PIPE_BYTES)
            .or_else(|_| rustix::pipe::fcntl_getpipe_size(&input))?;
        if capacity < super::BULK_READ_BYTES {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        lent.set(lent.get() + 1);
        Ok(Pipe {
            output,
            input,
            capacity,
            lent: Rc::clone(lent),
        })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.lent.set(self.lent.get().saturating_sub(1));
    }
}
