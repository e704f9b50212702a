//! The configurations to copy load without a warning, and the reference knows every key.

use std::path::{Path, PathBuf};

use crate::config::file::keys::keys;
use crate::config::lint::LINTS;
use crate::config::secret::SecretReader;
use crate::config::{LoadError, default, load, parse};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn every_configuration_to_copy_loads_without_a_warning() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder("conf")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        match parse(&path.display().to_string(), &text, &SecretReader::Never) {
            Ok((_, warnings)) => assert_eq!(warnings, [], "{}", path.display()),
            Err(problems) => panic!("{}: {problems:#?}", path.display()),
        }
        count += 1;
    }
    assert!(count >= 6, "{count} files in conf");
}

/// The reference has a heading with the table in backquotes, and below it a row for each key that
/// begins with the key in backquotes.
#[test]
fn the_reference_knows_every_key_and_no_other() {
    let page = std::fs::read_to_string(folder("docs/configuration.md")).unwrap();
    for (table, keys) in keys() {
        let title = if table.is_empty() { "the top" } else { table };
        let heading = format!("\n### `{title}`");
        let (_, rest) = page
            .split_once(&heading)
            .unwrap_or_else(|| panic!("no heading for {title}"));
        let section = rest.split("\n### ").next().unwrap();
        let section = section.split("\n## ").next().unwrap();
        let mut told: Vec<_> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let mut keys = keys.to_vec();
        told.sort_unstable();
        keys.sort_unstable();
        assert_eq!(told, keys, "{title}");
    }
}

#[test]
fn the_reference_knows_every_warning() {
    let page = std::fs::read_to_string(folder("docs/configuration.md")).unwrap();
    for (code, _) in LINTS {
        assert!(page.contains(&format!("| `{code}` |")), "{code}");
    }
}

#[test]
fn files_that_cannot_be_read_are_values_not_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fairlead.toml");
    assert!(matches!(load(&path), Err(LoadError::Read { .. })));
    std::fs::write(&path, [b'a', b' ', 0xff]).unwrap();
    match load(&path) {
        Err(LoadError::Invalid { problems, .. }) => {
            assert_eq!((problems[0].line, problems[0].column), (1, 3));
        }
        other => panic!("{other:?}"),
    }
    let large = vec![b'#'; usize::try_from(default::CONFIG_BYTES_MAX).unwrap() + 1];
    std::fs::write(&path, large).unwrap();
    assert!(matches!(load(&path), Err(LoadError::TooLarge(_))));
    std::fs::write(&path, super::whole("@web\n@app\n")).unwrap();
    assert_eq!(load(&path).unwrap().config.listeners.len(), 1);
}
