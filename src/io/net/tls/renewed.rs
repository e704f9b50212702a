//! A connector whose files may be replaced: a CA or a certificate of ours that is rotated needs no
//! restart.
//!
//! Files are looked at before each connection, and opened anew when one of them is another one than
//! before. Files that cannot be used change nothing: what was opened last stays in use, and it is told.

use std::sync::{Arc, Mutex, PoisonError};

use super::stamp::{Stamp, stamps};
use super::{Connector, Speaks};
use crate::config::tls::UpstreamTls;

/// See the module. Clones share what is open.
#[derive(Debug, Clone)]
pub struct Renewed {
    config: UpstreamTls,
    speaks: Speaks,
    open: Arc<Mutex<Option<Open>>>,
}

#[derive(Debug)]
struct Open {
    /// The files as they were when they were last opened, or tried.
    files: Vec<Option<Stamp>>,
    /// What is used, or why there never was anything to use.
    connector: Result<Connector, String>,
    /// Why the files of now are not used.
    trouble: Option<String>,
}

impl Renewed {
    /// Opens nothing yet.
    pub fn new(config: &UpstreamTls, speaks: Speaks) -> Renewed {
        Renewed {
            config: config.clone(),
            speaks,
            open: Arc::default(),
        }
    }

    /// What is to be used for the next connection.
    ///
    /// # Errors
    /// Which file cannot be used, where none ever could.
    pub fn connector(&self) -> Result<Connector, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Stamped before they are read: what is written meanwhile is read again.
        let files = self.stamps();
        if let Some(known) = open.as_ref().filter(|known| known.files == files) {
            return known.connector.clone();
        }
        let opened = Connector::open(&self.config, self.speaks).map_err(|error| error.to_string());
        let before = open.take().and_then(|known| known.connector.ok());
        let next = match (opened, before) {
            (Err(trouble), Some(before)) => {
                tracing::warn!(
                    reason = trouble,
                    "changed TLS files cannot be used: the ones before stay in use"
                );
                Open {
                    files,
                    connector: Ok(before),
                    trouble: Some(format!("changed files are not used: {trouble}")),
                }
            }
            (opened, before) => {
                if before.is_some() {
                    tracing::info!("changed TLS files are used from now on");
                }
                Open {
                    files,
                    connector: opened,
                    trouble: None,
                }
            }
        };
        let connector = next.connector.clone();
        *open = Some(next);
        connector
    }

    /// Why changed files are not used, for people.
    pub fn trouble(&self) -> Option<String> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref()?.trouble.clone()
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let identity = self.config.identity.iter();
        let pair = identity.flat_map(|identity| [&identity.cert, &identity.key]);
        stamps(self.config.ca.iter().chain(pair))
    }
}
