//! `[process]`, `[admin]`, `[metrics]`, `[log]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;

use super::value::{count_usize, listen_address, period, period_or_zero, refuse};
use crate::config::default;
use crate::config::file::Written;
use crate::config::file::amount::{format_size, parse_size};
use crate::config::file::table::{AccessFormatWord, AccessTable, Field, Format, Level};
use crate::config::file::unit::Threads;
use crate::config::problem::Findings;
use crate::config::process::{
    AccessLog, AccessOutput, Admin, AdminSocket, Log, LogFormat, LogLevel, MemoryLimit, Metrics,
    Process, SAMPLE_ALL, StateDir,
};
use crate::config::template::{self, Template};

/// `sun_path` of `sockaddr_un` on Linux, without its closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

pub(super) fn process(written: &Written, findings: &mut Findings<'_>) -> Process {
    let table = &written.process;
    let worker_threads = match &table.worker_threads {
        None => default::worker_threads(),
        Some(threads) => match *threads.get_ref() {
            Threads::Auto => default::worker_threads(),
            Threads::Count(count) => {
                if !(1..=default::WORKER_THREADS_MAX).contains(&count) {
                    findings
                        .error(
                            "out-of-bounds",
                            threads.span(),
                            format!(
                                "`worker_threads` must be a number from 1 to {}",
                                default::WORKER_THREADS_MAX
                            ),
                        )
                        .help("write \"auto\" for one thread per CPU");
                }
                usize::try_from(count).unwrap_or(1)
            }
        },
    };
    Process {
        worker_threads,
        connections_max: count_usize(
            &table.max_connections,
            "max_connections",
            default::CONNECTIONS_MAX,
            1..=default::CONNECTIONS_LIMIT_MAX,
            findings,
        ),
        drain_timeout: period(
            &table.drain_timeout,
            "drain_timeout",
            default::DRAIN_TIMEOUT,
            findings,
        ),
        drain_delay: period_or_zero(&table.drain_delay, default::DRAIN_DELAY),
        state_dir: state_dir(&table.state_dir, findings),
        memory_limit: memory_limit(&table.memory_limit, findings),
    }
}

fn memory_limit(field: &Field<String>, findings: &mut Findings<'_>) -> MemoryLimit {
    let Some(field) = field else {
        return MemoryLimit::Auto;
    };
    match field.get_ref().as_str() {
        "auto" => MemoryLimit::Auto,
        "off" => MemoryLimit::Off,
        text => match parse_size(text) {
            Ok(bytes) if bytes >= default::MEMORY_LIMIT_MIN => MemoryLimit::Bytes(bytes),
            other => {
                let least = format_size(default::MEMORY_LIMIT_MIN);
                let why = match other {
                    Ok(_) => format!("`memory_limit` must be at least {least}"),
                    Err(error) => error,
                };
                findings
                    .error("out-of-bounds", field.span(), why)
                    .help("write \"auto\" for the limit of the control group, \"off\", or such as \"2GiB\"");
                MemoryLimit::Off
            }
        },
    }
}

fn state_dir(field: &Field<String>, findings: &mut Findings<'_>) -> StateDir {
    let Some(field) = field else {
        return StateDir::Auto;
    };
    match field.get_ref().as_str() {
        "auto" => StateDir::Auto,
        "off" => StateDir::Off,
        path if is_absolute_path(path) => StateDir::At(PathBuf::from(path)),
        _ => {
            findings
                .error(
                    "bad-path",
                    field.span(),
                    "`state_dir` is \"auto\", \"off\" or an absolute path",
                )
                .help(format!("such as \"{}\"", default::STATE_DIR));
            StateDir::Off
        }
    }
}

pub(super) fn admin(written: &Written, findings: &mut Findings<'_>) -> Admin {
    let table = &written.admin;
    Admin {
        listen: address_or_off(&table.listen, Some(default::ADMIN_LISTEN), findings),
        socket: match &table.socket {
            None => AdminSocket::Auto,
            Some(word) if word.get_ref() == "auto" => AdminSocket::Auto,
            Some(word) if word.get_ref() == "off" => AdminSocket::Off,
            Some(path) => socket_path(path, findings).map_or(AdminSocket::Off, AdminSocket::At),
        },
    }
}

pub(super) fn metrics(written: &Written, findings: &mut Findings<'_>) -> Metrics {
    let table = &written.metrics;
    Metrics {
        listen: address_or_off(&table.listen, None, findings),
        is_per_endpoint: table.per_endpoint.as_ref().is_none_or(|it| *it.get_ref()),
    }
}

fn address_or_off(
    field: &Field<String>,
    default: Option<SocketAddr>,
    findings: &mut Findings<'_>,
) -> Option<SocketAddr> {
    match field {
        None => default,
        Some(text) if text.get_ref() == "off" => None,
        Some(text) => listen_address(text, findings),
    }
}

fn socket_path(path: &Spanned<String>, findings: &mut Findings<'_>) -> Option<PathBuf> {
    let text = path
        .get_ref()
        .strip_prefix("unix:")
        .unwrap_or(path.get_ref());
    if !is_absolute_path(text) {
        findings
            .error(
                "bad-path",
                path.span(),
                "`socket` is \"auto\", \"off\" or an absolute path",
            )
            .help(format!("such as \"{}\"", default::ADMIN_SOCKET));
        return None;
    }
    if text.len() > SOCKET_PATH_BYTES_MAX {
        findings.error(
            "bad-path",
            path.span(),
            format!("the path of a socket can have {SOCKET_PATH_BYTES_MAX} bytes at most"),
        );
        return None;
    }
    Some(PathBuf::from(text))
}

fn is_absolute_path(text: &str) -> bool {
    text.len() > 1 && text.starts_with('/') && !text.contains('\0')
}

pub(super) fn log(written: &Written, findings: &mut Findings<'_>) -> Log {
    let table = &written.log;
    let level = match table.level.as_ref().map(Spanned::get_ref) {
        Some(Level::Error) => LogLevel::Error,
        Some(Level::Warn) => LogLevel::Warn,
        Some(Level::Info) => LogLevel::Info,
        Some(Level::Debug) => LogLevel::Debug,
        None => LogLevel::default(),
    };
    Log {
        level,
        format: format(&table.format),
        access: match &table.access {
            Some(access) => access_log(access.get_ref(), findings),
            None => AccessLog::default(),
        },
    }
}

fn format(field: &Field<Format>) -> LogFormat {
    match field.as_ref().map(Spanned::get_ref) {
        Some(Format::Text) => LogFormat::Text,
        Some(Format::Json) => LogFormat::Json,
        Some(Format::Auto) | None => LogFormat::Auto,
    }
}

fn access_log(table: &AccessTable, findings: &mut Findings<'_>) -> AccessLog {
    let output = match &table.output {
        None => AccessOutput::Stdout,
        Some(text) if text.get_ref() == "stdout" => AccessOutput::Stdout,
        Some(path) => {
            if !is_absolute_path(path.get_ref()) {
                findings
                    .error(
                        "bad-path",
                        path.span(),
                        "`output` is \"stdout\" or an absolute path",
                    )
                    .help("such as \"/var/log/fairlead/access.log\"");
            }
            AccessOutput::File(PathBuf::from(path.get_ref()))
        }
    };
    let word = table.format.as_ref().map(|word| *word.get_ref());
    if word.is_some() {
        refuse(
            &table.template,
            "`template` does nothing beside `format`",
            "leave one of them out",
            findings,
        );
    }
    AccessLog {
        is_enabled: table.enabled.as_ref().is_some_and(|it| *it.get_ref()),
        output,
        format: match word {
            Some(AccessFormatWord::Text) => LogFormat::Text,
            Some(AccessFormatWord::Json) => LogFormat::Json,
            _ => LogFormat::Auto,
        },
        template: match word {
            Some(AccessFormatWord::Common) => Template::parse(template::COMMON).ok(),
            _ => template(table, findings),
        },
        sample: table
            .sample
            .as_ref()
            .map_or(SAMPLE_ALL, |share| share.get_ref().0),
    }
}

fn template(table: &AccessTable, findings: &mut Findings<'_>) -> Option<Template> {
    let field = table.template.as_ref()?;
    match Template::parse(field.get_ref()) {
        Ok(template) => Some(template),
        Err(error) => {
            let help = "write such as \"{time} {client} {status} {path}\"; docs/operating.md lists the fields";
            findings
                .error("bad-template", field.span(), error)
                .help(help);
            None
        }
    }
}
