//! Redis Cluster: every shard has a primary of its own, so several are normal, and nothing orders the
//! history of one shard against another's. Each endpoint is what it says itself; a client that speaks
//! Redis Cluster is told by the endpoints where its keys are (`MOVED`, `ASK`).

use crate::model::flags::{Flag, Flags};
use crate::model::role::{Epoch, Role};
use crate::model::verdict::Evidence;
use crate::policy::topology::{Claim, Election, Standing};

/// Nobody is elected: the standings say who leads a shard.
pub(super) fn elect(claims: &[Claim<'_>]) -> Election {
    Election {
        primary: None,
        epoch: Epoch::default(),
        is_split_brain: false,
        standings: claims.iter().map(standing).collect(),
    }
}

fn standing(claim: &Claim<'_>) -> Standing {
    let Some(Evidence::Redis(facts)) = claim.evidence else {
        return Standing::silent();
    };
    let is_cut_off = facts.role == Role::Replica && !facts.is_link_up;
    let mut standing = Standing {
        role: facts.role,
        flags: Flags::NONE
            .with_if(Flag::Loading, facts.is_loading)
            .with_if(Flag::LinkDown, is_cut_off && !facts.is_loading),
        ..Standing::default()
    };
    if standing.flags.is_empty() && standing.role == Role::Primary && claim.is_doubted {
        standing.doubt();
    }
    standing
}
