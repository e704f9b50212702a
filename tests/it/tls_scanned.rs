//! What a scanner finds: sslyze from PyPI, against the guidelines of Mozilla that the policies name.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fairlead::base::time;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde_json::Value;

use crate::support::origin::Origin;
use crate::support::proxy::Proxy;

const VERSION: &str = "6.3.1";

/// sslyze, installed where the tests are built.
fn sslyze() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = target.join(format!("sslyze-{VERSION}"));
    if !dir.exists() {
        let unfinished = tempfile::Builder::new()
            .prefix("sslyze-unfinished-")
            .tempdir_in(target)
            .unwrap();
        let output = Command::new("/usr/bin/python3")
            .args(["-m", "pip", "install", "-q", "--no-warn-script-location"])
            .arg("--target")
            .arg(unfinished.path())
            .arg(format!("sslyze=={VERSION}"))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        // Another process may have been faster: then its result is as good.
        std::fs::rename(unfinished.keep(), &dir).ok();
    }
    dir
}

/// A certificate as a public CA would make it for `localhost`, which the scanner asks more of than
/// clients do; the CA, the chain and the key.
fn certificate(folder: &Path) -> [PathBuf; 3] {
    let days = |params: &mut CertificateParams| {
        let day = Duration::from_secs(86_400);
        let now = date_time_ymd(1970, 1, 1) + time::since_epoch(time::wall_now());
        // Mozilla asks for less than 90.
        params.not_before = now - day;
        params.not_after = now + 60 * day;
        params.use_authority_key_identifier_extension = true;
    };
    let mut ca = CertificateParams::new([]).unwrap();
    ca.distinguished_name
        .push(DnType::CommonName, "A CA for a scan");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    days(&mut ca);
    let key = KeyPair::generate().unwrap();
    let made = ca.self_signed(&key).unwrap();
    let issuer = Issuer::new(ca, key);
    let mut leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    leaf.distinguished_name
        .push(DnType::CommonName, "localhost");
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    days(&mut leaf);
    let key = KeyPair::generate().unwrap();
    let shown = leaf.signed_by(&key, &issuer).unwrap();
    let files = ["ca.crt", "shown.crt", "shown.key"].map(|name| folder.join(name));
    let texts = [made.pem(), shown.pem(), key.serialize_pem()];
    for (file, text) in files.iter().zip(texts) {
        std::fs::write(file, text).unwrap();
    }
    files
}

/// The scan of one policy: how it compares with Mozilla's guideline of the same name, and the rest.
fn scan(port: u16, policy: &str, ca: &Path, folder: &Path) -> (bool, String, Value) {
    let json = folder.join("scan.json");
    let output = Command::new("/usr/bin/python3")
        .env("PYTHONPATH", sslyze())
        .args(["-m", "sslyze", "--early_data", "--mozilla_config", policy])
        .arg("--certinfo_ca_file")
        .arg(ca)
        .arg("--json_out")
        .arg(&json)
        .arg(format!("localhost:{port}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let scanned: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let result = scanned["server_scan_results"][0]["scan_result"].clone();
    (output.status.success(), said, result)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scanner_finds_nothing_against_the_guidelines_the_policies_name() {
    let folder = tempfile::tempdir().unwrap();
    let [ca, cert, key] = certificate(folder.path());
    let origin = Origin::start("origin").await;
    for policy in ["intermediate", "modern"] {
        let proxy = Proxy::start(&format!(
            "[listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\nupstream = \"app\"\n\
             tls = {{ certificates = [\"one\"], policy = \"{policy}\" }}\n\
             [upstreams.app]\nkind = \"http\"\nendpoints = [{{ address = \"{}\" }}]\n\
             [certificates.one]\ncert = \"{}\"\nkey = \"{}\"\n",
            origin.address,
            cert.display(),
            key.display()
        ))
        .await;
        let (port, ca, at) = (
            proxy.address("web").port(),
            ca.clone(),
            folder.path().to_owned(),
        );
        let scanning = tokio::task::spawn_blocking(move || scan(port, policy, &ca, &at));
        let (is_compliant, said, result) = scanning.await.unwrap();
        assert!(is_compliant, "{policy}: {said}");
        for (probe, answer, wanted) in [
            ("heartbleed", "is_vulnerable_to_heartbleed", false),
            (
                "openssl_ccs_injection",
                "is_vulnerable_to_ccs_injection",
                false,
            ),
            ("tls_compression", "supports_compression", false),
            ("tls_1_3_early_data", "supports_early_data", false),
        ] {
            let found = &result[probe]["result"][answer];
            assert_eq!(found.as_bool(), Some(wanted), "{policy}: {probe}: {result}");
        }
    }
}
