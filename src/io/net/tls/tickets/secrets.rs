//! What the keys of tickets are derived from: made here and rotated, or read from files.
//!
//! Files have the formats of nginx' `ssl_session_ticket_key` (48 or 80 bytes, nothing else) and of
//! HAProxy's `tls-ticket-keys` (as many in base64, one a line), and both customs hold: the first file
//! is the one that counts, and of several keys in it the last but one. So a rotation writes a new key
//! where nobody uses it yet, waits until every process has it, and only then lets it be used.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::base::published::Published;
use crate::base::time::{self, Time};
use crate::config::default;
use crate::io::net::tls::TlsError;
use crate::io::net::tls::stamp::{Stamp, stamps};

/// One secret: 48 or 80 bytes, as nginx and HAProxy have them for AES-128 and AES-256. All of them go
/// into the derivation.
pub(super) struct Secret(Vec<u8>);

/// The first makes new tickets, all of them open old ones.
pub(super) type Kept = Vec<Secret>;

/// See the module.
#[derive(Debug)]
pub struct Secrets {
    kept: Published<Kept>,
    origin: Mutex<Origin>,
}

#[derive(Debug)]
enum Origin {
    /// Made here at this time.
    Made(Time),
    /// The files as they were when they were last read, or tried.
    Files(Vec<PathBuf>, Vec<Option<Stamp>>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    const SIZES: [usize; 2] = [48, 80];

    fn new(bytes: Vec<u8>) -> Option<Secret> {
        Secret::SIZES
            .contains(&bytes.len())
            .then_some(Secret(bytes))
    }

    /// Without chance there are none, and then no tickets.
    fn random() -> Option<Secret> {
        let mut bytes = vec![0; Secret::SIZES[1]];
        rand::fill(&mut bytes).ok()?;
        Some(Secret(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Secrets {
    /// New ones, which nobody else has.
    pub fn made() -> Arc<Secrets> {
        let kept = Secret::random().into_iter().collect();
        Arc::new(Secrets {
            kept: Published::new(kept),
            origin: Mutex::new(Origin::Made(time::now())),
        })
    }

    /// Those of these files.
    ///
    /// # Errors
    /// Which cannot be used, and why.
    pub(in crate::io::net::tls) fn read(paths: &[PathBuf]) -> Result<Arc<Secrets>, TlsError> {
        // Stamped before they are read: what is written meanwhile is read again.
        let stamps = stamps(paths);
        Ok(Arc::new(Secrets {
            kept: Published::new(of_files(paths)?),
            origin: Mutex::new(Origin::Files(paths.to_vec(), stamps)),
        }))
    }

    pub(super) fn kept(&self) -> Arc<Kept> {
        self.kept.load()
    }

    /// Makes a new secret when it is time, or reads the files again when they have changed. Files that
    /// cannot be used leave everything as it was, and are told of once.
    pub fn renew(&self) {
        let now = time::now();
        let mut origin = self.origin.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *origin {
            Origin::Made(at) => {
                if now.since(*at) >= default::TLS_TICKET_ROTATION {
                    *at = now;
                    self.rotate();
                }
            }
            Origin::Files(paths, known) => {
                let stamps = stamps(&*paths);
                if *known == stamps {
                    return;
                }
                *known = stamps;
                match of_files(paths) {
                    Ok(kept) => {
                        tracing::info!(
                            keys = kept.len(),
                            "changed ticket keys are used from now on"
                        );
                        self.kept.publish(kept);
                    }
                    Err(error) => tracing::warn!(
                        %error,
                        "changed ticket keys cannot be used: the ones before stay in use"
                    ),
                }
            }
        }
    }

    /// The files, if they are of files.
    pub(in crate::io::net::tls) fn files(&self) -> Vec<PathBuf> {
        match &*self.origin.lock().unwrap_or_else(PoisonError::into_inner) {
            Origin::Made(_) => Vec::new(),
            Origin::Files(paths, _) => paths.clone(),
        }
    }

    /// The one before still opens tickets: they live for two rotations.
    pub(super) fn rotate(&self) {
        let before = self.kept();
        let before = before.first().map(|secret| Secret(secret.0.clone()));
        let kept = Secret::random().into_iter().chain(before);
        self.kept.publish(kept.collect());
    }
}

const HELP: &str = "it must be 48 or 80 random bytes (openssl rand 80), or as many in base64, one key \
                    a line (openssl rand -base64 80 | tr -d '\\n')";

fn of_files(paths: &[PathBuf]) -> Result<Kept, TlsError> {
    let mut all = Vec::new();
    for path in paths {
        let mut found = of_file(path)?;
        if all.is_empty() {
            // The last but one of several; the others behind it.
            let position = found.len().saturating_sub(2);
            found.rotate_left(position);
        }
        all.extend(found);
        if all.len() > default::TLS_TICKET_KEYS_MAX {
            let most = default::TLS_TICKET_KEYS_MAX;
            let what = format!("more than {most} keys in all");
            return Err(TlsError::of(path, what, "remove those that are out of use"));
        }
    }
    Ok(all)
}

/// All keys of a file in their order; at least one.
fn of_file(path: &Path) -> Result<Vec<Secret>, TlsError> {
    let mut bytes = Vec::new();
    let most = default::TLS_TICKET_FILE_BYTES_MAX;
    let file = std::fs::File::open(path);
    file.and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            let help = "check the path, and that fairlead's user may read it";
            TlsError::of(path, format!("cannot be read: {error}"), help)
        })?;
    if bytes.len() as u64 > most {
        return Err(TlsError::of(
            path,
            format!("longer than {most} bytes"),
            HELP,
        ));
    }
    // Base64 of 48 or 80 bytes has 64 or 108 letters: no line of it is as long as a key.
    if Secret::SIZES.contains(&bytes.len()) {
        return Ok(Secret::new(bytes).into_iter().collect());
    }
    let mut found = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let secret = STANDARD.decode(line).ok().and_then(Secret::new);
        found.push(secret.ok_or_else(|| {
            let what = format!("line {} is no key", number + 1);
            TlsError::of(path, what, HELP)
        })?);
    }
    if found.is_empty() {
        return Err(TlsError::of(path, "no key in it", HELP));
    }
    Ok(found)
}
