//! Buffers are lent while bytes move and come back at once: no idle connection owns one.
//!
//! The last one given back is the next one lent, so a busy worker keeps touching the same few
//! cache lines.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::config::default;

/// A worker's stock of buffers: large ones to read into, small ones to build heads in.
#[derive(Debug, Default)]
pub struct Buffers {
    large: RefCell<Vec<Vec<u8>>>,
    small: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// A buffer of [`default::BODY_BUFFER_BYTES`] bytes to read into. Its content is left over
    /// from earlier use.
    pub fn lend_large(self: &Rc<Self>) -> LargeBuffer {
        let bytes = self.large.borrow_mut().pop();
        let bytes = bytes.unwrap_or_else(|| vec![0; default::BODY_BUFFER_BYTES]);
        LargeBuffer {
            bytes,
            home: Rc::clone(self),
        }
    }

    /// Gives back what is kept for reuse.
    pub fn clear(&self) {
        self.large.take();
        self.small.take();
    }

    /// An empty buffer to append to.
    pub fn lend_small(self: &Rc<Self>) -> SmallBuffer {
        let bytes = self.small.borrow_mut().pop().unwrap_or_default();
        SmallBuffer {
            bytes,
            home: Rc::clone(self),
        }
    }
}

/// A lent read buffer: always full length.
#[derive(Debug)]
pub struct LargeBuffer {
    bytes: Vec<u8>,
    home: Rc<Buffers>,
}

impl Deref for LargeBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for LargeBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for LargeBuffer {
    fn drop(&mut self) {
        let mut stock = self.home.large.borrow_mut();
        if stock.len() < default::LARGE_BUFFERS_KEPT_MAX {
            stock.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// A lent buffer that grows by appending.
#[derive(Debug)]
pub struct SmallBuffer {
    bytes: Vec<u8>,
    home: Rc<Buffers>,
}

impl Deref for SmallBuffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for SmallBuffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for SmallBuffer {
    fn drop(&mut self) {
        let mut stock = self.home.small.borrow_mut();
        if stock.len() < default::SMALL_BUFFERS_KEPT_MAX
            && self.bytes.capacity() <= default::SMALL_BUFFER_BYTES_MAX
        {
            self.bytes.clear();
            stock.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_the_next_one_lent() {
        let buffers = Rc::new(Buffers::default());
        let mut small = buffers.lend_small();
        small.extend_from_slice(b"abc");
        let place = small.as_ptr();
        drop(small);
        let again = buffers.lend_small();
        assert!(again.is_empty() && again.as_ptr() == place);
        let large = buffers.lend_large();
        assert_eq!(large.len(), default::BODY_BUFFER_BYTES);
        drop((again, large));
        buffers.clear();
        assert!(buffers.large.borrow().is_empty() && buffers.small.borrow().is_empty());
    }
}
