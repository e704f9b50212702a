//! One key of one listener: AES-256-GCM-SIV (RFC 8452), which forgives a nonce that comes twice, as two
//! processes with the same key might draw it.
//!
//! A ticket is name (16 bytes), nonce (12), then sealed: when it was made (8, seconds since 1970), what
//! rustls wants to remember, tag (16). The name is derived as well, and authenticated.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use super::Secret;

const NAME_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TIME_BYTES: usize = 8;

/// Changes with the format: tickets of another one are not tried.
const SALT: &[u8] = b"fairlead tickets 1";

pub(super) struct Key {
    name: [u8; NAME_BYTES],
    sealing: RandomizedNonceKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// How much is derived.
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        NAME_BYTES + KEY_BYTES
    }
}

impl Key {
    /// HKDF (RFC 5869) with the binding as its context.
    pub(super) fn of(secret: &Secret, binding: &[u8]) -> Option<Key> {
        let random = Salt::new(HKDF_SHA256, SALT).extract(secret.bytes());
        let mut bytes = [0; NAME_BYTES + KEY_BYTES];
        let context = [binding];
        random
            .expand(&context, Length)
            .and_then(|derived| derived.fill(&mut bytes))
            .ok()?;
        let (name, key) = bytes.split_first_chunk()?;
        Some(Key {
            name: *name,
            sealing: RandomizedNonceKey::new(&AES_256_GCM_SIV, key).ok()?,
        })
    }

    pub(super) fn seal(&self, made_at: u64, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = made_at.to_be_bytes().to_vec();
        sealed.extend(plain);
        let nonce = self
            .sealing
            .seal_in_place_append_tag(Aad::from(self.name), &mut sealed)
            .ok()?;
        Some([&self.name[..], nonce.as_ref(), &sealed].concat())
    }

    /// When the ticket was made, and what is in it, if it is of this key.
    pub(super) fn open(&self, ticket: &[u8]) -> Option<(u64, Vec<u8>)> {
        let sealed = ticket.strip_prefix(&self.name)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let opened = self
            .sealing
            .open_in_place(nonce, Aad::from(self.name), &mut sealed)
            .ok()?;
        let (made_at, plain) = opened.split_first_chunk::<TIME_BYTES>()?;
        Some((u64::from_be_bytes(*made_at), plain.to_vec()))
    }
}
