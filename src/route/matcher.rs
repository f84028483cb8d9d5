//! The paths of one host: exact paths first, then the longest prefix.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{PathPattern, RouteId};

/// The paths of one host.
#[derive(Debug, Default)]
pub(super) struct PathMatcher {
    exact: HashMap<Arc<str>, RouteId>,
    prefixes: HashMap<Arc<str>, RouteId>,
    /// No longer text is ever looked up, so that the cost is bounded by the configuration and not
    /// by how many slashes a client sends.
    longest_prefix: usize,
}

impl PathMatcher {
    /// Adds a path. One that is already there is replaced; validation refuses duplicates.
    pub(super) fn insert(&mut self, pattern: &PathPattern, route: RouteId) {
        match pattern {
            PathPattern::Exact(path) => {
                self.exact.insert(path.clone(), route);
            }
            PathPattern::Prefix(path) => {
                self.longest_prefix = self.longest_prefix.max(path.len());
                self.prefixes.insert(path.clone(), route);
            }
        }
    }

    /// The route of `path` (without query): an exact path, else the longest prefix. Every prefix
    /// that can match ends at a slash, before one, or is the whole path, so only those are tried.
    pub(super) fn find(&self, path: &str) -> Option<RouteId> {
        if let Some(route) = self.exact.get(path) {
            return Some(*route);
        }
        if path.len() <= self.longest_prefix
            && let Some(route) = self.prefixes.get(path)
        {
            return Some(*route);
        }
        let bytes = path.as_bytes();
        let end = bytes.len().min(self.longest_prefix + 1);
        for slash in (0..end).rev().filter(|&at| bytes[at] == b'/') {
            // A slash is one byte of UTF-8, so both ends are character boundaries.
            for candidate in [&path[..=slash], &path[..slash]] {
                if let Some(route) = self.prefixes.get(candidate) {
                    return Some(*route);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(patterns: &[&str]) -> PathMatcher {
        let mut matcher = PathMatcher::default();
        for (index, pattern) in patterns.iter().enumerate() {
            let pattern = match pattern.strip_prefix('=') {
                Some(exact) => PathPattern::Exact(exact.into()),
                None => PathPattern::Prefix((*pattern).into()),
            };
            matcher.insert(&pattern, RouteId(index));
        }
        matcher
    }

    #[track_caller]
    fn check(patterns: &[&str], path: &str, expected: Option<&str>) {
        let found = matcher(patterns).find(path).map(|route| patterns[route.0]);
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn longest_prefix_wins() {
        let patterns = ["/", "/api/", "/api/v1/", "/static"];
        check(&patterns, "/", Some("/"));
        check(&patterns, "/x", Some("/"));
        check(&patterns, "/api", Some("/"));
        check(&patterns, "/api/", Some("/api/"));
        check(&patterns, "/api/v1", Some("/api/"));
        check(&patterns, "/api/v1/users", Some("/api/v1/"));
        check(&patterns, "/static", Some("/static"));
        check(&patterns, "/static/a/b", Some("/static"));
        check(&patterns, "/statics", Some("/"));
    }

    #[test]
    fn prefix_without_final_slash_matches_whole_segments() {
        check(&["/api"], "/api", Some("/api"));
        check(&["/api"], "/api/x", Some("/api"));
        check(&["/api"], "/apix", None);
        check(&["/api"], "/ap", None);
        check(&["/api", "/api/"], "/api/x", Some("/api/"));
        check(&["/api", "/api/"], "/api", Some("/api"));
        check(&["/a/"], "/a//b", Some("/a/"));
    }

    #[test]
    fn exact_beats_prefix_of_the_same_text() {
        check(&["/a", "=/a"], "/a", Some("=/a"));
        check(&["/a", "=/a"], "/a/b", Some("/a"));
        check(&["=/a"], "/a/", None);
        check(&["=/a"], "/a/b", None);
    }

    #[test]
    fn no_route_is_none() {
        check(&[], "/", None);
        check(&["/api/"], "/", None);
        check(&["/api/"], "*", None);
        check(&["/"], "", None);
    }

    #[test]
    fn non_ascii_and_long_paths_are_safe() {
        check(&["/ä/"], "/ä/ö", Some("/ä/"));
        check(&["/"], &"/".repeat(8192), Some("/"));
        check(&["/ab"], &format!("/ab{}", "é/".repeat(4000)), None);
    }
}
