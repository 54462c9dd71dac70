//! Hides passwords in the displayed URL, and warns of an unreadable password file.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use url::Url;

use crate::parameter;

/// Replaces the password, and every parameter value not known to be harmless.
pub(super) fn hide(url: &mut Url) {
    if url.password().is_some() {
        let _ = url.set_password(Some("***"));
    }
    if url.query_pairs().any(|(key, value)| !parameter::is_harmless(&key, &value)) {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(key, value)| {
                let shown =
                    if parameter::is_harmless(&key, &value) { value.into_owned() } else { "***".to_owned() };
                (key.into_owned(), shown)
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
}

/// A warning if the driver ignores the password file because others may read it.
pub(super) fn unread_file(url: &Url) -> Option<String> {
    let is_given = url.password().is_some()
        || url.query_pairs().any(|(key, _)| key == "password")
        || std::env::var_os("PGPASSWORD").is_some();
    if is_given {
        return None;
    }
    let file = std::env::var_os("PGPASSFILE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pgpass")))?;
    let mode = std::fs::metadata(&file).ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| {
        let file = file.display();
        format!("the password file {file} is not used, because others may read it: run `chmod 600 {file}`")
    })
}
