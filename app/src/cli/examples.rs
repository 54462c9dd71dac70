//! Examples in the help of each command. A test parses them.

pub(super) const INIT: &str = "Examples:
  seabank init --database bank --user bank
  BANK_PASSWORD=s3cret seabank init
  seabank init --no-password";
pub(super) const DOCTOR: &str = "Examples:
  seabank doctor
  seabank doctor --pool 16 --format json";
pub(super) const DEMO: &str = "Examples:
  seabank demo
  seabank demo --echo";
pub(super) const SEED: &str = "Examples:
  seabank seed
  seabank seed --count 1000000 --concurrency 4";
pub(super) const POINTS: &str = "Examples:
  seabank points
  seabank points --count 1000000 --chunk 10000";
pub(super) const TRANSFER: &str = "Examples:
  seabank transfer
  seabank transfer --from 7 --to 8 --amount 100
  seabank transfer --count 10000 --concurrency 8";
pub(super) const IMPORT: &str = "Examples:
  seabank import accounts.csv.gz
  zcat accounts.csv.gz | seabank import -
  seabank import accounts.csv --on-error skip --rejects rejects.csv";
pub(super) const PAY: &str = "Examples:
  seabank pay transfers.csv
  seabank pay transfers.csv --on-error skip --rejects rejects.csv
  zcat transfers.csv.gz | seabank pay - --concurrency 4";
pub(super) const EXPORT: &str = "Examples:
  seabank export accounts --output accounts.csv.gz
  seabank export transfers | head";
pub(super) const WORKLOAD: &str = "Examples:
  seabank workload --duration 1m --concurrency 16
  seabank workload --rate 500 --hot 10 --report load.html
  seabank workload --chunk 1000 --count 1000000";
pub(super) const ACCOUNTS: &str = "Examples:
  seabank accounts
  seabank accounts --min-id 1000 --limit 50
  seabank accounts --top 10";
pub(super) const HISTORY: &str = "Examples:
  seabank history 7
  seabank history 7 --limit 100 --format json";
pub(super) const AUDIT: &str = "Examples:
  seabank audit
  seabank audit --as-of 10s --format json";
pub(super) const MIGRATE: &str = "Examples:
  seabank migrate up
  seabank migrate status";
pub(super) const COMPLETIONS: &str = "Examples:
  seabank completions bash > /etc/bash_completion.d/seabank
  seabank completions zsh > /usr/local/share/zsh/site-functions/_seabank";
pub(super) const MAN: &str = "Examples:
  seabank man .
  seabank man /usr/local/share/man/man1";
