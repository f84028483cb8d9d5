//! The path that an upstream sees where a route strips or replaces its prefix.

use http::Uri;
use http::uri::PathAndQuery;

use super::authority::TargetError;
use crate::config::PrefixRewrite;

/// `target` (in origin form) with another prefix; `matched` is the path that the route was found
/// by. The query and every slash behind the prefix stay as they are, unless the prefix itself came
/// in another spelling. `*` has no prefix and stays.
///
/// # Errors
/// The result is no path.
pub(super) fn rewrite(
    rule: &PrefixRewrite,
    target: &Uri,
    matched: &str,
) -> Result<Uri, TargetError> {
    let text = target.path_and_query().ok_or(TargetError::Path)?.as_str();
    if text == "*" {
        return Ok(target.clone());
    }
    // The route matched, so its prefix is there; it is ASCII, and so is the path.
    let prefix = matched.get(..rule.cut).ok_or(TargetError::Path)?;
    let respelt;
    let rest = match text.strip_prefix(prefix) {
        Some(rest) => rest,
        None => {
            let query = &text[target.path().len()..];
            respelt = format!("{}{query}", &matched[rule.cut..]);
            &respelt
        }
    };
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

#[cfg(test)]
mod tests {
    use http::header::HOST;
    use http::{HeaderMap, HeaderValue, Method, Version};

    use super::super::authority::Target;
    use super::*;

    fn check(cut: &str, put: &str, target: &str, expected: &str) {
        let rule = PrefixRewrite {
            cut: cut.len(),
            put: put.into(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("a"));
        let uri = target.parse().unwrap();
        let read = Target::read(Version::HTTP_11, &Method::OPTIONS, &uri, &headers).unwrap();
        let found = rewrite(&rule, &read.uri, &read.path()).unwrap();
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
    fn a_prefix_in_another_spelling_is_cut_too() {
        check("/api", "/", "//api/x//y?a//b", "/x/y?a//b");
        check("/api", "/v2/", "/%61pi/x", "/v2/x");
        check("/api", "/", "/api//x%61", "//x%61");
    }
}
