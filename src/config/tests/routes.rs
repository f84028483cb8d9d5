//! `[[routes]]`: hosts, paths and upstreams.

use super::texts::{one, with};
use crate::config::{PathPattern, RouteAction};

#[test]
fn routes_are_checked() {
    for (lines, message) in [
        (
            "path = \"api\"",
            "2:8 `api` is no path of a route: it does not begin with a slash | write \"/api\"",
        ),
        (
            "path = \"=x\"",
            "2:8 `=x` is no path of a route: it does not begin with a slash | write \"=/x\"",
        ),
        (
            "path = \"/*\"",
            "2:8 `/*` is no path of a route: it has a star | a path matches as a prefix, without a star",
        ),
        (
            "path = \"/a?b\"",
            "2:8 `/a?b` is no path of a route: a query or fragment is not part of a path",
        ),
        (
            "path = \"/a/../b\"",
            "2:8 `/a/../b` is no path of a route: it has a dot segment",
        ),
        (
            "path = \"=/%61//b\"",
            "2:8 `=/%61//b` is no path of a route: no request has it | requests are compared in another spelling: write \"=/a/b\"",
        ),
        (
            "path = \"/ä\"",
            "2:8 `/ä` is no path of a route: it has a space or a character outside ASCII | write other characters as %-escapes of their UTF-8 bytes",
        ),
        (
            "host = \"*\"",
            "2:8 `*` is no host name | leave `host` out for any host",
        ),
        (
            "host = \"a.example:80\"",
            "2:8 `a.example:80` is no host name: a host name has letters, digits, hyphens, underscores and dots only (other scripts as xn-- labels) | write \"a.example\"",
        ),
    ] {
        let text = format!("[[routes]]\n{lines}\nupstream = \"http://127.0.0.1:1\"");
        assert_eq!(one(&text), message);
    }
    let route =
        "[[routes]]\nhost = \"A.example\"\npath = \"/x\"\nupstream = \"http://127.0.0.1:1\"\n";
    let again = route.replace("A.example", "a.example.");
    assert_eq!(
        one(&format!("{route}{again}")),
        "7:8 another route has the host and path `a.example/x` | the first is in line 1"
    );
    let exact = again.replace("\"/x\"", "\"=/x\"");
    let config = with(&format!("{route}{exact}"));
    assert_eq!(config.routes.len(), 3);
    assert_eq!(
        config.upstreams.len(),
        2,
        "the same URL is the same upstream"
    );
    assert_eq!(config.routes[2].path, PathPattern::Exact("/x".into()));
    for (upstream, message) in [
        (
            "apii",
            "3:12 upstream `apii` is not defined | did you mean `api`? (defined: `api`)",
        ),
        (
            "127.0.0.1:3000",
            "3:12 upstream `127.0.0.1:3000` is not defined | write \"http://127.0.0.1:3000\"",
        ),
    ] {
        let text = format!(
            "[[routes]]\nhost = \"a\"\nupstream = \"{upstream}\"\n[upstreams.api]\nservers = [{{ address = \"a:1\" }}]"
        );
        assert_eq!(one(&text), message);
    }
    assert_eq!(
        one("[[routes]]\nhost = \"a\""),
        "1:1 missing key `upstream` in [[routes]] | add upstream = \"http://127.0.0.1:3000\""
    );
}

#[test]
fn routes_share_upstreams_of_the_same_url() {
    let config = with(
        "[[routes]]\npath = \"/a\"\nupstream = \"https://b\"\n\
         [[routes]]\npath = \"/b\"\nupstream = \"https://B:443\"\n\
         [[routes]]\npath = \"/c\"\nupstream = \"http://b:443\"\n",
    );
    let upstreams: Vec<_> = config
        .routes
        .iter()
        .map(|route| match route.action {
            RouteAction::Upstream(id) => id.0,
            _ => panic!("a route to an upstream"),
        })
        .collect();
    assert_eq!(upstreams, [0, 1, 1, 2]);
    assert!(config.upstreams[1].tls.as_ref().unwrap().verify);
    assert_eq!(config.upstreams[2].tls, None);
}
