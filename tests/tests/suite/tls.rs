//! TLS on a server that requires it: what each `sslmode` verifies, and one error line per refusal.

use std::path::PathBuf;
use std::process::Stdio;

use database::{Address, Options, Server, connect};
use tests::{Certificates, Postgres, SecureCockroach, Test, TestDatabase, TestServer, command, tests};
use url::Url;

use crate::books::execute;
use crate::wrong_input::fails;

const POSTGRES: &[Server] = &[Server::Postgres];

pub(crate) fn tests() -> Vec<Test> {
    tests![
        sslmode_decides_what_is_verified on POSTGRES,
        an_unverified_server_is_not_trusted on POSTGRES,
        an_unusable_file_exits_with_2 on POSTGRES,
        a_client_certificate_authenticates_the_user on POSTGRES,
        a_wrong_or_expired_password_is_refused on POSTGRES,
        a_server_without_tls_is_reported on POSTGRES,
        a_secure_cockroachdb_is_used_from_init_to_audit on &[Server::Cockroach],
    ]
}

/// User `teller` has a password.
struct Bank {
    url: String,
    folder: PathBuf,
    /// Used if a command ignores `--database-url`.
    elsewhere: TestDatabase,
}

impl Bank {
    async fn open(run: &TestServer, admin: &str, url: String, folder: PathBuf) -> Self {
        let bank = Self { url, folder, elsewhere: run.empty_database().await };
        let teller = bank.url("teller@localhost?sslmode=verify-full&sslrootcert={ca.crt}");
        for (program, arguments, url) in [
            ("seabank", &["init", "--database", "bank", "--user", "teller"][..], admin),
            ("migration", &["up"], &teller),
            ("seabank", &["seed"], &teller),
        ] {
            let mut command = command(program);
            command.args(arguments).stdin(Stdio::null()).env("BANK_PASSWORD", "s3cret");
            let output = command.env("DATABASE_URL", url).output().expect("the process starts");
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        }
        bank
    }

    /// `{ca.crt}` becomes a certificate's path.
    fn url(&self, short: &str) -> String {
        let mut url = Url::parse(&self.url).expect("a good URL");
        let (who, query) = short.split_once('?').expect("a query");
        let (user, host) = who.split_once('@').expect("a user and a host");
        url.set_host(Some(host)).expect("a good host");
        if user == "teller" {
            url.set_password(Some("s3cret")).expect("a URL with a host");
        }
        url.set_username(user).expect("a URL with a host");
        url.set_query(Some(&self.filled(query)));
        url.into()
    }

    fn filled(&self, text: &str) -> String {
        text.replace('{', &format!("{}/", self.folder.display())).replace('}', "")
    }

    async fn execute(&self, sql: &str) {
        let address = Address::parse(&self.url).expect("a good URL");
        let database = connect(&address, &Options::default()).await.expect("its administrator may connect");
        execute(&database, sql).await;
    }

    fn works(&self, short: &str) {
        let mut audit = command("seabank");
        let output =
            audit.args(["audit", "--database-url", &self.url(short)]).output().expect("the command runs");
        assert!(output.status.success(), "{short}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn is_refused(&self, short: &str, code: i32, line: &str) {
        let url = self.url(short);
        for arguments in [&["audit"][..], &["seed", "--count", "1"]] {
            let arguments = [arguments, &["--database-url", &url]].concat();
            fails(&self.elsewhere, &arguments, code, &[&self.filled(line)]);
        }
    }
}

/// User `carrier` needs a client certificate.
struct Secure {
    server: Postgres,
    certificates: Certificates,
}

const WHO: &str = "
host      all postgres 127.0.0.1/32 trust
hostssl   all carrier  127.0.0.1/32 cert
hostssl   all all      127.0.0.1/32 scram-sha-256
hostnossl all all      127.0.0.1/32 reject
";

impl Secure {
    async fn open(run: &TestServer) -> (Self, Bank) {
        let programs = run.program().expect("the run has started one");
        let server = Postgres::start(programs).await.unwrap_or_else(|error| panic!("{error}"));
        let mut secure = Self { server, certificates: Certificates::make("carrier") };
        secure.present("server").await;
        let (admin, url) = (secure.server.url("postgres"), secure.server.url("bank"));
        let bank = Bank::open(run, &admin, url, secure.certificates.folder().to_owned()).await;
        bank.execute("CREATE ROLE carrier LOGIN IN ROLE teller").await;
        (secure, bank)
    }

    async fn present(&mut self, certificate: &str) {
        let keep =
            |setting, name: &str, text: &str| format!("{setting}={}", self.server.keep(name, text).display());
        let of = |ending| self.certificates.read(&format!("{certificate}.{ending}"));
        let settings = vec![
            "ssl=on".to_owned(),
            keep("ssl_ca_file", "ca.crt", &self.certificates.read("ca.crt")),
            keep("ssl_cert_file", "server.crt", &of("crt")),
            keep("ssl_key_file", "server.key", &of("key")),
            keep("hba_file", "hba", WHO),
        ];
        self.server.restart_with(settings).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

async fn sslmode_decides_what_is_verified(run: &TestServer) {
    let (_secure, bank) = Secure::open(run).await;
    for url in [
        // Any server, whatever the file.
        "teller@localhost?sslmode=require",
        "teller@127.0.0.1?sslmode=require&sslrootcert={other.crt}",
        "teller@127.0.0.1?sslmode=prefer",
        // Any certificate of this authority.
        "teller@localhost?sslmode=verify-ca&sslrootcert={ca.crt}",
        "teller@127.0.0.1?sslmode=verify-ca&sslrootcert={ca.crt}",
        // Only this host.
        "teller@localhost?sslmode=verify-full&sslrootcert={ca.crt}",
    ] {
        bank.works(url);
    }
    bank.is_refused(
        "teller@localhost?sslmode=disable",
        5,
        "no encryption; check the user and the password; \
         if it asks for TLS, give sslmode=verify-full&sslrootcert=FILE",
    );
}

const UNKNOWN: &str = "is not trusted: its certificate is signed by an unknown authority; \
    give that authority's certificate: sslrootcert=FILE";
const UNSIGNED: &str = "is not trusted: its certificate is not signed by the authority of sslrootcert={other.crt}; \
    give the certificate of the authority that signed it";
const OTHER_HOST: &str = "is not trusted: its certificate is for localhost, not for 127.0.0.1; \
    connect by one of its names, or add 127.0.0.1 to its subjectAltName";
const RENEW: &str = "days ago; give the server a new one, or correct this machine's clock";
const SELFISH: &str = "is not trusted: its certificate is not a server certificate (CaUsedAsEndEntity); \
    give the server a version 3 certificate with its host in subjectAltName, signed by an authority";

async fn an_unverified_server_is_not_trusted(run: &TestServer) {
    let (mut secure, bank) = Secure::open(run).await;
    for (certificate, url, line) in [
        ("server", "teller@localhost?sslmode=verify-ca", UNKNOWN),
        ("server", "teller@localhost?sslmode=verify-full", UNKNOWN),
        ("server", "teller@localhost?sslmode=verify-ca&sslrootcert={other.crt}", UNSIGNED),
        ("server", "teller@localhost?sslmode=verify-full&sslrootcert={other.crt}", UNSIGNED),
        ("server", "teller@127.0.0.1?sslmode=verify-full&sslrootcert={ca.crt}", OTHER_HOST),
        ("expired", "teller@localhost?sslmode=verify-ca&sslrootcert={ca.crt}", RENEW),
        ("expired", "teller@localhost?sslmode=verify-full&sslrootcert={ca.crt}", RENEW),
        ("selfish", "teller@localhost?sslmode=verify-full&sslrootcert={selfish.crt}", SELFISH),
    ] {
        if certificate != "server" {
            secure.present(certificate).await;
        }
        bank.is_refused(url, 5, line);
        bank.works("teller@localhost?sslmode=require");
    }
}

async fn an_unusable_file_exits_with_2(run: &TestServer) {
    let (_secure, bank) = Secure::open(run).await;
    std::fs::write(
        bank.folder.join("noise.crt"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .expect("the file is written");
    for (query, line) in [
        ("sslrootcert={nothing.crt}", "sslrootcert={nothing.crt} cannot be read (No such file"),
        ("sslrootcert={nothing.crt}", "(os error 2)): name a file in PEM format"),
        ("sslrootcert={ca.key}", "sslrootcert={ca.key} holds no certificate: name a file in PEM format"),
        (
            "sslrootcert={noise.crt}",
            "sslrootcert={noise.crt} holds no certificate: name a file in PEM format",
        ),
        ("sslcert={client.crt}", "sslcert={client.crt} has no private key: give sslkey=FILE too"),
        ("sslkey={client.key}", "sslkey={client.key} has no certificate: give sslcert=FILE too"),
        (
            "sslcert={client.crt}&sslkey={server.key}",
            "sslkey={server.key} is not the private key of sslcert={client.crt}: give the matching key",
        ),
        (
            "sslcert={ca.key}&sslkey={ca.key}",
            "sslcert={ca.key} holds no certificate: name a file in PEM format",
        ),
        ("sslcert={ca.crt}&sslkey={ca.crt}", "sslkey={ca.crt} holds no readable private key: name a file"),
    ] {
        bank.is_refused(&format!("carrier@localhost?sslmode=verify-full&{query}"), 2, line);
    }
}

async fn a_client_certificate_authenticates_the_user(run: &TestServer) {
    let (_secure, bank) = Secure::open(run).await;
    let with = |user, name| {
        format!(
            "{user}@localhost?sslmode=verify-full&sslrootcert={{ca.crt}}&sslcert={{{name}.crt}}&sslkey={{{name}.key}}"
        )
    };
    bank.works(&with("carrier", "client"));
    // Not needed by a user with a password.
    bank.works(&with("teller", "client"));
    bank.is_refused(
        "carrier@localhost?sslmode=verify-full&sslrootcert={ca.crt}",
        5,
        "connection requires a valid client certificate; \
         check the user, and that the password is right and has not expired; \
         if it asks for a client certificate, give sslcert=FILE&sslkey=FILE",
    );
    bank.is_refused(
        &with("carrier", "server"),
        5,
        "certificate authentication failed for user \"carrier\"; \
         check the user, and that the client certificate is this user's",
    );
    // PostgreSQL may close before its alert is read.
    for name in ["stranger", "late"] {
        bank.is_refused(&with("carrier", name), 5, "client certificate");
    }
}

async fn a_wrong_or_expired_password_is_refused(run: &TestServer) {
    let (_secure, bank) = Secure::open(run).await;
    let line = "password authentication failed for user \"teller\"; check the user and the password of the URL; \
        an expired password (VALID UNTIL) gives the same error";
    bank.works("teller@localhost?sslmode=require");
    bank.is_refused("teller@localhost?sslmode=require&password=s3cret2", 5, line);
    bank.execute("ALTER ROLE teller VALID UNTIL '2020-01-01'").await;
    bank.is_refused("teller@localhost?sslmode=require", 5, line);
}

async fn a_server_without_tls_is_reported(run: &TestServer) {
    let test = run.database().await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = test.url().replace("sslmode=disable", &format!("sslmode={mode}"));
        let line = "server does not support TLS; enable TLS on the server, \
            or give sslmode=disable if you trust the network";
        fails(&test, &["audit", "--database-url", &url], 5, &[line]);
    }
}

async fn a_secure_cockroachdb_is_used_from_init_to_audit(run: &TestServer) {
    // Other servers have their own certificates.
    let Some(program) = run.program() else { return };
    let node = SecureCockroach::start(program).await.unwrap_or_else(|error| panic!("{error}"));
    let bank = Bank::open(run, &node.url("defaultdb"), node.url("bank"), node.certificates()).await;
    let verified = "localhost?sslmode=verify-full&sslrootcert={ca.crt}";
    let teller = format!("teller@{verified}");
    let root = "sslcert={client.root.crt}&sslkey={client.root.key}";
    bank.works(&teller);
    bank.works("teller@localhost?sslmode=require");
    bank.is_refused("teller@localhost?sslmode=verify-full", 5, UNKNOWN);
    bank.is_refused("teller@localhost?sslmode=disable", 5, "give sslmode=verify-full&sslrootcert=FILE");
    bank.is_refused(&format!("root@{verified}"), 5, "check the user");
    bank.is_refused(
        &format!("teller@{verified}&{root}"),
        5,
        "check the user, and that the client certificate is this user's",
    );
    bank.is_refused(&format!("{teller}&password=s3cret2"), 5, "check the user");
    bank.execute("ALTER ROLE teller VALID UNTIL '2020-01-01'").await;
    bank.is_refused(&teller, 5, "expired");
}
