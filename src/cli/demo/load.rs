//! A little traffic through fairlead, so that there is something to see.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::base::task::Tasks;
use crate::cli::demo::board::{Board, Pulse};
use crate::cli::demo::layout::{Layout, local};
use crate::cli::demo::postgres_client::{ask, connect};
use crate::cli::demo::redis::RedisConnection;

/// Twenty GETs a second: enough for a rate with one decimal.
const GET_INTERVAL: Duration = Duration::from_millis(50);
/// GETs under way at a time.
const GETS_MAX: usize = 64;
/// A GET that takes longer has failed.
const GET_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Ten writes a second.
const WRITE_INTERVAL: Duration = Duration::from_millis(100);
/// A write that takes longer has failed, and its connection is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A little more than the listener holds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(35);
/// Before a writer that was refused comes again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The running load; it ends when dropped.
#[derive(Debug)]
pub(super) struct Load(Vec<JoinHandle<()>>);

impl Drop for Load {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Load {
    /// Starts all there is something for.
    pub(super) fn start(layout: &Layout, tasks: &Tasks, board: &Arc<Board>) -> Load {
        let mut running =
            vec![tasks.spawn(ask_often(layout.http, tasks.clone(), Arc::clone(board)))];
        if layout.postgres_pair.is_some() {
            let (port, tasks_of_clients) = (layout.postgres_write, tasks.clone());
            let board = Arc::clone(board);
            running.push(tasks.spawn(async move {
                loop {
                    let failure = write_postgres(port, &tasks_of_clients, &board.postgres).await;
                    board.postgres.failed(&failure);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }));
        }
        if layout.redis_pair.is_some() {
            let (port, board) = (layout.redis, Arc::clone(board));
            running.push(tasks.spawn(async move {
                loop {
                    let failure = write_redis(port, &board.redis).await;
                    board.redis.failed(&failure);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }));
        }
        Load(running)
    }
}

/// A GET at every tick, however long the earlier ones take: as users do.
async fn ask_often(port: u16, tasks: Tasks, board: Arc<Board>) {
    let under_way = Arc::new(Semaphore::new(GETS_MAX));
    let mut ticks = interval(GET_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let Ok(permit) = Arc::clone(&under_way).try_acquire_owned() else {
            continue;
        };
        let board = Arc::clone(&board);
        tasks.spawn(async move {
            match timeout(GET_TIMEOUT, get(port)).await {
                Ok(Ok(200)) => board.http.succeeded(),
                Ok(Ok(status)) => board.http.failed(&format!("status {status}")),
                Ok(Err(error)) => board.http.failed(&error.to_string()),
                Err(_) => board.http.failed("no answer in time"),
            }
            drop(permit);
        });
    }
}

/// The status of a GET over a connection of its own; 0 when the answer is none.
async fn get(port: u16) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(local(port)).await?;
    let request = "GET / HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    let head = String::from_utf8_lossy(&answer);
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok(status.unwrap_or(0))
}

/// Writes over one connection until something fails, which it returns.
async fn write_postgres(port: u16, tasks: &Tasks, pulse: &Pulse) -> String {
    let client = match connect(tasks, port, CONNECT_TIMEOUT).await {
        Ok(client) => client,
        Err(failure) => return failure,
    };
    let mut ticks = interval(WRITE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let writing = ask(&client, "INSERT INTO writes DEFAULT VALUES RETURNING id");
        match timeout(WRITE_TIMEOUT, writing).await {
            Ok(Ok(_)) => pulse.succeeded(),
            Ok(Err(failure)) => return failure,
            Err(_) => return "no answer in time".to_owned(),
        }
    }
}

/// The same for Redis.
async fn write_redis(port: u16, pulse: &Pulse) -> String {
    let mut connection = match RedisConnection::open(port).await {
        Ok(connection) => connection,
        Err(failure) => return failure,
    };
    let mut ticks = interval(WRITE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(WRITE_TIMEOUT, connection.ask(&["INCR", "writes"])).await {
            Ok(Ok(_)) => pulse.succeeded(),
            Ok(Err(failure)) => return failure,
            Err(_) => return "no answer in time".to_owned(),
        }
    }
}
