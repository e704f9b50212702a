//! The directory everything the demo writes lives in, and goes with.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::base::rng::Rng;

/// A new directory below the system's temporary one, removed with all its contents when dropped.
#[derive(Debug)]
pub(super) struct WorkDir(PathBuf);

impl WorkDir {
    /// Makes it. Other users may pass through it (PostgreSQL runs as one of them), not read it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn create() -> io::Result<WorkDir> {
        let name = format!(
            "fairlead-demo-{}-{:08x}",
            std::process::id(),
            Rng::from_entropy().bits() & 0xffff_ffff
        );
        let path = std::env::temp_dir().join(name);
        // Fails when it exists: nobody else's directory is ever used, or removed.
        std::fs::DirBuilder::new().mode(0o711).create(&path)?;
        Ok(WorkDir(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            let path = self.0.display();
            crate::cli::exit::complain(&format!("cannot remove {path}: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_directory_goes_with_all_it_holds() {
        let dir = WorkDir::create().unwrap();
        let path = dir.path().to_owned();
        std::fs::create_dir_all(path.join("a/b")).unwrap();
        std::fs::write(path.join("a/b/c"), "x").unwrap();
        drop(dir);
        assert!(!path.exists());
    }
}
