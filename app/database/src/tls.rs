//! TLS: checks the URL's files before connecting, and explains handshake errors.
//!
//! The driver does the handshake. With `sslmode=verify-ca` and `verify-full` it trusts
//! `sslrootcert` and the public authorities.

use std::fmt;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, RootCertStore};
use sqlx::postgres::PgSslMode;
use url::Url;

use crate::{Address, ConnectError};

/// A parameter that names a file: its keys in a URL, and the environment variable that replaces it.
struct Parameter {
    keys: &'static [&'static str],
    variable: &'static str,
}

const ROOT: Parameter =
    Parameter { keys: &["sslrootcert", "ssl-root-cert", "ssl-ca"], variable: "PGSSLROOTCERT" };
const CERTIFICATE: Parameter = Parameter { keys: &["sslcert", "ssl-cert"], variable: "PGSSLCERT" };
const KEY: Parameter = Parameter { keys: &["sslkey", "ssl-key"], variable: "PGSSLKEY" };

/// Whether a parameter names a client certificate or its key.
pub(crate) fn is_client_certificate(key: &str) -> bool {
    CERTIFICATE.keys.contains(&key) || KEY.keys.contains(&key)
}

/// Implements libpq's `sslrootcert=system`: the public authorities, with `verify-full`.
///
/// # Errors
///
/// With a weaker `sslmode`, which would verify nothing.
pub(crate) fn take_system_roots(url: &mut Url) -> Result<(), ConnectError> {
    let is_root = |key: &str| ROOT.keys.contains(&key);
    if url.query_pairs().filter(|(key, _)| is_root(key)).last().is_none_or(|(_, value)| value != "system") {
        return Ok(());
    }
    let mut pairs: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| !is_root(key))
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    match pairs.iter().find(|(key, _)| key == "sslmode" || key == "ssl-mode") {
        Some((_, mode)) if mode != "verify-full" => {
            return Err(ConnectError::bad_url(
                "sslrootcert=system verifies nothing with this sslmode: give sslmode=verify-full",
            ));
        }
        Some(_) => {}
        None => pairs.push(("sslmode".to_owned(), "verify-full".to_owned())),
    }
    url.query_pairs_mut().clear().extend_pairs(pairs);
    Ok(())
}

/// A file, and the parameter or variable that names it.
#[derive(Clone)]
struct NamedFile {
    by: &'static str,
    file: String,
}

impl fmt::Display for NamedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.by, self.file)
    }
}

impl NamedFile {
    /// The URL's last one counts, as for the driver.
    fn find(parameter: &Parameter, url: &Url) -> Option<Self> {
        let Parameter { keys, variable } = parameter;
        let in_url = url.query_pairs().filter(|(key, _)| keys.contains(&&**key)).last();
        let (by, file) = match in_url {
            Some((_, file)) => (keys[0], file.into_owned()),
            None => (*variable, std::env::var(variable).ok()?),
        };
        Some(Self { by, file })
    }

    fn read(&self) -> Result<Vec<u8>, ConnectError> {
        // The variable may hold the PEM text itself.
        if self.file.trim_start().starts_with("-----BEGIN") {
            return Ok(self.file.clone().into_bytes());
        }
        std::fs::read(&self.file)
            .map_err(|error| self.bad(&format!("cannot be read ({error}): name a file in PEM format")))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.read()?).collect();
        found.ok().filter(|found| !found.is_empty()).ok_or_else(|| self.bad(NO_CERTIFICATE))
    }

    fn bad(&self, why: &str) -> ConnectError {
        ConnectError::bad_url(format!("{self} {why}"))
    }
}

const NO_CERTIFICATE: &str = "holds no certificate: name a file in PEM format (BEGIN CERTIFICATE)";
const NO_KEY: &str =
    "holds no readable private key: name a file in PEM format (BEGIN PRIVATE KEY), without a passphrase";

/// TLS options of the URL, or of the environment.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) mode: PgSslMode,
    root: Option<NamedFile>,
    certificate: Option<NamedFile>,
    key: Option<NamedFile>,
}

impl Tls {
    pub(crate) fn of(url: &Url, mode: PgSslMode) -> Self {
        let find = |parameter| NamedFile::find(parameter, url);
        Self { mode, root: find(&ROOT), certificate: find(&CERTIFICATE), key: find(&KEY) }
    }

    /// Whether the client authenticates by certificate.
    pub(crate) fn has_certificate(&self) -> bool {
        self.certificate.is_some() && !self.is_off()
    }

    pub(crate) fn is_off(&self) -> bool {
        matches!(self.mode, PgSslMode::Disable | PgSslMode::Allow)
    }

    /// Checks the files that the driver will read.
    ///
    /// # Errors
    ///
    /// [`ConnectError::BadUrl`] names the wrong file and what it should be.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        if self.is_off() {
            return Ok(());
        }
        if let (Some(root), PgSslMode::VerifyCa | PgSslMode::VerifyFull) = (&self.root, self.mode) {
            let mut store = RootCertStore::empty();
            for certificate in root.certificates()? {
                store.add(certificate).map_err(|_| root.bad(NO_CERTIFICATE))?;
            }
        }
        match (&self.certificate, &self.key) {
            (None, None) => Ok(()),
            (Some(certificate), Some(key)) => check_key_pair(certificate, key),
            (Some(alone), None) => Err(alone.bad("has no private key: give sslkey=FILE too")),
            (None, Some(alone)) => Err(alone.bad("has no certificate: give sslcert=FILE too")),
        }
    }
}

fn check_key_pair(certificate: &NamedFile, key: &NamedFile) -> Result<(), ConnectError> {
    let chain = certificate.certificates()?;
    let private = PrivateKeyDer::from_pem_slice(&key.read()?).map_err(|_| key.bad(NO_KEY))?;
    match CertifiedKey::from_der(chain, private, &ring::default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(key.bad(&format!("is not the private key of {certificate}: give the matching key")))
        }
        Err(error) => Err(key.bad(&format!("cannot be used with {certificate} ({error})"))),
    }
}

/// The TLS error inside an I/O error.
pub(crate) fn error_of(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

pub(crate) fn refusal(address: &Address, tls: &Tls, error: &rustls::Error) -> ConnectError {
    let address = address.clone();
    match error {
        rustls::Error::InvalidCertificate(error) => {
            let (reason, advice) = untrusted(tls, error);
            ConnectError::Untrusted { address, reason, advice }
        }
        rustls::Error::AlertReceived(alert) if is_about_certificates(*alert) => ConnectError::Refused {
            address,
            reason: match &tls.certificate {
                Some(it) => format!("it does not accept the client certificate {it} (TLS alert {alert:?})"),
                None => format!("it asks for a client certificate (TLS alert {alert:?})"),
            },
            advice: "give a valid one, signed by an authority that it trusts: sslcert=FILE&sslkey=FILE",
        },
        error => ConnectError::Refused {
            address,
            reason: format!("the TLS handshake failed ({error})"),
            advice: "check that it supports TLS 1.2 or 1.3",
        },
    }
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate
    )
}

fn untrusted(tls: &Tls, error: &CertificateError) -> (String, String) {
    use CertificateError as Wrong;
    match error {
        Wrong::NotValidForNameContext { expected, presented } => {
            let asked = expected.to_str();
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no host".to_owned() } else { names.join(", ") };
            (
                format!("its certificate is for {names}, not for {asked}"),
                format!("connect by one of its names, or add {asked} to its subjectAltName"),
            )
        }
        Wrong::UnknownIssuer => match &tls.root {
            Some(root) => (
                format!("its certificate is not signed by the authority of {root}"),
                "give the certificate of the authority that signed it".to_owned(),
            ),
            None => (
                "its certificate is signed by an unknown authority".to_owned(),
                "give that authority's certificate: sslrootcert=FILE".to_owned(),
            ),
        },
        Wrong::ExpiredContext { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / (24 * 60 * 60);
            (format!("its certificate expired {days} days ago"), RENEW.to_owned())
        }
        Wrong::Expired => ("its certificate has expired".to_owned(), RENEW.to_owned()),
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
            ("its certificate is not valid yet".to_owned(), RENEW.to_owned())
        }
        Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => {
            ("its certificate is not a server certificate".to_owned(), REMAKE.to_owned())
        }
        Wrong::Other(error) => {
            (format!("its certificate is not a server certificate ({error})"), REMAKE.to_owned())
        }
        other => (format!("its certificate cannot be checked ({other})"), REMAKE.to_owned()),
    }
}

const RENEW: &str = "give the server a new one, or correct this machine's clock";
const REMAKE: &str =
    "give the server a version 3 certificate with its host in subjectAltName, signed by an authority";

/// Strips the type that rustls prints around a name, as in `DnsName("localhost")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_without_its_type() {
        for (name, shown) in [
            ("DnsName(\"localhost\")", "localhost"),
            ("IpAddress(127.0.0.1)", "127.0.0.1"),
            ("IpAddress(::1)", "::1"),
            ("DirectoryName", "DirectoryName"),
        ] {
            assert_eq!(bare(name), shown);
        }
    }

    #[test]
    fn the_urls_last_file_counts_whatever_it_is_called() {
        let url = "postgres://bank@localhost/bank?ssl-ca=a.crt&sslrootcert=b.crt&ssl-root-cert=c.crt";
        let tls = Tls::of(&Url::parse(url).expect("a good URL"), PgSslMode::VerifyFull);
        assert_eq!(tls.root.expect("it names one").to_string(), "sslrootcert=c.crt");
    }
}
