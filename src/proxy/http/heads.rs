//! Parsed heads are lent like buffers: their field lists keep their memory from message to message.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::config::default;
use crate::proxy::http::h1::request::RequestHead;
use crate::proxy::http::h1::response::ResponseHead;

/// A worker's stock of heads.
#[derive(Debug, Default)]
pub struct Heads {
    requests: Rc<Stock<RequestHead>>,
    responses: Rc<Stock<ResponseHead>>,
}

impl Heads {
    /// A request head to parse into.
    pub fn lend_request(&self) -> Lent<RequestHead> {
        Stock::lend(&self.requests)
    }

    /// A response head to parse into.
    pub fn lend_response(&self) -> Lent<ResponseHead> {
        Stock::lend(&self.responses)
    }
}

#[derive(Debug, Default)]
struct Stock<H>(RefCell<Vec<H>>);

impl<H: Default> Stock<H> {
    fn lend(stock: &Rc<Stock<H>>) -> Lent<H> {
        let head = stock.0.borrow_mut().pop().unwrap_or_default();
        Lent {
            head,
            home: Rc::clone(stock),
        }
    }
}

/// A lent head. Comes back when dropped.
#[derive(Debug)]
pub struct Lent<H: Default> {
    head: H,
    home: Rc<Stock<H>>,
}

impl<H: Default> Deref for Lent<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.head
    }
}

impl<H: Default> DerefMut for Lent<H> {
    fn deref_mut(&mut self) -> &mut H {
        &mut self.head
    }
}

impl<H: Default> Drop for Lent<H> {
    fn drop(&mut self) {
        let mut stock = self.home.0.borrow_mut();
        if stock.len() < default::SMALL_BUFFERS_KEPT_MAX {
            stock.push(std::mem::take(&mut self.head));
        }
    }
}
