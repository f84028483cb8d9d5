//! The route table: most specific host, then longest path.

use super::matcher::PathMatcher;
use crate::config::{Route, RouteId};
use crate::host::HostMap;

/// All routes, looked up by host and path.
///
/// The most specific host is asked first: the name itself, then the wildcard of its parent, then
/// the routes without a host. A host that has no matching path passes the request on to the next
/// less specific one, so a route without a host serves what no other route of that host does.
#[derive(Debug, Default)]
pub struct RouteTable {
    hosts: HostMap<PathMatcher>,
    any: PathMatcher,
}

impl RouteTable {
    /// Builds the table. Two routes never have the same host and path: validation refuses them.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let mut table = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let id = RouteId(index);
            match &route.host {
                None => table.any.insert(&route.path, id),
                Some(host) => {
                    if let Some(paths) = table.hosts.get_pattern_mut(host) {
                        paths.insert(&route.path, id);
                    } else {
                        let mut paths = PathMatcher::default();
                        paths.insert(&route.path, id);
                        table.hosts.insert(host, paths);
                    }
                }
            }
        }
        table
    }

    /// The route for `host` (normalised) and `path` (without query). An empty host is asked of
    /// the routes without a host alone. Never allocates.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<RouteId> {
        if self.hosts.is_empty() {
            return self.any.find(path);
        }
        // `find` may already answer with the wildcard; asking it again then costs one more miss.
        self.hosts
            .find(host)
            .and_then(|paths| paths.find(path))
            .or_else(|| {
                self.hosts
                    .find_wildcard(host)
                    .and_then(|paths| paths.find(path))
            })
            .or_else(|| self.any.find(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FieldEdits, Location, PathPattern, RequestRules, RouteAction, UpstreamId};
    use crate::host::HostPattern;

    fn table(routes: &[(&str, &str)]) -> RouteTable {
        let routes: Vec<_> = routes
            .iter()
            .map(|(host, path)| Route {
                name: format!("{host}{path}").into(),
                host: (*host != "*").then(|| HostPattern::parse(host).unwrap()),
                path: match path.strip_prefix('=') {
                    Some(exact) => PathPattern::Exact(exact.into()),
                    None => PathPattern::Prefix((*path).into()),
                },
                action: RouteAction::Upstream(UpstreamId(0)),
                request: RequestRules::default(),
                response_fields: FieldEdits::default(),
                location: Location::default(),
            })
            .collect();
        RouteTable::new(&routes)
    }

    #[track_caller]
    fn check(routes: &[(&str, &str)], host: &str, path: &str, expected: Option<usize>) {
        let found = table(routes).find(host, path).map(|route| route.0);
        assert_eq!(found, expected, "{host}{path}");
    }

    #[test]
    fn most_specific_host_wins_over_longer_path() {
        let routes = [
            ("*", "/api/v1/"),
            ("*.example.com", "/api/"),
            ("www.example.com", "/"),
        ];
        check(&routes, "www.example.com", "/api/v1/x", Some(2));
        check(&routes, "api.example.com", "/api/v1/x", Some(1));
        check(&routes, "example.com", "/api/v1/x", Some(0));
    }

    #[test]
    fn host_without_matching_path_falls_through() {
        let routes = [
            ("*", "/"),
            ("*.example.com", "/wild/"),
            ("www.example.com", "/own/"),
        ];
        check(&routes, "www.example.com", "/own/x", Some(2));
        check(&routes, "www.example.com", "/wild/x", Some(1));
        check(&routes, "www.example.com", "/other", Some(0));
        check(&routes, "", "/other", Some(0));
    }

    #[test]
    fn order_of_routes_never_matters() {
        let routes = [("example.com", "/"), ("example.com", "/a/")];
        check(&routes, "example.com", "/a/b", Some(1));
        let routes = [("example.com", "/a/"), ("example.com", "/")];
        check(&routes, "example.com", "/a/b", Some(0));
    }

    #[test]
    fn unknown_host_is_none() {
        let routes = [("example.com", "/")];
        check(&routes, "example.org", "/", None);
        check(&routes, "", "/", None);
    }
}
