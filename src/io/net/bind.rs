//! Listening sockets.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::default;

/// How a socket is bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BindOptions {
    /// Several sockets of this process share the address and the kernel spreads connections over
    /// them (`accept = "kernel"`). With port 0 only the first one may ask for it: the others bind
    /// the port it was given.
    pub is_reuse_port: bool,
}

/// Why an address cannot be listened on, with what to do about it where that is known.
#[derive(Debug)]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, advice) = match self.error.kind() {
            io::ErrorKind::PermissionDenied if self.address.port() < 1024 => (
                "permission denied".to_owned(),
                " (ports below 1024 need root or CAP_NET_BIND_SERVICE: in the systemd unit, \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE)",
            ),
            io::ErrorKind::PermissionDenied => ("permission denied".to_owned(), ""),
            io::ErrorKind::AddrInUse => (
                "the address is in use".to_owned(),
                " (another process listens there: `ss -ltnp` names it)",
            ),
            io::ErrorKind::AddrNotAvailable => (
                "this machine does not have the address".to_owned(),
                " (for a virtual address that moves here later: sysctl net.ipv4.ip_nonlocal_bind=1)",
            ),
            _ => (self.error.to_string(), ""),
        };
        write!(f, "cannot listen on {}: {what}{advice}", self.address)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// A non-blocking listening socket. An address this machine does not have yet is bound all the
/// same: a virtual address that keepalived moves here later must not need a restart. An IPv6
/// socket takes IPv6 only, so that `0.0.0.0:80` and `[::]:80` stand side by side.
///
/// # Errors
/// When the address is in use, or may not be bound by this user.
pub fn bind(address: SocketAddr, options: BindOptions) -> Result<TcpListener, BindError> {
    let attempt = |is_free: bool| listen(address, options, is_free);
    attempt(false)
        .or_else(|error| {
            if error.kind() != io::ErrorKind::AddrNotAvailable {
                return Err(error);
            }
            let socket = attempt(true)?;
            tracing::info!(%address, "listening on an address this machine does not have yet");
            Ok(socket)
        })
        .map_err(|error| BindError { address, error })
}

/// Lets more sockets of this process share the address of one that was bound without that.
///
/// # Errors
/// What the system says.
pub fn share(socket: &TcpListener) -> io::Result<()> {
    SockRef::from(socket).set_reuse_port(true)
}

/// Fails when anybody listens on an address already, willing to share it or not. The kernel lets
/// every process of a user share an address with `SO_REUSEPORT`; a second fairlead that was started
/// by mistake would silently get half of the connections.
///
/// # Errors
/// When the address is in use, or may not be bound by this user.
pub fn check_free(address: SocketAddr) -> Result<(), BindError> {
    match bound(address, BindOptions::default(), true) {
        Ok(_) => Ok(()),
        Err(error) => Err(BindError { address, error }),
    }
}

fn listen(address: SocketAddr, options: BindOptions, is_free: bool) -> io::Result<TcpListener> {
    let socket = bound(address, options, is_free)?;
    socket.listen(default::LISTEN_BACKLOG)?;
    Ok(socket.into())
}

fn bound(address: SocketAddr, options: BindOptions, is_free: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if options.is_reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        if is_free {
            socket.set_freebind_v6(true)?;
        }
    } else if is_free {
        socket.set_freebind_v4(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn sockets_with_reuse_port_share_an_address_and_others_do_not() {
        let shared = BindOptions {
            is_reuse_port: true,
        };
        let first = bind(loopback(0), shared).unwrap();
        let address = first.local_addr().unwrap();
        let second = bind(address, shared).unwrap();
        assert_eq!(second.local_addr().unwrap(), address);

        let alone = bind(loopback(0), BindOptions::default()).unwrap();
        let address = alone.local_addr().unwrap();
        let error = bind(address, BindOptions::default()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!(
                "cannot listen on {address}: the address is in use"
            )),
            "{text}"
        );
    }

    #[test]
    fn an_address_that_moves_here_later_can_be_bound_now() {
        for address in ["192.0.2.1:0", "[2001:db8::1]:0"] {
            let address: SocketAddr = address.parse().unwrap(); // RFC 5737, RFC 3849: nobody has it
            match bind(address, BindOptions::default()) {
                Ok(socket) => assert_eq!(socket.local_addr().unwrap().ip(), address.ip()),
                Err(error) => assert!(address.is_ipv6(), "{error}"), // a machine without IPv6
            }
        }
    }

    #[test]
    fn a_refused_port_says_what_to_do() {
        let error = BindError {
            address: SocketAddr::from(([0, 0, 0, 0], 80)),
            error: io::ErrorKind::PermissionDenied.into(),
        };
        let text = error.to_string();
        assert!(
            text.starts_with("cannot listen on 0.0.0.0:80: permission denied (ports below 1024"),
            "{text}"
        );
    }
}
