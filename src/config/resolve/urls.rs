//! Where sources are: lists of addresses and of URLs.

use toml::Spanned;

use crate::config::default;
use crate::config::problem::Findings;
use crate::config::source::BaseUrl;
use crate::model::address::{Address, AddressError};

/// Addresses of a source, each once.
pub(super) fn addresses(
    texts: &[Spanned<String>],
    key: &str,
    port: u16,
    findings: &mut Findings<'_>,
) -> Vec<Address> {
    each_once(texts, key, findings, |text, findings| {
        let word = text.get_ref();
        match word.parse::<Address>() {
            Ok(address) => Some(address),
            Err(error) => {
                let help = if let Some((_, rest)) = word.split_once("://") {
                    let plain = rest.split('/').next().unwrap_or_default();
                    format!("write host and port alone: \"{plain}\"")
                } else if error == AddressError::NoPort && !word.is_empty() {
                    format!("write \"{word}:{port}\"")
                } else {
                    format!("write \"host:port\", such as \"10.0.0.1:{port}\"")
                };
                findings
                    .error("bad-address", text.span(), error.to_string())
                    .help(help);
                None
            }
        }
    })
}

/// `http://host:port` and `https://host:port`, each once.
pub(super) fn urls(
    texts: &[Spanned<String>],
    key: &str,
    port: u16,
    findings: &mut Findings<'_>,
) -> Vec<BaseUrl> {
    each_once(texts, key, findings, |text, findings| {
        match url(text.get_ref(), port) {
            Ok(url) => Some(url),
            Err((message, help)) => {
                findings.error("bad-url", text.span(), message).help(help);
                None
            }
        }
    })
}

/// Reads a URL of a scheme and an address. Message and help otherwise.
fn url(text: &str, port: u16) -> Result<BaseUrl, (String, String)> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let plain = if text.is_empty() { "pg1" } else { text };
        let plain = match plain.parse::<Address>() {
            Ok(_) => plain.to_owned(),
            Err(_) => format!("{plain}:{port}"),
        };
        let help = format!("write \"http://{plain}\", or https://");
        return Err(("an address here begins with its scheme".to_owned(), help));
    };
    if rest.contains('@') {
        // without repeating it: it may hold a password
        let help = "a login of etcd goes into `etcd_user` and `etcd_password`; Patroni's REST API \
                    needs none for what is asked";
        return Err(("a URL here has no login".to_owned(), help.to_owned()));
    }
    let (address, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at_checked(at).unwrap_or((rest, "")),
        None => (rest, ""),
    };
    let is_tls = match scheme {
        "http" => false,
        "https" => true,
        _ => {
            let help = format!("write \"http://{address}\" or \"https://{address}\"");
            return Err((format!("`{scheme}` is not a scheme for this"), help));
        }
    };
    if !path.is_empty() {
        let help = format!("write \"{scheme}://{address}\"");
        return Err(("a URL here has no path and no query".to_owned(), help));
    }
    match address.parse() {
        Ok(address) => Ok(BaseUrl { is_tls, address }),
        Err(AddressError::NoPort) if !address.is_empty() => Err((
            "the port is missing".to_owned(),
            format!("write \"{scheme}://{address}:{port}\""),
        )),
        Err(error) => Err((
            error.to_string(),
            format!("write such as \"{scheme}://10.0.0.1:{port}\""),
        )),
    }
}

/// Reads each text of a list; refuses what is there twice, and more than anybody has.
fn each_once<T: PartialEq + ToString>(
    texts: &[Spanned<String>],
    key: &str,
    findings: &mut Findings<'_>,
    read: impl Fn(&Spanned<String>, &mut Findings<'_>) -> Option<T>,
) -> Vec<T> {
    let mut values: Vec<T> = Vec::new();
    for (count, text) in texts.iter().enumerate() {
        if count >= default::SOURCE_ADDRESSES_MAX {
            findings.error(
                "out-of-bounds",
                text.span(),
                format!(
                    "`{key}` must have {} addresses at most",
                    default::SOURCE_ADDRESSES_MAX
                ),
            );
            break;
        }
        let Some(value) = read(text, findings) else {
            continue;
        };
        if values.contains(&value) {
            let message = format!("`{}` is named twice", value.to_string());
            findings.error("twice", text.span(), message);
        } else {
            values.push(value);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_a_scheme_and_an_address() {
        for text in ["http://pg1:8008", "https://10.0.0.1:2379", "http://[::1]:1"] {
            assert_eq!(url(text, 8008).unwrap().to_string(), text);
        }
        for (text, part) in [
            ("pg1:8008", "write \"http://pg1:8008\""),
            ("pg1", "write \"http://pg1:8008\""),
            ("http://pg1", "write \"http://pg1:8008\""),
            ("http://pg1:8008/", "write \"http://pg1:8008\""),
            ("https://pg1:8008/patroni?x", "write \"https://pg1:8008\""),
            ("etcd://e:2379", "write \"http://e:2379\""),
            ("http://u:p@e:2379", "etcd_user"),
            ("http://", "10.0.0.1:8008"),
            ("", "http://pg1:8008"),
            ("http://::1:80", "10.0.0.1:8008"),
        ] {
            let (message, help) = url(text, 8008).unwrap_err();
            assert!(help.contains(part), "{text}: {message}; {help}");
            assert!(!help.contains("u:p") && !message.contains("u:p"));
        }
    }
}
