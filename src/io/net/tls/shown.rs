//! A certificate that listeners show, and the files it is read from again when they change.
//!
//! Chain and key count as one: they are swapped together, and a pair that does not fit changes
//! nothing. Whoever writes them one after the other is told nothing as long as it is quick.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::sign::CertifiedKey;

use super::stamp::{Stamp, stamp};
use super::{TlsError, files, x509};
use crate::base::published::Published;
use crate::base::time::Date;
use crate::config::tls::Certificate;
use crate::model::name::Name;

/// See the module.
#[derive(Debug)]
pub struct Shown {
    config: Arc<Certificate>,
    pair: Published<CertifiedKey>,
    /// The files as they were when they were last read, or tried.
    files: Mutex<Stamps>,
}

type Stamps = [Option<Stamp>; 2];

impl Shown {
    /// Reads the files.
    ///
    /// # Errors
    /// Which cannot be used, and why.
    pub fn open(config: &Arc<Certificate>) -> Result<Arc<Shown>, TlsError> {
        // Stamped before they are read: what is written meanwhile is read again.
        let files = stamps(config);
        let pair = files::identity(&config.cert, &config.key)?;
        Ok(Arc::new(Shown {
            config: Arc::clone(config),
            pair: Published::new(Arc::unwrap_or_clone(pair)),
            files: Mutex::new(files),
        }))
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &Name {
        &self.config.name
    }

    /// The two files: chain, key.
    pub fn files(&self) -> [&Path; 2] {
        [&self.config.cert, &self.config.key]
    }

    /// When the certificate ends, if that can be told.
    pub fn ends_at(&self) -> Option<SystemTime> {
        x509::ends_at(self.pair.load().cert.first()?)
    }

    /// Reads the files again if they have changed. What cannot be used leaves everything as it was,
    /// and is told once.
    pub fn renew(&self) {
        let mut known = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = stamps(&self.config);
        if *known == files {
            return;
        }
        *known = files;
        match files::identity(&self.config.cert, &self.config.key) {
            Ok(pair) => {
                self.pair.publish(Arc::unwrap_or_clone(pair));
                let ends_at = self.ends_at().map(Date);
                tracing::info!(
                    certificate = %self.config.name,
                    ends_at = ends_at.map(tracing::field::display),
                    "a changed certificate is shown from now on"
                );
            }
            Err(error) => tracing::warn!(
                certificate = %self.config.name,
                %error,
                "a changed certificate cannot be used: the one before is shown"
            ),
        }
    }

    pub(super) fn pair(&self) -> Arc<CertifiedKey> {
        self.pair.load()
    }
}

fn stamps(config: &Certificate) -> Stamps {
    [stamp(&config.cert), stamp(&config.key)]
}
