//! Three replicas of an application: small HTTP/1.1 servers, told to be slow, to fail, to be gone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::base::task::Tasks;
use crate::cli::demo::board::Board;
use crate::cli::demo::layout::local;

/// What a slow answer takes.
const SLOW: Duration = Duration::from_millis(300);
/// What fairlead sends as a head stays far below.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Before a port that somebody else has for a moment is tried again.
const BIND_PAUSE: Duration = Duration::from_millis(100);

/// One replica.
#[derive(Debug)]
pub(super) struct App {
    address: SocketAddr,
    label: &'static str,
    is_slow: AtomicBool,
    is_failing: AtomicBool,
    is_up: watch::Sender<bool>,
    board: Arc<Board>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Apps([Arc<App>; 3]);

impl Apps {
    /// Starts three, the last one slow, on ports the kernel chooses.
    ///
    /// # Errors
    /// When there are no ports.
    pub(super) async fn start(tasks: &Tasks, board: &Arc<Board>) -> io::Result<Apps> {
        let one = App::start("replica 1", tasks, board).await?;
        let two = App::start("replica 2", tasks, board).await?;
        let three = App::start("replica 3", tasks, board).await?;
        three.is_slow.store(true, Ordering::Relaxed);
        three.tell();
        Ok(Apps([one, two, three]))
    }

    /// Their ports.
    pub(super) fn ports(&self) -> [u16; 3] {
        self.0.each_ref().map(|app| app.address.port())
    }

    /// The first one is gone, as by `kill -9`, or comes back.
    pub(super) fn toggle_killed(&self) {
        let [app, _, _] = &self.0;
        app.is_up.send_modify(|is_up| *is_up = !*is_up);
        app.tell();
        app.board.note(if *app.is_up.borrow() {
            "replica 1 is started again"
        } else {
            "replica 1 is killed: its connections break, nothing listens"
        });
    }

    /// The second one answers 503, also to probes, or recovers.
    pub(super) fn toggle_failing(&self) {
        let [_, app, _] = &self.0;
        let was = app.is_failing.fetch_xor(true, Ordering::Relaxed);
        app.tell();
        app.board.note(if was {
            "replica 2 answers 200 again"
        } else {
            "replica 2 answers 503 from now on, also to probes"
        });
    }

    /// The third one is slow, or is not any more.
    pub(super) fn toggle_slow(&self) {
        let [_, _, app] = &self.0;
        let was = app.is_slow.fetch_xor(true, Ordering::Relaxed);
        app.tell();
        app.board.note(if was {
            "replica 3 answers at once"
        } else {
            "replica 3 takes 300 ms for an answer"
        });
    }
}

impl App {
    async fn start(label: &'static str, tasks: &Tasks, board: &Arc<Board>) -> io::Result<Arc<App>> {
        let listener = TcpListener::bind(local(0)).await?;
        let app = Arc::new(App {
            address: listener.local_addr()?,
            label,
            is_slow: AtomicBool::new(false),
            is_failing: AtomicBool::new(false),
            is_up: watch::Sender::new(true),
            board: Arc::clone(board),
        });
        app.tell();
        tasks.spawn(Arc::clone(&app).run(listener, tasks.clone()));
        Ok(app)
    }

    fn tell(&self) {
        let is_killed = !*self.is_up.borrow();
        let is_failing = self.is_failing.load(Ordering::Relaxed);
        let state = match (is_killed, is_failing, self.is_slow.load(Ordering::Relaxed)) {
            (true, ..) => "killed",
            (_, true, _) => "failing",
            (.., true) => "slow",
            _ => "",
        };
        self.board.tell(self.address, self.label, state);
    }

    /// Listens while it is up, over and over.
    async fn run(self: Arc<App>, mut listener: TcpListener, tasks: Tasks) {
        let mut is_up = self.is_up.subscribe();
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                    tasks.spawn(Arc::clone(&self).talk(stream));
                },
                () = until(&mut is_up, false) => {
                    drop(listener);
                    until(&mut is_up, true).await;
                    listener = self.bind().await;
                }
            }
        }
    }

    async fn bind(&self) -> TcpListener {
        loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(BIND_PAUSE).await,
            }
        }
    }

    /// One connection, until either side has enough or the replica is killed.
    async fn talk(self: Arc<App>, stream: TcpStream) {
        let mut is_up = self.is_up.subscribe();
        tokio::select! {
            _ = self.answer_all(stream) => {}
            () = until(&mut is_up, false) => {}
        }
    }

    async fn answer_all(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut bytes = Vec::new();
        loop {
            // Requests of fairlead here are GETs of the demo's load or of a curl: no bodies.
            while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let is_probe = bytes.starts_with(b"GET /health");
                bytes.drain(..end + 4);
                if !is_probe && self.is_slow.load(Ordering::Relaxed) {
                    tokio::time::sleep(SLOW).await;
                }
                stream.write_all(self.answer().as_bytes()).await?;
            }
            if bytes.len() > HEAD_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
    }

    fn answer(&self) -> String {
        let (status, word) = if self.is_failing.load(Ordering::Relaxed) {
            ("503 Service Unavailable", "sorry")
        } else {
            ("200 OK", "hello")
        };
        let body = format!("{word} from {} at {}\n", self.label, self.address);
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// Waits until it is up, or is not.
async fn until(is_up: &mut watch::Receiver<bool>, wanted: bool) {
    // It cannot be closed: whoever waits holds the application.
    drop(is_up.wait_for(|is_up| *is_up == wanted).await);
}
