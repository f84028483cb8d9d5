//! The path that an upstream sees where a route strips or replaces its prefix.

use http::Uri;
use http::uri::PathAndQuery;

use super::authority::TargetError;
use crate::config::PrefixRewrite;

/// `target` (in origin form, matched by the route) with another prefix. The query and every slash
/// behind the prefix stay as they are; `*` has no prefix and stays.
///
/// # Errors
/// The path has a segment that leads upwards, in whatever spelling: the upstream could leave the
/// prefix by it.
pub(super) fn rewrite(rule: &PrefixRewrite, target: &Uri) -> Result<Uri, TargetError> {
    let text = target.path_and_query().ok_or(TargetError::Path)?.as_str();
    if text == "*" {
        return Ok(target.clone());
    }
    if climbs(target.path()) {
        return Err(TargetError::DotSegment);
    }
    // The route matched, so its prefix is there; it is ASCII, and so is the path.
    let rest = text.get(rule.cut..).ok_or(TargetError::Path)?;
    let put = &*rule.put;
    let path = match rest.as_bytes().first() {
        Some(b'/') => format!("{}{rest}", put.strip_suffix('/').unwrap_or(put)),
        // Nothing of the path is left, but there may be a query.
        _ => format!("{put}{rest}"),
    };
    PathAndQuery::try_from(path)
        .map(Uri::from)
        .map_err(|_| TargetError::Path)
}

/// Whether a segment is `.` or `..`, also where dots and separators are escaped, as a server may
/// read them after it has unescaped the path, and before a parameter (`..;x`).
fn climbs(path: &str) -> bool {
    if !path.contains('.') && !path.contains('%') {
        return false;
    }
    let plain = path
        .to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "/")
        .replace("%3b", ";")
        .replace('\\', "/");
    plain
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or(segment))
        .any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cut: &str, put: &str, target: &str, expected: &str) {
        let rule = PrefixRewrite {
            cut: cut.len(),
            put: put.into(),
        };
        let found = rewrite(&rule, &target.parse().unwrap()).unwrap();
        assert_eq!(found.to_string(), expected, "{target}");
    }

    #[test]
    fn slashes_are_exact() {
        // `path = "/api"` and `path = "/api/"` both cut `/api`.
        for (target, stripped, replaced) in [
            ("/api", "/", "/v2/"),
            ("/api?a=/b", "/?a=/b", "/v2/?a=/b"),
            ("/api/", "/", "/v2/"),
            ("/api/?q", "/?q", "/v2/?q"),
            ("/api/x", "/x", "/v2/x"),
            ("/api/x/", "/x/", "/v2/x/"),
            ("/api//x", "//x", "/v2//x"),
            ("/api/%2Fx?%2e%2e/", "/%2Fx?%2e%2e/", "/v2/%2Fx?%2e%2e/"),
        ] {
            check("/api", "/", target, stripped);
            check("/api", "/v2/", target, replaced);
        }
        check("/api", "/v2", "/api", "/v2");
        check("/api", "/v2", "/api?q", "/v2?q");
        check("/api", "/v2", "/api/", "/v2/");
        check("/api", "/v2", "/api/x", "/v2/x");
        check("", "/v2/", "/", "/v2/");
        check("", "/v2/", "/x", "/v2/x");
        check("/only/", "/other", "/only/", "/other");
        check("", "/v2/", "*", "*");
    }

    #[test]
    fn nothing_leads_out_of_the_prefix() {
        let rule = PrefixRewrite {
            cut: "/api".len(),
            put: "/".into(),
        };
        for path in [
            "/api/..",
            "/api/../x",
            "/api/./x",
            "/api/%2e%2E/x",
            "/api/.%2e",
            "/api/..%2fx",
            "/api/x/..%5cy",
            "/api/..;a=b/x",
            "/api/..%3Ba/x",
            "/api/..\\x",
        ] {
            let refused = rewrite(&rule, &path.parse().unwrap()).unwrap_err();
            assert_eq!(refused, TargetError::DotSegment, "{path}");
        }
        for path in ["/api/...", "/api/.x", "/api/x..", "/api/x?../.."] {
            assert!(rewrite(&rule, &path.parse().unwrap()).is_ok(), "{path}");
        }
    }
}
