//! The API: what runs, in JSON and for Prometheus, and the few things that may be changed.
//!
//! `listen` accepts on three kinds of door, `guard` refuses what a browser was tricked into,
//! `answer` finds the page, `order` takes what an operator orders, `picture` and `readings` fill
//! pages from the live snapshots, `pages` are their shapes. `client` is the other side, for the command line.

mod answer;
pub mod client;
mod guard;
pub mod listen;
mod order;
pub mod pages;
pub mod picture;
mod readings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::base::published::Published;
use crate::base::task::Tasks;
use crate::base::time::Time;
use crate::config::Config;
use crate::control::admin::pages::{RefusedProblem, ReloadPage};
use crate::control::journal::Journal;
use crate::control::orders::Desks;
use crate::control::readiness::Readiness;
use crate::model::name::Name;
use crate::telemetry::metrics::Metrics;
use crate::upstream::cell::UpstreamCell;
use crate::upstream::registry::Registry;

/// The addresses each listener is bound to, with the ports the kernel chose.
pub type Bound = BTreeMap<Name, Vec<SocketAddr>>;

/// What the API reads, and whom it asks.
pub struct AdminContext {
    /// Every configured upstream.
    pub registry: Arc<Published<Registry>>,
    /// Where orders for upstreams are taken.
    pub desks: Arc<Published<Desks>>,
    /// What happened.
    pub journal: Arc<Journal>,
    /// Where the listeners are.
    pub bound: Arc<Published<Bound>>,
    /// The configuration in force, with its generation.
    pub config: Arc<Published<Arc<Config>>>,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` asks.
    pub readiness: Arc<Readiness>,
    /// Who reloads.
    pub reload: mpsc::Sender<ReloadCall>,
    /// The family of connection tasks.
    pub tasks: Tasks,
    /// When the process began.
    pub started_at: Time,
}

impl AdminContext {
    /// Every configured upstream, by name.
    pub fn upstreams(&self) -> Vec<Arc<UpstreamCell>> {
        self.registry.load().iter().map(Arc::clone).collect()
    }
}

/// Somebody asks for a reload and waits for the answer.
#[derive(Debug)]
pub struct ReloadCall {
    /// Where the answer goes; nobody may be there any more.
    pub reply: oneshot::Sender<ReloadReply>,
}

/// What changed, or why nothing did.
pub type ReloadReply = Result<ReloadPage, Vec<RefusedProblem>>;
