//! A certificate authority made for one test, and the files it signs.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// Signs what is asked for; its files go with it.
pub(crate) struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let dir = TempDir::new().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two of them are told apart by name.
        let name = format!("CA of {}", dir.path().display());
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.crt"), made.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Authority { dir, issuer }
    }

    /// The authority's own certificate.
    pub(crate) fn ca(&self) -> String {
        self.dir.path().join("ca.crt").display().to_string()
    }

    /// A certificate for these names, in files called after the first.
    pub(crate) fn pair(&self, names: &[&str]) -> Pair {
        let all: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(all).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair {
            cert: self.dir.path().join(format!("{}.crt", names[0])),
            key: self.dir.path().join(format!("{}.key", names[0])),
        };
        std::fs::write(&pair.cert, made.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        // libpq refuses keys that others may read.
        let only_owner = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&pair.key, only_owner).unwrap();
        pair
    }
}

impl Pair {
    /// The table `[certificates.NAME]`.
    pub(crate) fn table(&self, name: &str) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        format!("[certificates.{name}]\ncert = \"{cert}\"\nkey = \"{key}\"\n")
    }
}
