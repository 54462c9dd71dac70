//! Names of databases and users.

/// A name that needs no encoding in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// PostgreSQL truncates longer names.
const NAME_MAX: usize = 63;

impl Name {
    /// Lower-case letters, digits and underscores, a letter first, 63 at most.
    ///
    /// # Errors
    ///
    /// The rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        if first && text.len() <= NAME_MAX && text.chars().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("use lower-case letters, digits and underscores, a letter first, {NAME_MAX} at most"))
        }
    }

    /// A name for a new database.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), or that the name is reserved.
    pub fn parse_database(text: &str) -> Result<Self, String> {
        Self::unless(text, &["crdb_internal", "system", "template0", "template1"])
    }

    /// A name for a new user.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), or that the name is reserved.
    pub fn parse_user(text: &str) -> Result<Self, String> {
        Self::unless(
            text,
            &["admin", "current_role", "current_user", "node", "none", "public", "root", "session_user"],
        )
    }

    fn unless(text: &str, reserved: &[&str]) -> Result<Self, String> {
        let name = Self::parse(text)?;
        if reserved.contains(&text) || text.starts_with("pg_") || text.starts_with("crdb_internal_") {
            return Err("the server reserves this name: use another".to_owned());
        }
        Ok(name)
    }

    /// The name as in a URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Quoted, because it may be a keyword.
    pub(super) fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_encoding() {
        for good in ["bank", "max_roach2", "a"] {
            assert_eq!(Name::parse(good).expect("a good name").as_str(), good);
        }
        for bad in ["", "Bank", "2bank", "ba nk", "bank;", "bank\"", "bänk", &"b".repeat(64)] {
            Name::parse(bad).expect_err(bad);
        }
    }

    #[test]
    fn what_is_the_servers_own_is_refused() {
        for user in ["public", "pg_monitor", "none", "root", "current_user"] {
            Name::parse_user(user).expect_err(user);
        }
        for database in ["template0", "template1", "system", "pg_temp"] {
            Name::parse_database(database).expect_err(database);
        }
        Name::parse_database("order").expect("it is quoted");
        Name::parse_user("user").expect("it is quoted");
    }
}
