//! One data-plane thread's context: everything its connections share, and nothing of other
//! threads but atomics and published pictures.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::base::published::Reader;
use crate::base::rng::Rng;
use crate::base::task::Tasks;
use crate::base::ticks::Ticks;
use crate::base::time::{self, Time};
use crate::io::net::relay::Stock;
use crate::model::name::Name;
use crate::model::role::WantedRole;
use crate::model::strain::Strain;
use crate::proxy::alarm::Alarms;
use crate::proxy::buffers::Buffers;
use crate::proxy::http::h2::pool::Links;
use crate::proxy::http::heads::Heads;
use crate::proxy::http::pool::Pool;
use crate::proxy::http::text::{HttpDate, RequestId};
use crate::proxy::postgres::tables::Tables;
use crate::telemetry::access_log::AccessLog;
use crate::upstream::cell::UpstreamCell;
use crate::upstream::lease::{Lease, Tried};
use crate::upstream::snapshot::Snapshot;

/// The context of one worker. Connections hold it by `Rc`.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// For picks, jitter and request ids.
    pub rng: RefCell<Rng>,
    /// Deadlines, drain and retirement of all its connections.
    pub alarms: Rc<Alarms>,
    /// Lent while bytes move.
    pub buffers: Rc<Buffers>,
    /// Its connections.
    pub tasks: Tasks,
    /// One record per exchange and session.
    pub access_log: AccessLog,
    /// Parsed heads, lent for one message.
    pub heads: Rc<Heads>,
    /// What all its relays share.
    pub relays: Rc<Stock>,
    /// Its idle upstream connections.
    pub pool: Pool,
    /// Its HTTP/2 connections to endpoints.
    pub links: Links,
    /// What the Postgres sessions of all workers share.
    pub postgres: Arc<Tables>,
    /// What the process is short of.
    pub strain: Arc<Strain>,
    date: RefCell<HttpDate>,
    swept_at: Cell<Time>,
    upstreams: RefCell<HashMap<Name, Rc<LocalUpstream>>>,
    last_number: Cell<u64>,
}

/// An upstream as one worker sees it.
#[derive(Debug)]
pub struct LocalUpstream {
    /// The shared part.
    pub cell: Arc<UpstreamCell>,
    reader: RefCell<Reader<Snapshot>>,
}

impl Worker {
    /// The context of worker `index`.
    pub fn new(
        index: usize,
        rng: Rng,
        tasks: Tasks,
        access_log: AccessLog,
        postgres: Arc<Tables>,
        strain: Arc<Strain>,
    ) -> Worker {
        Worker {
            index,
            rng: RefCell::new(rng),
            alarms: Rc::default(),
            buffers: Rc::default(),
            tasks,
            access_log,
            heads: Rc::default(),
            relays: Rc::default(),
            pool: Pool::default(),
            links: Links::default(),
            postgres,
            strain,
            date: RefCell::default(),
            swept_at: Cell::new(time::now()),
            upstreams: RefCell::default(),
            last_number: Cell::default(),
        }
    }

    /// The moment of the last sweep: at most
    /// [`SWEEP_INTERVAL`](crate::proxy::alarm::SWEEP_INTERVAL) old, and free. Deadlines start here.
    pub fn recently(&self) -> Time {
        self.swept_at.get()
    }

    /// The time of day for `Date` fields; made anew at most once a second.
    pub fn date(&self) -> HttpDate {
        let mut date = self.date.borrow_mut();
        date.refresh(self.recently());
        *date
    }

    /// A new request id: 32 hexadecimal digits. It need not be secret, only distinct.
    pub fn request_id(&self) -> RequestId {
        let mut rng = self.rng.borrow_mut();
        RequestId::from_bits(rng.bits(), rng.bits())
    }

    /// The number of a new client connection; no other of this worker has it.
    pub fn number(&self) -> u64 {
        let number = self.last_number.get().wrapping_add(1);
        self.last_number.set(number);
        number
    }

    /// This worker's view of an upstream. A reload that replaces the cell replaces the view.
    pub fn upstream(&self, cell: &Arc<UpstreamCell>) -> Rc<LocalUpstream> {
        let mut upstreams = self.upstreams.borrow_mut();
        match upstreams.get(&cell.name) {
            Some(known) if Arc::ptr_eq(&known.cell, cell) => Rc::clone(known),
            _ => {
                let reader = RefCell::new(cell.snapshot.reader());
                let view = Rc::new(LocalUpstream {
                    cell: Arc::clone(cell),
                    reader,
                });
                upstreams.insert(cell.name.clone(), Rc::clone(&view));
                view
            }
        }
    }

    /// Looks at all alarms at every tick, and when the bell rings, until the worker ends.
    pub async fn sweep(&self, bell: &Notify, mut ticks: Ticks) {
        loop {
            tokio::select! {
                () = ticks.tick() => {}
                () = bell.notified() => {}
            }
            let now = time::now();
            self.swept_at.set(now);
            let ends_idle = self.strain.ends_idle();
            self.alarms.sweep(now, ends_idle);
            while self.alarms.wake_some() {
                // What is ready by now, new clients above all, goes before the next batch.
                tokio::task::yield_now().await;
            }
            self.pool.sweep(now, ends_idle);
            if ends_idle {
                self.buffers.clear();
            }
            self.links.sweep(now);
            self.forget_unused();
        }
    }

    /// Drops views of upstreams that no route of this worker leads to any more.
    fn forget_unused(&self) {
        self.upstreams
            .borrow_mut()
            .retain(|_, view| Rc::strong_count(view) > 1);
    }
}

impl LocalUpstream {
    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.reader.borrow_mut().load())
    }

    /// Picks an endpoint that was not tried yet, now, without waiting.
    pub fn pick(
        &self,
        wanted: WantedRole,
        tried: &Tried,
        now: Time,
        rng: &mut Rng,
    ) -> Option<Lease> {
        Lease::pick(self.reader.borrow_mut().load(), wanted, tried, now, rng)
    }
}
