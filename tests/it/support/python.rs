//! Scripts for Debian's Python: what other libraries make of a protocol.

use std::path::{Path, PathBuf};

/// The one Debian's packages are made for; another one may be first in `PATH`.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// A script of a folder beside this file.
pub(crate) fn script(folder: &str, name: &str) -> PathBuf {
    let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support");
    support.join(folder).join(name)
}
