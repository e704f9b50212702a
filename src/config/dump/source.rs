//! Sources and TLS in the effective configuration.

use super::{Section, list, put_secret};
use crate::config::source::{Login, Source};
use crate::config::tls::{ClientCertificates, ListenerTls, UpstreamTls};

/// `source.x = { … }`
pub(super) fn put_source(section: &mut Section, source: &Source) {
    let at = format!("source.{}", source.as_str());
    match source {
        Source::Patroni(patroni) => {
            section.text(format!("{at}.scope"), &patroni.scope);
            section.text(format!("{at}.namespace"), &patroni.namespace);
            let members = patroni.members.iter().map(ToString::to_string);
            section.put(format!("{at}.members"), list(members));
            if !patroni.etcd.is_empty() {
                let etcd = patroni.etcd.iter().map(ToString::to_string);
                section.put(format!("{at}.etcd"), list(etcd));
            }
            put_login(section, &format!("{at}.etcd_"), patroni.etcd_login.as_ref());
            let mut urls = patroni.members.iter().chain(&patroni.etcd);
            if urls.any(|url| url.is_tls) {
                put_tls(section, &format!("{at}.tls"), &patroni.tls);
            }
            section.time(format!("{at}.poll"), patroni.poll);
        }
        Source::Sentinel(sentinel) => {
            let sentinels = sentinel.sentinels.iter().map(ToString::to_string);
            section.put(format!("{at}.sentinels"), list(sentinels));
            section.text(format!("{at}.master"), &sentinel.master);
            put_login(section, &format!("{at}."), sentinel.login.as_ref());
            if let Some(tls) = &sentinel.tls {
                put_tls(section, &format!("{at}.tls"), tls);
            }
            section.time(format!("{at}.poll"), sentinel.poll);
        }
        Source::RedisCluster(redis) => {
            let seeds = redis.seeds.iter().map(ToString::to_string);
            section.put(format!("{at}.seeds"), list(seeds));
            put_login(section, &format!("{at}."), redis.login.as_ref());
            if let Some(tls) = &redis.tls {
                put_tls(section, &format!("{at}.tls"), tls);
            }
            section.time(format!("{at}.poll"), redis.poll);
        }
    }
}

fn put_login(section: &mut Section, prefix: &str, login: Option<&Login>) {
    let Some(login) = login else { return };
    if !login.user.is_empty() {
        section.text(format!("{prefix}user"), &login.user);
    }
    put_secret(
        section,
        &format!("{prefix}password"),
        login.password.as_ref(),
    );
}

/// `tls = { … }` of an upstream or a source.
pub(super) fn put_tls(section: &mut Section, at: &str, tls: &UpstreamTls) {
    if let Some(ca) = &tls.ca {
        section.path(format!("{at}.ca"), ca);
    }
    if let Some(name) = &tls.server_name {
        section.text(format!("{at}.server_name"), name);
    }
    if let Some(identity) = &tls.identity {
        section.path(format!("{at}.cert"), &identity.cert);
        section.path(format!("{at}.key"), &identity.key);
    }
    section.put(format!("{at}.verify"), tls.is_verified);
}

/// `tls = { … }` of a listener, without `required`.
pub(super) fn put_listener_tls(section: &mut Section, tls: Option<&ListenerTls>) {
    let Some(tls) = tls else { return };
    let names = tls.certificates.iter().map(|it| it.name.to_string());
    section.put("tls.certificates", list(names));
    section.text("tls.policy", tls.policy.as_str());
    section.text("tls.min_version", tls.version_min.as_str());
    if !tls.ticket_keys.is_empty() {
        let files = tls
            .ticket_keys
            .iter()
            .map(|file| file.display().to_string());
        section.put("tls.ticket_keys.files", list(files));
    }
    let word = match &tls.client {
        ClientCertificates::None => "none",
        ClientCertificates::Optional(_) => "optional",
        ClientCertificates::Required(_) => "required",
    };
    section.text("tls.client_certificate", word);
    if let Some(trust) = tls.client.trust() {
        section.path("tls.client_ca", &trust.ca);
        if !trust.crls.is_empty() {
            let files = trust.crls.iter().map(|file| file.display().to_string());
            section.put("tls.client_crl", list(files));
        }
    }
    if let Some(name) = &tls.subject_header {
        section.text("tls.client_subject_header", name);
    }
}
