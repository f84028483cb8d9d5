//! What a route does with requests: edits, redirects and fixed responses.

use std::time::Duration;

use super::texts::{one, with};
use crate::config::{BodyLimit, RedirectTarget, RequestRules, RouteAction};

#[test]
fn routes_change_redirect_and_respond() {
    let config = with(
        "[[routes]]
        path = \"/api/\"
        upstream = \"u\"
        request_headers = { set = { X-Team = \"pay 100%\" }, add = { Via = \"a\" }, remove = [\"Cookie\"] }
        response_headers = { remove = [\"Server\"] }
        replace_prefix = \"/v2/\"
        timeouts = { first_byte = \"5m\" }
        request_body = \"10MiB\"
        [[routes]]
        path = \"/a\"
        redirect = { to = \"https\", public_port = 8443, status = 301 }
        [[routes]]
        path = \"/b\"
        redirect = { to = \"https://Example.com\" }
        [[routes]]
        path = \"/c\"
        respond = { status = 410, body = \"gone\\n\" }
        [[routes]]
        path = \"=/d\"
        respond = { status = 200, body = \"{}\", headers = { Content-Type = \"application/json\" } }
        [upstreams.u]
        servers = [{ address = \"a:1\" }]
        timeouts = { connect = \"3s\" }",
    );
    let route = &config.routes[1];
    let rules = &route.request;
    assert_eq!(rules.fields.remove, ["cookie"]);
    assert_eq!(rules.fields.set[0].0, "x-team");
    assert_eq!(rules.fields.set[0].1, "pay 100%");
    assert_eq!(rules.fields.add[0].0, "via");
    assert_eq!(route.response_fields.remove, ["server"]);
    let rewrite = rules.path.as_ref().unwrap();
    assert_eq!((rewrite.cut, &*rewrite.put), ("/api".len(), "/v2/"));
    let timeouts = rules.timeouts.as_ref().unwrap();
    assert_eq!(timeouts.first_byte, Duration::from_secs(300));
    assert_eq!(timeouts.connect, Duration::from_secs(3), "the upstream's");
    assert_eq!(rules.body, BodyLimit::Bytes(10 << 20));
    let RouteAction::Redirect(redirect) = &config.routes[2].action else {
        panic!("a redirect");
    };
    assert_eq!(redirect.to, RedirectTarget::Https { port: 8443 });
    assert_eq!(redirect.status, 301);
    let RouteAction::Redirect(redirect) = &config.routes[3].action else {
        panic!("a redirect");
    };
    let origin = RedirectTarget::Origin("https://example.com".into());
    assert_eq!(redirect.to, origin);
    assert_eq!(redirect.status, 308);
    for (index, body, kind) in [
        (4, "gone\n", "text/plain; charset=utf-8"),
        (5, "{}", "application/json"),
    ] {
        let RouteAction::Respond(fixed) = &config.routes[index].action else {
            panic!("a fixed response");
        };
        assert_eq!(fixed.body, body);
        assert_eq!(fixed.fields.len(), 1);
        assert_eq!(fixed.fields[0].1, kind);
    }
    assert_eq!(config.routes[0].request, RequestRules::default());
    assert!(config.routes[0].response_fields.is_empty());
}

#[test]
fn faults_of_routes_are_located() {
    const UP: &str = "upstream = \"http://127.0.0.1:1\"\n";
    let cases = [
        (
            format!("{UP}redirect = {{ to = \"https\" }}"),
            "4:12 `upstream` and `redirect` exclude each other | a route does one thing: `upstream`, `redirect` or `respond`",
        ),
        (
            "respond = { status = 410 }\nrequest_body = \"1KiB\"".into(),
            "4:16 `request_body` has no effect on a route that forwards nothing | leave it out",
        ),
        (
            "respond = { status = 204, body = \"x\" }".into(),
            "3:34 a response with status 204 has no body | leave `body` out",
        ),
        (
            "respond = { status = 101 }".into(),
            "3:22 expected an integer from 200 to 599, found 101",
        ),
        (
            "redirect = { to = \"https\", status = 300 }".into(),
            "3:37 300 is no status of a redirect | possible: 301, 302, 303, 307, 308",
        ),
        (
            "redirect = { to = \"https://a.test/x\" }".into(),
            "3:19 a redirect has no path of its own, found `/x`: requests keep theirs | write \"https://a.test\"",
        ),
        (
            "redirect = { to = \"https://a.test\", public_port = 1 }".into(),
            "3:51 `public_port` goes with to = \"https\" only | write the port into `to`",
        ),
        (
            "redirect = {}".into(),
            "3:12 missing key `to` in [routes.redirect] | add to = \"https\"",
        ),
        (
            "redirect = { to = \"https\", stat = 301 }".into(),
            "3:28 unknown key `stat` in [routes.redirect] | did you mean `status`? (known here: `to`, `public_port`, `status`)",
        ),
        (
            format!("{UP}strip_prefix = true\nreplace_prefix = \"/x\""),
            "5:18 `strip_prefix` and `replace_prefix` exclude each other",
        ),
        (
            format!("{UP}replace_prefix = \"x\""),
            "4:18 `x` is no path of a route: it does not begin with a slash | write \"/x\"",
        ),
        (
            format!("{UP}strip_prefix = true"),
            "4:16 the path \"/\" has no prefix to strip | give the route a `path`",
        ),
        (
            format!("{UP}path = \"=/x\"\nstrip_prefix = true"),
            "5:16 an exact path has no prefix to strip | write replace_prefix = \"/\"",
        ),
        (
            format!("{UP}timeouts = {{ firstbyte = \"1s\" }}"),
            "4:14 unknown key `firstbyte` in [routes.timeouts] | did you mean `first_byte`? (known here: `connect`, `first_byte`, `idle`)",
        ),
        (
            format!("{UP}request_headers = {{ set = {{ Host = \"a\" }} }}"),
            "4:29 the field `Host` cannot be changed: the upstream sees the host that the client asked for",
        ),
        (
            format!("{UP}request_headers = {{ remove = [\"Transfer_Encoding\"] }}"),
            "4:31 the field `Transfer_Encoding` cannot be changed: it belongs to the connection, not to the message",
        ),
        (
            format!("{UP}request_headers = {{ add = {{ X-Forwarded-For = \"a\" }} }}"),
            "4:29 the field `X-Forwarded-For` cannot be changed: it tells of the client | see `forwarding.headers`",
        ),
        (
            format!("{UP}response_headers = {{ set = {{ \"A b\" = \"a\" }} }}"),
            "4:30 `A b` is no name of a field: it has 1 to 128 letters, digits and hyphens",
        ),
        (
            format!("{UP}response_headers = {{ set = {{ A = \"a\\r\\nB: c\" }} }}"),
            "4:34 `a\u{fffd}\u{fffd}B: c` is no value of a field: it has a control character or one outside ASCII",
        ),
        (
            format!("{UP}response_headers = {{ set = {{ A = \" a\" }} }}"),
            "4:34 ` a` is no value of a field: it begins or ends with a blank",
        ),
        (
            format!("{UP}response_headers = {{ set = {{ A = \"1\" }}, remove = [\"a\"] }}"),
            "4:30 the field `A` is given twice | the first is in line 4",
        ),
        (
            format!("{UP}response_headers = {{ sets = {{}} }}"),
            "4:22 unknown key `sets` in [routes.response_headers] | did you mean `set`? (known here: `remove`, `set`, `add`)",
        ),
    ];
    let wrong: Vec<_> = cases
        .into_iter()
        .map(|(lines, message)| (one(&format!("[[routes]]\nhost = \"a\"\n{lines}")), message))
        .filter(|(found, message)| found != message)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
