//! Load for the comparison, where wrk has nothing to offer: TCP ping-pong, bulk, idle connections.
//!
//! `load origin` answers, the other commands ask; `run` starts both. One blocking thread per
//! connection: it costs context switches on the load's CPU and none on the proxy's.
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
        ["ping", address, connections, seconds] => {
            load(address, connections, seconds, ping_until_stopped)
        }
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
    thread::spawn(move || serve(&echo, echo_until_closed));
    serve(&bulk, send_until_closed);
    Ok(())
}

fn serve(listener: &TcpListener, session: fn(TcpStream) -> std::io::Result<()>) {
    for stream in listener.incoming().flatten() {
        // A client that goes away ends its session; that is how every measurement ends.
        thread::spawn(move || drop(session(stream)));
    }
}

fn echo_until_closed(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; PING_BYTES];
    loop {
        stream.read_exact(&mut buffer)?;
        stream.write_all(&buffer)?;
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
    let took = began.elapsed().as_secs_f64();
    let mut sum = Work::default();
    let mut failed = 0;
    for thread in threads {
        match thread.join() {
            Ok(Ok(work)) => {
                sum.bytes += work.bytes;
                sum.nanos.extend(work.nanos);
            }
            _ => failed += 1,
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

fn ping_until_stopped(mut stream: TcpStream, is_over: &AtomicBool) -> std::io::Result<Work> {
    let (question, mut answer) = ([b'?'; PING_BYTES], [0; PING_BYTES]);
    let mut work = Work::default();
    while !is_over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        stream.write_all(&question)?;
        stream.read_exact(&mut answer)?;
        let took = asked.elapsed().as_nanos();
        work.nanos.push(u64::try_from(took).unwrap_or(u64::MAX));
        work.bytes += PING_BYTES as u64;
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
