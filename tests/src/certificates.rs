//! Certificates for one test, valid and invalid.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// The server certificates' only host: 127.0.0.1 does not match.
const HOST: &str = "localhost";

/// A temporary folder of certificates, `NAME.crt`, and keys, `NAME.key`.
///
/// | name | |
/// |---|---|
/// | `ca`, `other` | authorities; `ca` signs unless stated |
/// | `server` | a server on localhost |
/// | `expired` | the same, expired in 2020 |
/// | `selfish` | the same, self-signed |
/// | `client` | the user |
/// | `stranger` | the user, signed by `other` |
/// | `late` | the user, expired in 2020 |
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

type Authority = Issuer<'static, KeyPair>;

impl Certificates {
    /// Creates all of them, for this user.
    #[must_use]
    pub fn make(user: &str) -> Self {
        let made = Self { folder: TempDir::with_prefix("seabank-certificates-").expect("a folder") };
        let (ca, other) = (made.authority("ca"), made.authority("other"));
        made.signed("server", named(HOST, &[HOST]), &ca);
        made.signed("expired", in_2020(named(HOST, &[HOST])), &ca);
        made.signed("client", named(user, &[]), &ca);
        made.signed("stranger", named(user, &[]), &other);
        made.signed("late", in_2020(named(user, &[])), &ca);
        let key = new_key();
        // As `openssl req -x509` does.
        let selfish = of_authority(named(HOST, &[HOST])).self_signed(&key).expect("it can be signed");
        made.write("selfish", &selfish.pem(), &key);
        made
    }

    /// Where a file is.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The content of a file.
    #[must_use]
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).expect("a file of that name")
    }

    /// Where they all are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn authority(&self, name: &str) -> Authority {
        let (params, key) = (of_authority(named(name, &[])), new_key());
        self.write(name, &params.self_signed(&key).expect("it can be signed").pem(), &key);
        Issuer::new(params, key)
    }

    fn signed(&self, name: &str, params: CertificateParams, authority: &Authority) {
        let key = new_key();
        self.write(name, &params.signed_by(&key, authority).expect("it can be signed").pem(), &key);
    }

    fn write(&self, name: &str, certificate: &str, key: &KeyPair) {
        for (ending, text) in [("crt", certificate), ("key", &key.serialize_pem())] {
            fs::write(self.path(&format!("{name}.{ending}")), text).expect("it can be written");
        }
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("there is randomness")
}

/// A certificate with a common name, for these hosts.
fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("good host names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn of_authority(mut params: CertificateParams) -> CertificateParams {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn in_2020(mut params: CertificateParams) -> CertificateParams {
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    params
}
