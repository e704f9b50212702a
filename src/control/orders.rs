//! Operators' orders on their way to the actors that carry them out.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::base::time;
use crate::config::default;
use crate::control::actor::{Actor, Command};
use crate::control::fences::Fences;
use crate::model::event::SuspensionCause;
use crate::model::name::Name;
use crate::model::order::{Order, OrderRefused};
use crate::upstream::cell::UpstreamCell;
use crate::upstream::endpoint::Verdicts;
use crate::upstream::snapshot::Snapshot;

/// Every upstream's desk, by its name.
pub type Desks = BTreeMap<Name, Desk>;

/// Where orders for one upstream are taken.
#[derive(Debug, Clone)]
pub struct Desk {
    cell: Arc<UpstreamCell>,
    commands: mpsc::Sender<Command>,
    fences: Arc<Fences>,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The machine says why.
    #[error(transparent)]
    Refused(#[from] OrderRefused),
    /// The upstream has been removed, or its actor is busy.
    #[error("the upstream takes no orders now: it is being removed, or fairlead is stopping")]
    Gone,
}

impl Desk {
    pub(super) fn new(
        cell: Arc<UpstreamCell>,
        commands: mpsc::Sender<Command>,
        fences: Arc<Fences>,
    ) -> Desk {
        Desk {
            cell,
            commands,
            fences,
        }
    }

    /// The upstream whose desk it is.
    pub fn cell(&self) -> &Arc<UpstreamCell> {
        &self.cell
    }

    /// Has an order carried out. When this returns, the picture shows it; where the order is for a
    /// primary, the endpoint has said itself that it is one.
    ///
    /// # Errors
    /// The order was refused, or the endpoint does not say that it is primary: see [`OrderRefused`].
    pub async fn order(&self, order: Order) -> Result<(), OrderError> {
        let wanted = match &order {
            Order::Primary { endpoint, .. } => Some(endpoint.clone()),
            Order::Pause { .. } | Order::Resume => None,
        };
        let is_end = order == Order::Resume;
        let mut pictures = self.cell.snapshot.changes();
        let (reply, answer) = oneshot::channel();
        let command = Command::Order(order, reply);
        let sent = self.commands.send(command).await;
        sent.map_err(|_| OrderError::Gone)?;
        answer.await.map_err(|_| OrderError::Gone)??;
        let is_shown = |snapshot: &Snapshot| match &wanted {
            Some(wanted) => leads(snapshot, wanted),
            // The primary is asked once more before it goes on.
            None => !is_end || !is_paused(snapshot),
        };
        let shown = async {
            while !is_shown(&self.cell.snapshot.load()) {
                if pictures.changed().await.is_err() {
                    return;
                }
            }
        };
        let is_shown = tokio::time::timeout(default::ORDER_WAIT, shown).await;
        if let Some(wanted) = &wanted {
            if is_shown.is_err() {
                return Err(OrderRefused::NotVerified(self.why_not(wanted)).into());
            }
            // What the operator has accepted must not be refused after a crash. A disk that cannot
            // be written has its error in the log, and undoes nothing.
            let written = self.fences.written(&self.cell.name);
            drop(tokio::time::timeout(default::ORDER_WAIT, written).await);
        }
        Ok(())
    }

    /// What an endpoint says instead of being primary.
    fn why_not(&self, endpoint: &Name) -> String {
        let snapshot = self.cell.snapshot.load();
        let mut views = snapshot.endpoints.iter();
        let Some(view) = views.find(|view| view.endpoint.id == *endpoint) else {
            return format!("{endpoint} is none of the endpoints any more");
        };
        let Verdicts { last, .. } = &*view.endpoint.verdicts.load();
        let said = match last.as_ref().map(|verdict| &verdict.result) {
            Some(Ok(evidence)) => format!("its last probe saw: {evidence}"),
            Some(Err(failure)) => format!("its last probe failed: {failure}"),
            None => "it has not been probed yet".to_owned(),
        };
        let why = view
            .why
            .as_deref()
            .map_or_else(String::new, |why| format!("; {why}"));
        format!(
            "{endpoint} was not verified as primary within {:?}: {said}{why}. Promote it, then order \
             again",
            default::ORDER_WAIT
        )
    }
}

/// Whether the picture has this endpoint as its verified primary, suspended or not.
fn leads(snapshot: &Snapshot, endpoint: &Name) -> bool {
    let primary = snapshot.roles.as_ref().and_then(|roles| roles.primary);
    let view = primary.and_then(|position| snapshot.endpoints.get(position));
    view.is_some_and(|view| view.endpoint.id == *endpoint)
}

/// Whether an operator's pause or switch is on.
fn is_paused(snapshot: &Snapshot) -> bool {
    let roles = snapshot.roles.as_ref();
    let suspension = roles.and_then(|roles| roles.suspension.as_ref());
    suspension.is_some_and(|suspension| suspension.cause != SuspensionCause::Failover)
}

impl Actor {
    /// Carries an order out, or says why not.
    pub(super) fn take_order(
        &mut self,
        order: Order,
        reply: oneshot::Sender<Result<(), OrderRefused>>,
    ) {
        let ordered = self.state.order(order, time::now());
        let ordered = ordered.map(|effects| self.carry_out(effects));
        // Who asked may have gone away.
        drop(reply.send(ordered));
    }
}
