//! What an endpoint is told of a session's client in front of everything else.

use crate::proxy::origin::Origin;
use crate::proxy::tcp::session::Session;
use crate::upstream::lease::Lease;

impl<'a> Session<'a> {
    /// With who it comes from.
    pub fn with_origin(mut self, origin: Origin) -> Session<'a> {
        self.origin = Some(origin);
        self
    }

    /// The PROXY protocol header for an endpoint that wants one, else nothing. The same id at every
    /// endpoint that is tried.
    pub(super) fn header(&mut self, lease: &Lease) -> Vec<u8> {
        let version = lease.snapshot().config.proxy_protocol;
        let Some((version, origin)) = version.zip(self.origin) else {
            return Vec::new();
        };
        let new_id = || self.asked.worker.request_id();
        let rare = self.end.rare.get_or_insert_default();
        let id = rare.id.get_or_insert_with(new_id);
        origin.header(version, &self.client, id.as_str())
    }
}
