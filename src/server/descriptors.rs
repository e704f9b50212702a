//! Descriptors: as many as the system gives, and never so many connections that none is left for
//! probes, the API and the files.

use crate::config::default;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to the greatest this process may have.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of descriptors");
    }
}

/// The client connections that can be served of those configured: each needs a descriptor for the
/// client and one for the endpoint. Warns of fewer when `is_news`, not again at each reload.
pub fn connections_allowed(configured: usize, is_news: bool) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let allowed = allowed_by(limit, configured);
    if is_news && allowed < configured {
        tracing::warn!(
            max_connections = configured,
            allowed,
            descriptors = limit,
            "fewer connections than configured: raise LimitNOFILE= (systemd) or ulimit -n"
        );
    }
    allowed
}

fn allowed_by(limit: Option<u64>, configured: usize) -> usize {
    let Some(limit) = limit else {
        return configured;
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    configured.min(limit.saturating_sub(default::DESCRIPTORS_KEPT) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_take_the_last_descriptors() {
        for (limit, configured, allowed) in [
            (None, 100_000, 100_000),
            (Some(1_048_576), 100_000, 100_000),
            (Some(20_000), 100_000, 9_872),
            (Some(64), 100_000, 0),
        ] {
            assert_eq!(allowed_by(limit, configured), allowed, "{limit:?}");
        }
    }
}
