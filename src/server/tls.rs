//! The certificates and keys of a configuration, opened before it is put in force.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::config::listener::{Listener, Protocol};
use crate::config::tls::ListenerTls;
use crate::io::net::tls::{Acceptor, Connector, Secrets, Shown, Speaks};
use crate::model::name::Name;

/// Everything that has TLS.
#[derive(Debug, Default)]
pub struct Opened {
    certificates: BTreeMap<Name, Arc<Shown>>,
    acceptors: BTreeMap<Name, Acceptor>,
    connectors: BTreeMap<Name, Connector>,
}

/// What cannot be opened: all of it.
#[derive(Debug, thiserror::Error)]
pub struct OpenError(Vec<String>);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Opened {
    /// Reads every file. Listeners without ticket keys of their own use the `secrets`.
    ///
    /// # Errors
    /// Each listener and upstream whose files cannot be used, and why.
    pub fn open(config: &Config, secrets: &Arc<Secrets>) -> Result<Opened, OpenError> {
        let mut opened = Opened::default();
        let mut problems = Vec::new();
        for (name, certificate) in &config.certificates {
            match Shown::open(certificate) {
                Ok(shown) => drop(opened.certificates.insert(name.clone(), shown)),
                Err(error) => problems.push(format!("certificate {name}: {error}")),
            }
        }
        for (name, listener) in &config.listeners {
            let Some((tls, speaks)) = of_listener(listener) else {
                continue;
            };
            let shown = tls.certificates.iter();
            let shown = shown.filter_map(|it| opened.certificates.get(&it.name).cloned());
            match Acceptor::open(name, tls, shown.collect(), speaks, secrets) {
                Ok(acceptor) => drop(opened.acceptors.insert(name.clone(), acceptor)),
                Err(error) => problems.push(format!("listener {name}: {error}")),
            }
        }
        for (name, upstream) in &config.upstreams {
            let Some(tls) = &upstream.tls else {
                continue;
            };
            match Connector::open(tls, Speaks::of(upstream)) {
                Ok(connector) => drop(opened.connectors.insert(name.clone(), connector)),
                Err(error) => problems.push(format!("upstream {name}: {error}")),
            }
        }
        if problems.is_empty() {
            Ok(opened)
        } else {
            Err(OpenError(problems))
        }
    }

    /// All certificates.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<Shown>> {
        self.certificates.values()
    }

    /// Where TLS of listeners ends.
    pub fn acceptors(&self) -> impl Iterator<Item = &Acceptor> {
        self.acceptors.values()
    }

    /// Where TLS of this listener ends.
    pub fn acceptor(&self, listener: &Name) -> Option<Acceptor> {
        self.acceptors.get(listener).cloned()
    }

    /// How TLS to this upstream begins.
    pub fn connector(&self, upstream: &Name) -> Option<Connector> {
        self.connectors.get(upstream).cloned()
    }
}

fn of_listener(listener: &Listener) -> Option<(&ListenerTls, Speaks)> {
    let speaks = match &listener.protocol {
        Protocol::Http(http) if http.http2.is_some() => Speaks::BothHttp,
        Protocol::Http(_) => Speaks::Http,
        Protocol::Postgres(_) => Speaks::Postgres,
        Protocol::Tcp(_) | Protocol::Redis(_) => Speaks::Other,
    };
    Some((listener.protocol.tls()?, speaks))
}
