//! Names of databases and users.

/// A name that needs no encoding in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// PostgreSQL cuts longer ones off.
const NAME_MAX: usize = 63;

impl Name {
    /// Lower-case letters, digits and underscores, a letter first, 63 at most.
    ///
    /// # Errors
    ///
    /// What a name has to be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        if first && text.len() <= NAME_MAX && text.chars().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("use lower-case letters, digits and underscores, a letter first, {NAME_MAX} at most"))
        }
    }

    /// The name of a database that may be made.
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse); and that the server has it for itself.
    pub fn parse_database(text: &str) -> Result<Self, String> {
        Self::unless(text, &["crdb_internal", "system", "template0", "template1"])
    }

    /// The name of a user who may be made.
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse); and that the server has it for itself.
    pub fn parse_user(text: &str) -> Result<Self, String> {
        Self::unless(
            text,
            &["admin", "current_role", "current_user", "node", "none", "public", "root", "session_user"],
        )
    }

    fn unless(text: &str, reserved: &[&str]) -> Result<Self, String> {
        let name = Self::parse(text)?;
        if reserved.contains(&text) || text.starts_with("pg_") || text.starts_with("crdb_internal_") {
            return Err("the server has this name for itself: use another".to_owned());
        }
        Ok(name)
    }

    /// As it stands in a URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it stands in a statement, where it may be a word of SQL's own.
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
