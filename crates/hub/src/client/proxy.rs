//! The proxy of the configuration, in the HTTP library's type. This machine itself is always reached directly.

use ureq::Proxy;

use crate::error::{Error, Result};

pub(super) fn parse(address: &str, exceptions: Option<&str>) -> Result<Proxy> {
    let refused = |e: ureq::Error| Error::BadEndpoint { url: "proxy".to_owned(), reason: e.to_string() };
    let parsed = Proxy::new(address).map_err(refused)?;
    let mut builder = Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let (Some(name), Some(password)) = (parsed.username(), parsed.password()) {
        builder = builder.username(name).password(password);
    }
    for host in ["localhost", "127.0.0.1", "::1"].into_iter().chain(exceptions.unwrap_or_default().split(','))
    {
        if !host.trim().is_empty() {
            builder = builder.no_proxy(host.trim());
        }
    }
    builder.build().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_reached_directly() {
        let proxy = parse("http://proxy.example.org:3128", Some("internal.example.org, other.org")).unwrap();
        for (uri, direct) in [
            ("http://127.0.0.1:8080/a", true),
            ("http://localhost:8080/a", true),
            ("https://internal.example.org/a", true),
            ("https://huggingface.co/a", false),
        ] {
            assert_eq!(proxy.is_no_proxy(&uri.parse().unwrap()), direct, "{uri}");
        }
        assert!(parse("::not a url::", None).is_err());
    }
}
