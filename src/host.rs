//! One normalising matcher of host names, for SNI, certificates, `Host` and routes.
//!
//! Names compare in lower case and without a trailing dot (RFC 6066 section 3, RFC 9110 section
//! 4.2.3); a wildcard covers exactly one label (RFC 9525 section 6.3).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A host name or a wildcard of one label, normalised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `example.com`
    Exact(Arc<str>),
    /// `*.example.com`, held as `example.com`.
    Wildcard(Arc<str>),
}

impl HostPattern {
    /// Parses a name or a wildcard; upper case and a trailing dot are folded away.
    ///
    /// # Errors
    /// The reason why `text` is neither.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(parent) = text.strip_prefix("*.") {
            let parent = normalize(parent)?;
            if parent.parse::<std::net::IpAddr>().is_ok() || !parent.contains('.') {
                return Err(HostError::Wildcard);
            }
            return Ok(Self::Wildcard(parent.into()));
        }
        Ok(Self::Exact(normalize(text)?.into()))
    }

    /// Whether `name` (normalised) matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *name,
            Self::Wildcard(parent) => name
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && *rest == **parent),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// Why a text is no host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing there.
    #[error("a host name cannot be empty")]
    Empty,
    /// Longer than DNS allows.
    #[error("a host name has at most 253 characters, a label at most 63")]
    TooLong,
    /// A character that no host name has.
    #[error(
        "a host name has letters, digits, hyphens, underscores and dots only (other scripts as xn-- labels)"
    )]
    Character,
    /// An empty label.
    #[error("a host name cannot have an empty label")]
    EmptyLabel,
    /// A wildcard in the wrong place.
    #[error("a wildcard stands for exactly one whole label at the left of a name: `*.example.com`")]
    Wildcard,
}

/// Folds `name` to lower case and without a trailing dot, and checks its form. IP literals pass
/// (with brackets removed where they are IPv6).
///
/// # Errors
/// The reason why `name` is no host name.
pub fn normalize(name: &str) -> Result<String, HostError> {
    if let Some(inner) = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return match inner.parse::<std::net::Ipv6Addr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err(HostError::Character),
        };
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    if name.len() > 253 {
        return Err(HostError::TooLong);
    }
    // Asked for each request: one look at each byte, and what is wrong is looked for only then.
    if is_host(name) {
        return Ok(name.to_ascii_lowercase());
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(HostError::EmptyLabel);
        }
        if label.len() > 63 {
            return Err(HostError::TooLong);
        }
        if label.contains('*') {
            return Err(HostError::Wildcard);
        }
        if !label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            return Err(HostError::Character);
        }
    }
    Ok(name.to_ascii_lowercase())
}

/// Whether the labels of `name` are those of a host.
fn is_host(name: &str) -> bool {
    let mut label = 0;
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' if label < 63 => label += 1,
            b'.' if label > 0 => label = 0,
            _ => return false,
        }
    }
    label > 0
}

/// Values by host pattern; an exact name wins over a wildcard.
#[derive(Clone, Debug)]
pub struct HostMap<T> {
    exact: HashMap<Arc<str>, T>,
    wildcard: HashMap<Arc<str>, T>,
}

impl<T> HostMap<T> {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        }
    }

    /// Adds `value` for `pattern` and returns the one that stood there.
    pub fn insert(&mut self, pattern: &HostPattern, value: T) -> Option<T> {
        match pattern {
            HostPattern::Exact(name) => self.exact.insert(name.clone(), value),
            HostPattern::Wildcard(parent) => self.wildcard.insert(parent.clone(), value),
        }
    }

    /// The value set for exactly this pattern.
    pub fn get_pattern_mut(&mut self, pattern: &HostPattern) -> Option<&mut T> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get_mut(name),
            HostPattern::Wildcard(parent) => self.wildcard.get_mut(parent),
        }
    }

    /// The value for `name` (normalised): its own, else its parent's wildcard.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&T> {
        self.exact.get(name).or_else(|| {
            let (label, parent) = name.split_once('.')?;
            if label.is_empty() {
                None
            } else {
                self.wildcard.get(parent)
            }
        })
    }

    /// The value for `name` among the wildcards alone.
    #[must_use]
    pub fn find_wildcard(&self, name: &str) -> Option<&T> {
        name.split_once('.')
            .and_then(|(_, parent)| self.wildcard.get(parent))
    }

    /// The same patterns with other values.
    ///
    /// # Errors
    /// The first of `map`'s.
    pub fn try_map<U, E>(&self, map: impl Fn(&T) -> Result<U, E>) -> Result<HostMap<U>, E> {
        let side = |values: &HashMap<Arc<str>, T>| -> Result<_, E> {
            let values = values.iter();
            values
                .map(|(name, value)| Ok((name.clone(), map(value)?)))
                .collect()
        };
        Ok(HostMap {
            exact: side(&self.exact)?,
            wildcard: side(&self.wildcard)?,
        })
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold() {
        assert_eq!(normalize("Example.COM."), Ok("example.com".into()));
        assert_eq!(normalize("[::1]"), Ok("::1".into()));
        assert_eq!(normalize("a..b"), Err(HostError::EmptyLabel));
        assert_eq!(normalize(""), Err(HostError::Empty));
        assert_eq!(normalize("."), Err(HostError::Empty));
        assert_eq!(normalize("a b"), Err(HostError::Character));
        assert_eq!(normalize("*.a"), Err(HostError::Wildcard));
        assert_eq!(normalize("straße.example"), Err(HostError::Character));
        assert_eq!(normalize(&"a".repeat(64)), Err(HostError::TooLong));
    }

    #[test]
    fn a_wildcard_is_one_label() {
        let wildcard = HostPattern::parse("*.Example.com").unwrap();
        assert!(wildcard.matches("www.example.com"));
        assert!(!wildcard.matches("example.com"));
        assert!(!wildcard.matches("a.b.example.com"));
        assert!(!wildcard.matches(".example.com"));
        assert_eq!(wildcard.to_string(), "*.example.com");
        assert_eq!(HostPattern::parse("*.com"), Err(HostError::Wildcard));
        assert_eq!(
            HostPattern::parse("w*.example.com"),
            Err(HostError::Wildcard)
        );
    }

    #[test]
    fn exact_wins_over_wildcard() {
        let mut map = HostMap::new();
        map.insert(&HostPattern::parse("*.example.com").unwrap(), 1);
        map.insert(&HostPattern::parse("www.example.com").unwrap(), 2);
        assert_eq!(map.find("www.example.com"), Some(&2));
        assert_eq!(map.find("api.example.com"), Some(&1));
        assert_eq!(map.find("x.api.example.com"), None);
        assert_eq!(map.find("example.com"), None);
    }
}
