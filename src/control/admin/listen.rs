//! The doors of the API: TCP, the Unix socket, and the listener for monitoring.
//!
//! Each has its own bound of connections, so that nobody who fills one keeps others out of another.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::config::default;
use crate::control::admin::AdminContext;
use crate::control::admin::answer::{Way, answer};
use crate::control::admin::client::open;

/// After an error of `accept` (no descriptor left): try again this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A connection at the end of its life may finish the answer it is giving.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// A bound door that nobody is let in by yet.
#[derive(Debug)]
pub struct Door {
    socket: Socket,
    address: Option<SocketAddr>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, Way),
    Unix(UnixListener, SocketFile),
}

/// A door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// A TCP address.
    #[error("cannot listen on {address}: {error}")]
    Tcp {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A Unix socket.
    #[error("cannot listen on {path}: {error}")]
    Unix {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Door {
    /// `admin.listen`: everything may be read, nothing changed. Needs a running runtime.
    pub async fn admin(address: SocketAddr) -> Result<Door, DoorError> {
        Door::tcp(address, Way::Tcp).await
    }

    /// `metrics.listen`: `/metrics`, `/livez` and `/readyz`.
    pub async fn metrics(address: SocketAddr) -> Result<Door, DoorError> {
        Door::tcp(address, |_| Way::Metrics).await
    }

    async fn tcp(
        address: SocketAddr,
        way: impl FnOnce(SocketAddr) -> Way,
    ) -> Result<Door, DoorError> {
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        };
        let (listener, bound) = bind
            .await
            .map_err(|error| DoorError::Tcp { address, error })?;
        Ok(Door {
            socket: Socket::Tcp(listener, way(bound)),
            address: Some(bound),
        })
    }

    /// `admin.socket`, mode 0600. Takes the place of a socket that nobody listens on any more.
    pub fn socket(path: &Path) -> Result<Door, DoorError> {
        let (listener, file) = bind_socket(path).map_err(|error| DoorError::Unix {
            path: path.to_owned(),
            error,
        })?;
        Ok(Door {
            socket: Socket::Unix(listener, file),
            address: None,
        })
    }

    /// The TCP address it is bound to, with the port the kernel chose.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Lets people in until the returned future is dropped.
    pub async fn serve(self, context: Arc<AdminContext>) {
        let places = Arc::new(Semaphore::new(default::ADMIN_CONNECTIONS_MAX));
        match self.socket {
            Socket::Tcp(listener, way) => loop {
                let accepted = listener.accept().await;
                let accepted = accepted.map(|(stream, _)| stream);
                take(accepted, way, &context, &places).await;
            },
            Socket::Unix(listener, _file) => loop {
                let accepted = listener.accept().await;
                let accepted = accepted.map(|(stream, _)| stream);
                take(accepted, Way::Socket, &context, &places).await;
            },
        }
    }
}

/// Starts the task of one accepted connection, or closes it when there are too many.
async fn take<S>(
    accepted: io::Result<S>,
    way: Way,
    context: &Arc<AdminContext>,
    places: &Arc<Semaphore>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = match accepted {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "the API cannot accept");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return;
        }
    };
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        tracing::debug!(?way, "too many connections to the API");
        return;
    };
    let shared = Arc::clone(context);
    // Detached on purpose: it ends by itself, at the latest after its life.
    drop(context.tasks.spawn(async move {
        let _place = place;
        speak(stream, way, shared).await;
    }));
}

async fn speak<S>(stream: S, way: Way, context: Arc<AdminContext>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let context = Arc::clone(&context);
        async move { Ok::<_, Infallible>(answer(&context, way, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(default::ADMIN_HEAD_TIMEOUT)
        .max_buf_size(default::ADMIN_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = match tokio::time::timeout(default::ADMIN_CONNECTION_LIFE, &mut connection).await {
        Ok(ended) => ended,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(LAST_ANSWER, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, ?way, "a connection to the API ended badly");
    }
}

/// The file of a Unix socket, removed when its door is closed.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own there meanwhile.
        let is_ours = std::fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the API socket stays behind");
        }
    }
}

/// Binds under a name of our own, sets the mode, then moves it into place: at no moment can anybody
/// else open it.
fn bind_socket(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let is_free = match open(path) {
        Ok(_) => false,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    if !is_free {
        let text = "another process listens on it";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    }
    match std::fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            let text = "there is a file of that name which is no socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        _ => {}
    }
    let mut own = path.as_os_str().to_owned();
    own.push(format!(".{}", std::process::id()));
    let own = PathBuf::from(own);
    if let Err(error) = std::fs::remove_file(&own)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(&own)?;
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600))?;
    let inode = std::fs::metadata(&own)?.ino();
    std::fs::rename(&own, path)?;
    let path = path.to_owned();
    Ok((listener, SocketFile { path, inode }))
}
