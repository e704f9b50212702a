//! Vectors with their length in front (RFC 8446 §3.4), taken off one after the other.

use std::ops::RangeInclusive;

use super::HelloError;

/// What is left.
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

impl<'a> Parts<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], HelloError> {
        let (first, rest) = self.0.split_first_chunk().ok_or(HelloError::Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    /// A vector whose length has one byte.
    pub(super) fn short(&mut self, bounds: RangeInclusive<usize>) -> Result<&'a [u8], HelloError> {
        let [length] = self.array()?;
        self.take(usize::from(length), bounds)
    }

    /// One whose length has two.
    pub(super) fn long(&mut self, bounds: RangeInclusive<usize>) -> Result<&'a [u8], HelloError> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length), bounds)
    }

    fn take(
        &mut self,
        length: usize,
        bounds: RangeInclusive<usize>,
    ) -> Result<&'a [u8], HelloError> {
        let split = self.0.split_at_checked(length);
        let split = split.filter(|_| bounds.contains(&length));
        let (first, rest) = split.ok_or(HelloError::Malformed)?;
        self.0 = rest;
        Ok(first)
    }
}
