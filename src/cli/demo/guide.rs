//! The words around the picture: what to try, which keys there are.

use std::path::Path;

use crate::cli::demo::layout::Layout;
use crate::config::default;

/// Lines to copy into another terminal. They work as they are.
pub(super) fn what_to_try(layout: &Layout, config: &Path) -> Vec<String> {
    let Layout { http, api, .. } = layout;
    let program = program();
    let admin = match *api == default::ADMIN_LISTEN.port() && !is_socket_there() {
        true => String::new(),
        false => format!(" --admin http://127.0.0.1:{api}"),
    };
    let mut lines = vec![
        "Try in another terminal:".to_owned(),
        format!("  curl http://127.0.0.1:{http}/"),
    ];
    if layout.postgres_pair.is_some() {
        let write = layout.postgres_write;
        lines.push(format!(
            "  psql -h 127.0.0.1 -p {write} -U postgres -c 'SELECT inet_server_port(), count(*) FROM writes'"
        ));
    }
    if layout.redis_pair.is_some() {
        lines.push(format!("  redis-cli -p {} INCR writes", layout.redis));
    }
    lines.extend([
        format!("  {program}{admin} upstreams"),
        format!("  curl http://127.0.0.1:{api}/metrics    # and /api/v1/upstreams, /api/v1/events"),
        format!("  {program} check --dump {}", config.display()),
    ]);
    lines
}

/// Which keys do what, for what there is.
pub(super) fn keys(layout: &Layout) -> Vec<String> {
    let mut databases = Vec::new();
    if layout.postgres_pair.is_some() {
        databases.push("[p] kill the Postgres primary");
    }
    if layout.redis_pair.is_some() {
        databases.push("[r] freeze the Redis primary");
    }
    if !databases.is_empty() {
        databases.push("[b] bring the old primary back");
    }
    let apps = [
        "[k] kill replica 1",
        "[f] replica 2 fails",
        "[s] replica 3 slow",
    ];
    let mut lines = vec![apps.join("   ")];
    if !databases.is_empty() {
        lines.insert(0, databases.join("   "));
    }
    lines
}

/// How this program can be called from where it was started.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else {
        return "fairlead".to_owned();
    };
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(below) => format!("./{}", below.display()),
        Err(_) => path.display().to_string(),
    }
}

/// The command line prefers the socket of the packaged process.
fn is_socket_there() -> bool {
    Path::new(default::ADMIN_SOCKET).exists()
}
