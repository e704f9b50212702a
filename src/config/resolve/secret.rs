//! What is kept in files of its own: secrets, certificates and their keys.

use std::path::PathBuf;

use toml::Spanned;

use crate::config::file::table::{Field, SecretTable};
use crate::config::problem::Findings;
use crate::config::secret::{Secret, SecretReader, SecretSource};

/// A secret, fetched.
pub(super) fn secret(
    field: &Field<SecretTable>,
    secrets: &SecretReader,
    findings: &mut Findings<'_>,
) -> Option<Secret> {
    let field = field.as_ref()?;
    let SecretTable::Reference(reference) = field.get_ref() else {
        findings
            .error(
                "secret-in-file",
                field.span(),
                "a secret is not written into the configuration",
            )
            .help(
                "configurations are copied, mailed and committed: put it into a file of its own \
                 and write { file = \"/etc/fairlead/pg.pass\" }, or { env = \"PG_PASSWORD\" }",
            );
        return None;
    };
    let (source, span) = match (&reference.file, &reference.env) {
        (Some(file), None) if !file.get_ref().is_empty() => (
            SecretSource::File(PathBuf::from(file.get_ref())),
            file.span(),
        ),
        (None, Some(name)) if is_env_name(name.get_ref()) => {
            (SecretSource::Env(name.get_ref().clone()), name.span())
        }
        (None, Some(name)) => {
            findings.error(
                "bad-secret",
                name.span(),
                "not the name of an environment variable",
            );
            return None;
        }
        _ => {
            findings
                .error("bad-secret", field.span(), "a secret has one source")
                .help("write { file = \"…\" } or { env = \"…\" }");
            return None;
        }
    };
    match secrets.read(&source) {
        Ok(secret) => Some(secret),
        Err(message) => {
            findings.error("unreadable-secret", span, message).help(
                "`fairlead check` reads secrets too: run it as the user and in the environment of \
                 the service",
            );
            None
        }
    }
}

fn is_env_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// The path of a file that must be there and be readable.
pub(super) fn file(
    field: &Field<String>,
    files: &SecretReader,
    findings: &mut Findings<'_>,
) -> Option<PathBuf> {
    located(field.as_ref()?, files, findings)
}

/// The same for one of a list.
pub(super) fn located(
    field: &Spanned<String>,
    files: &SecretReader,
    findings: &mut Findings<'_>,
) -> Option<PathBuf> {
    match files.locate(field.get_ref()) {
        Ok(path) => Some(path),
        Err(message) => {
            findings
                .error("unreadable-file", field.span(), message)
                .help(
                    "`fairlead check` opens the file, too: run it as the user of the service; a \
                     relative path begins at the folder of the configuration",
                );
            None
        }
    }
}
