//! `[upstreams.NAME]`: servers, and what is done about those that fail.

use std::time::Duration;

use super::texts::{one, with};
use crate::config::{Balance, ServerAddress, defaults};

#[test]
fn upstreams_are_checked() {
    for (line, message) in [
        (
            "servers = []",
            "2:11 an upstream needs a server, found an empty list",
        ),
        (
            "servers = [\"a:1\"]",
            "2:12 expected a table, found string | write { address = \"a:1\" }",
        ),
        (
            "servers = [{ weight = 1 }]",
            "2:12 missing key `address` in [[upstreams.a.servers]] | add address = \"10.0.0.11:8080\"",
        ),
        (
            "servers = [{ address = \"a:1\", weight = 0 }]",
            "2:40 expected an integer from 1 to 1000, found 0",
        ),
        (
            "servers = [{ address = \"a:1\" }, { address = \"A:1\" }]",
            "2:45 the server `A:1` is given twice | `weight` gives it a larger share",
        ),
        (
            "servers = [{ address = \"a:1\" }]\nprotocol = \"auto\"",
            "3:12 `protocol = \"auto\"` needs `tls`: it is chosen by ALPN | write \"http1\" or \"http2\", or set `tls`",
        ),
        (
            "servers = [{ address = \"a:1\" }]\nprotocol = \"h2\"",
            "3:12 `h2` is not possible here | possible: `http1`, `http2`, `auto`",
        ),
        (
            "protocol = \"http1\"",
            "1:1 missing key `servers` in [upstreams.a] | add servers = [{ address = \"10.0.0.11:8080\" }]",
        ),
    ] {
        assert_eq!(one(&format!("[upstreams.a]\n{line}")), message);
    }
    let text = "[upstreams.a]\nservers = [{ address = \"a:1\", weight = 3 }]\n\
                pool = { max_idle = 0, wait = \"20ms\" }\ntimeouts.connect = \"1s\"\n";
    let config = with(text);
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.servers[0].weight, 3);
    assert_eq!(upstream.pool.max_idle, 0);
    assert_eq!(upstream.pool.wait, Duration::from_millis(20));
    assert_eq!(upstream.pool.idle_timeout, defaults::POOL.idle_timeout);
    assert_eq!(upstream.timeouts.connect, Duration::from_secs(1));
}

#[test]
fn what_is_done_about_servers_that_fail_is_read() {
    let upstream = |lines: &str| {
        let text = format!("[upstreams.a]\nservers = [{{ address = \"a:1\" }}]\n{lines}");
        with(&text).upstreams[0].clone()
    };
    let given = upstream(
        "balance = \"hash:client-ip\"\nretries = { attempts = 3, methods = [\"PUT\", \"GET\"] }
         eject = false\nhealth = { path = \"/up?x\", timeout = \"2s\" }\nresolve_interval = \"1s\"",
    );
    assert_eq!(given.balance, Balance::HashClientIp);
    assert_eq!(given.retries.attempts, 3);
    assert_eq!(
        given.retries.methods,
        [http::Method::GET, http::Method::PUT]
    );
    assert_eq!(given.eject, None);
    let health = given.health.unwrap();
    assert_eq!(&*health.path, "/up?x");
    assert_eq!(health.timeout, Duration::from_secs(2));
    assert_eq!(health.interval, defaults::HEALTH_INTERVAL);
    assert_eq!(given.resolve_interval, Duration::from_secs(1));
    let eject = upstream("eject = { for = \"1m\" }").eject.unwrap();
    assert_eq!((eject.failures, eject.period.as_secs()), (5, 60));
    assert_eq!(upstream("eject = true").eject, Some(defaults::EJECT));

    for (line, message) in [
        (
            "retries.methods = [\"POST\"]",
            "3:20 `POST` is not sent twice | the idempotent methods: `GET`, `HEAD`, `OPTIONS`, \
             `PUT`, `DELETE`, `TRACE`",
        ),
        (
            "retries.methods = [\"get\"]",
            "3:20 `get` is not sent twice | write \"GET\"",
        ),
        (
            "retries.attempts = 11",
            "3:20 expected an integer from 0 to 10, found 11",
        ),
        ("eject = 3", "3:9 expected a table or false, found integer"),
        (
            "health = { interval = \"1s\" }",
            "3:10 missing key `path` in [upstreams.a.health] | add path = \"/healthz\"",
        ),
        (
            "health = { path = \"healthz\" }",
            "3:19 expected a path such as \"/healthz\", found `healthz`",
        ),
        (
            "balance = \"random\"",
            "3:11 `random` is not possible here | did you mean `random-two`? (possible: \
             `round-robin`, `least-connections`, `random-two`, `hash:client-ip`)",
        ),
    ] {
        let text = format!("[upstreams.a]\nservers = [{{ address = \"a:1\" }}]\n{line}");
        assert_eq!(one(&text), message, "{line}");
    }
}

#[test]
fn servers_at_unix_sockets_are_read() {
    let config = with(
        "[[routes]]\nhost = \"a.example\"\nupstream = \"unix:/run/a.sock\"\n\
         [[routes]]\nhost = \"b.example\"\nupstream = \"unix:/run//a.sock\"\n\
         [upstreams.local]\nprotocol = \"auto\"\n\
         servers = [{ address = \"unix:b.sock\", weight = 2 }, { address = \"10.0.0.1:80\" }]\n\
         tls = { server_name = \"apps.internal\" }",
    );
    let named = |name: &str| {
        let mut named = config.upstreams.iter();
        named.find(|upstream| &*upstream.name == name).unwrap()
    };
    let inline = named("unix:/run/a.sock");
    let unix = |path: &str| ServerAddress::Unix(path.into());
    assert_eq!(inline.servers[0].address, unix("/run/a.sock"));
    assert_eq!(inline.tls, None);
    // The other spelling means the same one.
    assert!(!config.upstreams.iter().any(|own| own.name.contains("//a")));
    let local = named("local");
    assert_eq!(local.servers[0].address, unix("/etc/handfast/b.sock"));
    assert_eq!(local.servers[0].weight, 2);
    assert!(local.tls.is_some());
}

#[test]
fn faults_of_servers_at_unix_sockets_are_told_at_their_place() {
    let local = |servers: &str| format!("[upstreams.local]\nservers = [{servers}]\n");
    let socket = local("{ address = \"unix:/run/a.sock\" }");
    let missing = "`tls` needs `server_name`: a server at a unix socket has no host of its own | \
                   write tls = { server_name = \"apps.internal\" }, say";
    for (text, message) in [
        (format!("{socket}tls = true"), format!("3:7 {missing}")),
        (
            format!("{socket}tls = {{ verify = false }}"),
            format!("3:7 {missing}"),
        ),
        (
            local("{ address = \"unix:\" }"),
            "2:24 `unix:` has no path of a socket | write \"unix:/run/app.sock\", say".to_owned(),
        ),
        (
            local("{ address = \"unix:/a\" }, { address = \"unix://a\" }"),
            "2:49 the server `unix://a` is given twice | `weight` gives it a larger share"
                .to_owned(),
        ),
        (
            local(&format!("{{ address = \"unix:/{}\" }}", "x".repeat(107))),
            format!(
                "2:24 `/{}…` is too long for the path of a socket | at most 107 bytes, the \
                 directory of this file included",
                "x".repeat(79)
            ),
        ),
        (
            "[[routes]]\nhost = \"a.example\"\nupstream = \"unix:\"".to_owned(),
            "3:12 `unix:` has no path of a socket | write \"unix:/run/app.sock\", say".to_owned(),
        ),
        (
            "[[routes]]\nhost = \"a.example\"\nupstream = \"http://unix:/run/a.sock:/\"".to_owned(),
            "3:12 `http://unix:/run/a.sock:/` is not how a unix socket is written | write \
             \"unix:/run/a.sock\""
                .to_owned(),
        ),
    ] {
        assert_eq!(one(&text), message, "{text}");
    }
}
