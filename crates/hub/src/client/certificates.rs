//! The certificates of the configuration, in the HTTP library's type.
//!
//! They take the place of the built-in roots: a company's bundle holds the public ones too, as with other programs.

use std::path::Path;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, Result};

pub(super) fn trusting(file: &Path) -> Result<TlsConfig> {
    let bytes = std::fs::read(file).map_err(|e| Error::io(file, e))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&bytes) {
        // Bundles hold comments and keys beside certificates; a broken item is not one of ours.
        if let Ok(PemItem::Certificate(certificate)) = item {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        let reason = "it holds no certificate in PEM form".to_owned();
        return Err(Error::BadEndpoint { url: file.display().to_string(), reason });
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::new_with_certs(&certificates)).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bundle.pem");
        std::fs::write(&file, "# nothing here\n").unwrap();
        assert!(matches!(trusting(&file), Err(Error::BadEndpoint { .. })));
        assert!(matches!(trusting(&folder.path().join("none.pem")), Err(Error::Io { .. })));
        let one = "# a root\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        std::fs::write(&file, one).unwrap();
        assert!(trusting(&file).is_ok());
    }
}
