//! A text that no one may see: it comes from the environment or a file, and is never printed.

use std::fmt;

/// A password, key, token, or a URL that holds one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}
