//! Finding the route of a request, by number of routes.

use std::sync::Arc;

use fairlead::config::route::{Retry, Route};
use fairlead::model::name::Name;
use fairlead::policy::route::RouteTable;

/// So many routes: ten prefixes on each host, every tenth host a wildcard.
fn table(count: usize) -> RouteTable {
    let routes: Vec<_> = (0..count)
        .map(|number| {
            let host = number / 10;
            let label = if host % 10 == 9 { "*" } else { "api" };
            Arc::new(Route {
                name: Name::from(format!("r{number}").as_str()),
                listeners: Vec::new(),
                hosts: vec![format!("{label}.h{host}.example.com")],
                is_by_sni: false,
                path_prefix: format!("/p{}", number % 10),
                upstream: Name::from("u"),
                timeout: None,
                retry: Retry { attempts: 1 },
            })
        })
        .collect();
    RouteTable::build(&routes)
}

#[divan::bench(args = [1, 10, 100, 1000])]
fn exact_host(bencher: divan::Bencher<'_, '_>, count: usize) {
    let table = table(count);
    let (host, path) = (&b"api.h0.example.com:443"[..], &b"/p0/orders?id=7"[..]);
    assert_eq!(table.find(host, path), Some(0));
    bencher.bench_local(|| table.find(divan::black_box(host), divan::black_box(path)));
}

#[divan::bench(args = [100, 1000])]
fn wildcard_host(bencher: divan::Bencher<'_, '_>, count: usize) {
    let table = table(count);
    let (host, path) = (&b"x.h9.example.com"[..], &b"/p9/x"[..]);
    assert_eq!(table.find(host, path), Some(99));
    bencher.bench_local(|| table.find(divan::black_box(host), divan::black_box(path)));
}
