//! Load for the comparison, where wrk has nothing to offer: TCP ping-pong, bulk, idle connections.
//!
//! `load origin` answers, the other commands ask; `run` starts both. Ping-pong has one event loop
//! on each side, as redis-benchmark and Redis have: a sleeping thread per connection would make
//! every message of the proxy wake one, and the kernel charges that to whoever sends. Bulk has a
//! blocking thread per connection, which is never asleep for long.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program of its own, outside the proxy: it reads the clock and prints its result"
)]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A small query and its answer, as in a Redis `GET` or a one-row statement.
const PING_BYTES: usize = 64;
/// What a bulk sender hands to the kernel at once.
const BULK_BYTES: usize = 128 * 1024;
const USAGE: &str = "load origin | ping ADDRESS CONNECTIONS SECONDS | \
                     bulk ADDRESS CONNECTIONS SECONDS | idle ADDRESS CONNECTIONS PATH";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["origin"] => origin(),
        ["ping", address, connections, seconds] => ping(address, connections, seconds),
        ["bulk", address, connections, seconds] => {
            load(address, connections, seconds, read_until_stopped)
        }
        ["idle", address, connections, path] => idle(address, connections, path),
        _ => Err(USAGE.into()),
    }
}

/// Listens on two free ports, prints them, and serves until it is ended.
fn origin() -> Outcome<()> {
    let echo = TcpListener::bind("127.0.0.1:0")?;
    let bulk = TcpListener::bind("127.0.0.1:0")?;
    println!(
        "{} {}",
        echo.local_addr()?.port(),
        bulk.local_addr()?.port()
    );
    thread::spawn(move || drop(event_loop(echo_all(echo))));
    serve(&bulk, send_until_closed);
    Ok(())
}

/// Runs everything of one side on this thread.
fn event_loop<T>(future: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(future)
}

async fn echo_all(listener: TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A client that goes away ends its session; that is how every measurement ends.
        tokio::spawn(async move { drop(echo_until_closed(stream).await) });
    }
}

async fn echo_until_closed(mut stream: tokio::net::TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // Larger than a message: a read that fills its buffer would be followed by one that fails.
    let mut buffer = [0; 4 * PING_BYTES];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream
            .write_all(buffer.get(..read).unwrap_or_default())
            .await?;
    }
}

fn serve(listener: &TcpListener, session: fn(TcpStream) -> std::io::Result<()>) {
    for stream in listener.incoming().flatten() {
        // A client that goes away ends its session; that is how every measurement ends.
        thread::spawn(move || drop(session(stream)));
    }
}

fn send_until_closed(mut stream: TcpStream) -> std::io::Result<()> {
    let buffer = vec![b'x'; BULK_BYTES];
    loop {
        stream.write_all(&buffer)?;
    }
}

/// What one connection did.
#[derive(Default)]
struct Work {
    bytes: u64,
    /// Of each round trip.
    nanos: Vec<u64>,
}

type Session = fn(TcpStream, &AtomicBool) -> std::io::Result<Work>;

/// Runs `session` on every connection for the given time and prints the sum as JSON.
fn load(address: &str, connections: &str, seconds: &str, session: Session) -> Outcome<()> {
    let address: SocketAddr = address.parse()?;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for _ in 0..connections.parse()? {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let is_over = Arc::clone(&is_over);
        threads.push(thread::spawn(move || session(stream, &is_over)));
    }
    let began = Instant::now();
    thread::sleep(Duration::from_secs_f64(seconds.parse()?));
    is_over.store(true, Ordering::Relaxed);
    let took = began.elapsed();
    report(
        took,
        threads.into_iter().map(|thread| thread.join().ok()?.ok()),
    )
}

/// The same for ping-pong, on one thread.
fn ping(address: &str, connections: &str, seconds: &str) -> Outcome<()> {
    let address: SocketAddr = address.parse()?;
    let (connections, seconds): (usize, f64) = (connections.parse()?, seconds.parse()?);
    let works = event_loop(async {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let stream = tokio::net::TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            tasks.push(tokio::spawn(ping_until(stream, until)));
        }
        let mut works = Vec::new();
        for task in tasks {
            works.push(task.await.ok().and_then(Result::ok));
        }
        Ok(works)
    })?;
    report(Duration::from_secs_f64(seconds), works.into_iter())
}

/// Prints the sum of what all connections did as JSON; `None` is one that failed.
fn report(took: Duration, works: impl Iterator<Item = Option<Work>>) -> Outcome<()> {
    let took = took.as_secs_f64();
    let mut sum = Work::default();
    let mut failed = 0;
    for work in works {
        match work {
            Some(work) => {
                sum.bytes += work.bytes;
                sum.nanos.extend(work.nanos);
            }
            None => failed += 1,
        }
    }
    sum.nanos.sort_unstable();
    println!(
        "{{\"seconds\": {took:.3}, \"bytes\": {}, \"round_trips\": {}, \"failed\": {failed}, \
         \"p50_us\": {}, \"p99_us\": {}}}",
        sum.bytes,
        sum.nanos.len(),
        percentile(&sum.nanos, 50) / 1000,
        percentile(&sum.nanos, 99) / 1000,
    );
    Ok(())
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let at = sorted.len() * percent / 100;
    sorted.get(at).or(sorted.last()).copied().unwrap_or(0)
}

async fn ping_until(mut stream: tokio::net::TcpStream, until: Instant) -> std::io::Result<Work> {
    let (question, mut answer) = ([b'?'; PING_BYTES], [0; 4 * PING_BYTES]);
    let mut work = Work::default();
    let mut asked = Instant::now();
    while asked < until {
        stream.write_all(&question).await?;
        let mut got = 0;
        while got < PING_BYTES {
            let read = stream.read(&mut answer).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            got += read;
        }
        let answered = Instant::now();
        work.nanos
            .push(u64::try_from((answered - asked).as_nanos()).unwrap_or(u64::MAX));
        work.bytes += PING_BYTES as u64;
        asked = answered;
    }
    Ok(work)
}

fn read_until_stopped(mut stream: TcpStream, is_over: &AtomicBool) -> std::io::Result<Work> {
    let mut buffer = vec![0; BULK_BYTES];
    let mut work = Work::default();
    while !is_over.load(Ordering::Relaxed) {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        work.bytes += read as u64;
    }
    Ok(work)
}

/// Opens connections, makes one request on each, says so, and keeps them until its input ends.
fn idle(address: &str, connections: &str, path: &str) -> Outcome<()> {
    let address: SocketAddr = address.parse()?;
    let mut streams = Vec::new();
    for _ in 0..connections.parse()? {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: compare\r\n\r\n").as_bytes())?;
        read_answer(&mut stream)?;
        streams.push(stream);
    }
    println!("{}", streams.len());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Reads one answer with a Content-Length.
fn read_answer(stream: &mut TcpStream) -> Outcome<()> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err("closed before the answer".into());
        }
        answer.extend(buffer.iter().take(read));
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length:"))
            .ok_or("an answer without a Content-Length")?;
        if body.len() >= length.trim().parse()? {
            return Ok(());
        }
    }
}
