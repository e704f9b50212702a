//! `source.x = { … }`: who tells an upstream its endpoints and roles.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::secret::secret;
use super::tls;
use super::urls::{addresses, urls};
use super::value::{Owner, check_word, key_span, period, refuse};
use crate::config::default;
use crate::config::file::Named;
use crate::config::file::source::{PatroniTable, RedisClusterTable, SentinelTable};
use crate::config::file::table::{Field, Kind, SecretTable, UpstreamTable};
use crate::config::file::tls::UpstreamTlsTable;
use crate::config::file::unit::Period;
use crate::config::problem::Findings;
use crate::config::secret::SecretReader;
use crate::config::source::{Login, Patroni, RedisCluster, Sentinel, Source};
use crate::config::tls::UpstreamTls;

const PATRONI: &str = "source.patroni";
const SENTINEL: &str = "source.sentinel";
const REDIS_CLUSTER: &str = "source.redis_cluster";

/// The one source that is written.
pub(super) fn source(
    named: &Named<UpstreamTable>,
    secrets: &SecretReader,
    findings: &mut Findings<'_>,
) -> Option<Source> {
    let field = named.read.table.source.as_ref()?;
    let table = field.get_ref();
    let (path, kind, span) = written(named, field.span(), findings)?;
    check_fit(named, path, kind, &span, findings);
    let owner = Owner::below(named, path, &span, findings);
    match path {
        PATRONI => {
            let table = table.patroni.as_ref()?.get_ref();
            Some(Source::Patroni(patroni(table, &owner, secrets, findings)))
        }
        SENTINEL => {
            let table = table.sentinel.as_ref()?.get_ref();
            Some(Source::Sentinel(sentinel(table, &owner, secrets, findings)))
        }
        _ => {
            let table = table.redis_cluster.as_ref()?.get_ref();
            let source = redis_cluster(table, &owner, secrets, findings);
            Some(Source::RedisCluster(source))
        }
    }
}

/// Path, kind of its endpoints and place of the source; an error when there is none, or a second.
fn written(
    named: &Named<UpstreamTable>,
    span: Range<usize>,
    findings: &mut Findings<'_>,
) -> Option<(&'static str, Kind, Range<usize>)> {
    let table = named.read.table.source.as_ref()?.get_ref();
    let sources = [
        (
            PATRONI,
            Kind::Postgres,
            table.patroni.as_ref().map(Spanned::span),
        ),
        (
            SENTINEL,
            Kind::Redis,
            table.sentinel.as_ref().map(Spanned::span),
        ),
        (
            REDIS_CLUSTER,
            Kind::Redis,
            table.redis_cluster.as_ref().map(Spanned::span),
        ),
    ];
    let mut found = sources
        .into_iter()
        .filter_map(|(path, kind, span)| Some((path, kind, span?)));
    let first = found.next();
    if let (Some((first, _, first_span)), Some((second, _, span))) = (&first, found.next()) {
        let first_span = key_span(findings.text, first_span);
        findings
            .error(
                "two-sources",
                key_span(findings.text, &span),
                format!("`{first}` and `{second}`: who would be right?"),
            )
            .related(first_span, "one here")
            .help("an upstream has one source: remove the other");
    }
    if first.is_none() && !named.read.is_broken("source") {
        findings
            .error(
                "no-source",
                key_span(findings.text, &span),
                "`source` does not say who tells",
            )
            .help("write source.patroni, source.sentinel or source.redis_cluster = { … }");
    }
    first
}

fn check_fit(
    named: &Named<UpstreamTable>,
    path: &str,
    needed: Kind,
    span: &Range<usize>,
    findings: &mut Findings<'_>,
) {
    let Some(kind) = &named.read.table.kind else {
        return;
    };
    if *kind.get_ref() == needed {
        return;
    }
    let help = match (*kind.get_ref(), needed) {
        (Kind::Postgres, _) => {
            "a postgres upstream can have source.patroni, or its probes alone".to_owned()
        }
        (Kind::Redis, _) => {
            "a redis upstream can have source.sentinel, source.redis_cluster, or its probes alone"
                .to_owned()
        }
        _ => format!("make the upstream kind = \"{}\"", needed.as_str()),
    };
    findings
        .error(
            "source-mismatch",
            key_span(findings.text, span),
            format!("`{path}` tells about {} endpoints", needed.as_str()),
        )
        .related(kind.span(), "the upstream's kind")
        .help(help);
}

fn patroni(
    table: &PatroniTable,
    owner: &Owner<'_>,
    secrets: &SecretReader,
    findings: &mut Findings<'_>,
) -> Patroni {
    let scope = owner.word(
        &table.scope,
        "scope",
        "write scope = \"…\", as in Patroni's own file",
        findings,
    );
    if let Some(field) = &table.scope
        && scope.contains('/')
    {
        findings
            .error("wrong-value", field.span(), "a scope has no `/`")
            .help("what stands before the last `/` is the `namespace`");
    }
    let help = "write members = [\"http://pg1:8008\"]: Patroni's REST addresses, one is enough";
    let members = asked(
        owner,
        &table.members,
        ("members", 8008),
        help,
        urls,
        findings,
    );
    let etcd_texts = table.etcd.as_ref().map_or(&[][..], |it| it.get_ref());
    if let Some(list) = &table.etcd
        && etcd_texts.is_empty()
        && !owner.is_broken("etcd")
    {
        findings
            .error("empty", list.span(), "`etcd` is empty")
            .help("write etcd = [\"http://etcd1:2379\"], or leave it out for the REST API alone");
    }
    let etcd = urls(etcd_texts, "etcd", 2379, findings);
    check_etcd_login(table, findings);
    let has_tls = members.iter().chain(&etcd).any(|url| url.is_tls);
    if !has_tls {
        refuse(
            &table.tls,
            "`tls` does nothing: no address begins with https://",
            "write the addresses as \"https://…\", or leave `tls` out",
            findings,
        );
    }
    let way = Way {
        keys: ("etcd_user", "etcd_password"),
        user: &table.etcd_user,
        password: &table.etcd_password,
        tls: &table.tls,
        poll: &table.poll,
    };
    let way = way.resolve(owner, secrets, findings);
    Patroni {
        scope,
        namespace: namespace(&table.namespace, findings),
        members,
        etcd,
        etcd_login: way.login,
        tls: way.tls.unwrap_or_default(),
        poll: way.poll,
    }
}

fn check_etcd_login(table: &PatroniTable, findings: &mut Findings<'_>) {
    if table.etcd.is_none() {
        let help = "it is for `etcd`: write etcd = [\"http://etcd1:2379\"], or leave it out";
        let message = |key: &str| format!("`{key}` does nothing without `etcd`");
        refuse(&table.etcd_user, &message("etcd_user"), help, findings);
        refuse(
            &table.etcd_password,
            &message("etcd_password"),
            help,
            findings,
        );
    }
    if let (None, Some(password)) = (&table.etcd_user, &table.etcd_password) {
        findings
            .error(
                "missing-key",
                key_span(findings.text, &password.span()),
                "`etcd_password` needs an `etcd_user`",
            )
            .help("add etcd_user = \"fairlead\"");
    }
}

/// [`addresses`] or [`urls`].
type Reads<T> = fn(&[Spanned<String>], &str, u16, &mut Findings<'_>) -> Vec<T>;

/// Whom a source asks: a list that must be there, of addresses or of URLs.
fn asked<T>(
    owner: &Owner<'_>,
    field: &Field<Vec<Spanned<String>>>,
    (key, port): (&str, u16),
    help: &str,
    read: Reads<T>,
    findings: &mut Findings<'_>,
) -> Vec<T> {
    let texts = owner.filled(field, key, "nobody would be asked", help, findings);
    read(texts, key, port, findings)
}

/// How whoever is asked is spoken to, as it is written: every source has this.
struct Way<'t> {
    keys: (&'static str, &'static str),
    user: &'t Field<String>,
    password: &'t Field<SecretTable>,
    tls: &'t Field<UpstreamTlsTable>,
    poll: &'t Field<Period>,
}

/// The same, understood.
struct Understood {
    login: Option<Login>,
    tls: Option<UpstreamTls>,
    poll: Duration,
}

impl Way<'_> {
    fn resolve(
        &self,
        owner: &Owner<'_>,
        secrets: &SecretReader,
        findings: &mut Findings<'_>,
    ) -> Understood {
        Understood {
            login: login(self.keys, self.user, self.password, secrets, findings),
            tls: tls::upstream(owner, self.tls, secrets, findings),
            poll: poll(self.poll, findings),
        }
    }
}

/// A login of a user with a password, or of the password alone.
fn login(
    (user_key, password_key): (&str, &str),
    user: &Field<String>,
    password: &Field<SecretTable>,
    secrets: &SecretReader,
    findings: &mut Findings<'_>,
) -> Option<Login> {
    check_word(user, user_key, findings);
    if let (Some(user), None) = (user, password) {
        findings
            .error(
                "missing-key",
                user.span(),
                format!("`{user_key}` needs a `{password_key}`"),
            )
            .help(format!(
                "add {password_key} = {{ file = \"…\" }}, or leave `{user_key}` out"
            ));
    }
    if user.is_none() && password.is_none() {
        return None;
    }
    Some(Login {
        user: user
            .as_ref()
            .map_or_else(String::new, |user| user.get_ref().clone()),
        password: secret(password, secrets, findings),
    })
}

fn namespace(field: &Field<String>, findings: &mut Findings<'_>) -> String {
    let Some(field) = field else {
        return default::PATRONI_NAMESPACE.to_owned();
    };
    let text = field.get_ref();
    let is_good = text.starts_with('/')
        && text.ends_with('/')
        && !text.contains("//")
        && !text.chars().any(char::is_control);
    if !is_good {
        let plain: Vec<_> = text.split('/').filter(|part| !part.is_empty()).collect();
        let plain = plain.join("/");
        let meant = match plain.as_str() {
            "" => default::PATRONI_NAMESPACE.to_owned(),
            plain => format!("/{plain}/"),
        };
        findings
            .error(
                "bad-path",
                field.span(),
                "a namespace begins and ends with one `/`",
            )
            .help(format!("write namespace = \"{}\"", meant.escape_default()));
    }
    text.clone()
}

fn sentinel(
    table: &SentinelTable,
    owner: &Owner<'_>,
    secrets: &SecretReader,
    findings: &mut Findings<'_>,
) -> Sentinel {
    let help = "write sentinels = [\"10.0.0.1:26379\", …]: all of them";
    let list = ("sentinels", 26379);
    let sentinels = asked(owner, &table.sentinels, list, help, addresses, findings);
    let master = owner.word(
        &table.master,
        "master",
        "write master = \"mymaster\": the name after `sentinel monitor` in the Sentinels' file",
        findings,
    );
    if let Some(field) = &table.master
        && master.contains(char::is_whitespace)
    {
        findings
            .error("wrong-value", field.span(), "a name has no spaces")
            .help("write the one word after `sentinel monitor` in the Sentinels' file");
    }
    let way = Way {
        keys: ("user", "password"),
        user: &table.user,
        password: &table.password,
        tls: &table.tls,
        poll: &table.poll,
    };
    let Understood { login, tls, poll } = way.resolve(owner, secrets, findings);
    Sentinel {
        sentinels,
        master,
        login,
        tls,
        poll,
    }
}

fn redis_cluster(
    table: &RedisClusterTable,
    owner: &Owner<'_>,
    secrets: &SecretReader,
    findings: &mut Findings<'_>,
) -> RedisCluster {
    let help = "write seeds = [\"10.0.0.1:6379\"]: two or three nodes, the others are found";
    let seeds = asked(
        owner,
        &table.seeds,
        ("seeds", 6379),
        help,
        addresses,
        findings,
    );
    let way = Way {
        keys: ("user", "password"),
        user: &table.user,
        password: &table.password,
        tls: &table.tls,
        poll: &table.poll,
    };
    let Understood { login, tls, poll } = way.resolve(owner, secrets, findings);
    RedisCluster {
        seeds,
        login,
        tls,
        poll,
    }
}

fn poll(field: &Field<Period>, findings: &mut Findings<'_>) -> Duration {
    let poll = period(field, "poll", default::SOURCE_POLL, findings);
    if let Some(field) = field
        && !poll.is_zero()
        && poll < default::SOURCE_POLL_MIN
    {
        findings
            .error(
                "out-of-bounds",
                field.span(),
                "`poll` must be 100 ms or more",
            )
            .help("the usual is \"1s\"; events come at once where there are any");
    }
    poll
}
