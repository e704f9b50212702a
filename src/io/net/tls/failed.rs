//! Why a handshake with a client came to nothing, in one word of a short list.

use std::io;

use rustls::{CertificateError, Error};

/// The word in metrics and logs.
pub fn reason(error: &io::Error) -> &'static str {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        None => "client_gone",
        Some(Error::InvalidCertificate(why)) => match why {
            CertificateError::Revoked => "certificate_revoked",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "certificate_expired"
            }
            _ => "certificate_refused",
        },
        Some(Error::NoCertificatesPresented) => "certificate_missing",
        Some(Error::PeerIncompatible(_)) => "nothing_in_common",
        Some(Error::NoApplicationProtocol) => "no_common_protocol",
        Some(Error::AlertReceived(_)) => "client_refused",
        Some(_) => "malformed",
    }
}
