//! Following what passes: what it costs per buffer of a relay.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fairlead::io::net::relay::{Side, Watch as _};
use fairlead::proxy::redis::follow::Follow;

/// One command and its reply, as `redis-benchmark -t set` has them.
const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:__rand_int__\r\n$3\r\nxxx\r\n";

#[divan::bench(args = [1, 16, 256])]
fn redis_pipeline(bencher: Bencher<'_, '_>, commands: usize) {
    let (asked, told) = (SET.repeat(commands), b"+OK\r\n".repeat(commands));
    let mut follow = Follow::default();
    bencher
        .counter(ItemsCount::new(commands))
        .counter(BytesCount::new(asked.len() + told.len()))
        .bench_local(|| {
            follow.see(Side::Client, &asked);
            follow.see(Side::Upstream, &told);
            follow.stand()
        });
}
