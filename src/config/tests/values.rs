//! Values and keys: each is checked and located, in whatever table it stands.

use std::time::Duration;

use super::texts::{MINIMAL, config, one, with};
use crate::config::defaults;

#[test]
fn values_are_checked() {
    for (text, message) in [
        (
            "[timeouts]\nkeep_alive = 75",
            "2:14 expected a duration such as \"10s\", found integer | write \"75s\"",
        ),
        (
            "[timeouts]\nkeep_alive = \"0s\"",
            "2:14 expected between \"1ms\" and \"365d\", found `0s`",
        ),
        (
            "[timeouts]\nkeep_alive = \"366d\"",
            "2:14 expected between \"1ms\" and \"365d\", found `366d`",
        ),
        (
            "[timeouts]\nkeep_alive = true",
            "2:14 expected a duration such as \"10s\", found boolean",
        ),
        (
            "[limits]\nrequest_headers = 32768",
            "2:19 expected a size such as \"16KiB\", found integer | write \"32KiB\"",
        ),
        (
            "[limits]\nrequest_headers = \"1KiB\"",
            "2:19 expected between \"8KiB\" and \"1MiB\", found `1KiB`",
        ),
        (
            "[limits]\nconnections = 0",
            "2:15 expected an integer from 1 to 1000000, found 0",
        ),
        (
            "[limits]\nconnections = -1",
            "2:15 expected an integer from 1 to 1000000, found -1",
        ),
        (
            "[limits]\nconnections = 99999999999999999999999",
            "2:15 expected an integer from 1 to 1000000, found 99999999999999999999999",
        ),
        (
            "[limits]\nrequest_body = \"unlimitd\"",
            "2:16 expected a size such as \"16KiB\", found `unlimitd` | a whole number and one of \
             the units B, KiB, MiB, GiB, TiB",
        ),
        (
            "[log]\naccess = { enabled = \"yes\" }",
            "2:22 expected true or false, found string | write true without quotes",
        ),
        (
            "[log]\ntarget = \"stdrr\"",
            "2:10 `stdrr` is no target of the log | did you mean `stderr`? the path of a file can \
             begin with ./",
        ),
        (
            "[log]\naccess = true",
            "2:10 expected a table, found boolean",
        ),
        (
            "[admin]\naddress = \"0.0.0.0:9180\"",
            "2:11 the admin interface cannot listen on 0.0.0.0:9180 without `token_file`: it \
             would show every connection to whoever reaches it | write \"127.0.0.1:9180\", or add \
             token_file; [health] can serve the metrics alone",
        ),
        (
            "[admin]\naddress = \"127.0.0.1:1\"\n[health]\naddress = \"127.0.0.1:1\"",
            "4:11 the admin interface has this address already | it serves health and metrics too",
        ),
        (
            "[health]\naddress = \"127.0.0.1:8443\"",
            "2:11 a listener has this address already | the listener is in line 4",
        ),
        (
            "[admin]\naddress = \"127.0.0.1:8443\"",
            "2:11 a listener has this address already | the listener is in line 4",
        ),
        (
            "[tls]\npreset = \"custom\"",
            "2:1 expected a table [tls.NAME], found the key `preset` | give the table a name: \
             [tls.default]",
        ),
        (
            "[tls.\"a b\"]",
            "1:6 the name `a b` cannot be used: a name has 1 to 64 letters, digits, hyphens, \
             underscores and dots",
        ),
    ] {
        assert_eq!(one(text), message, "{text}");
    }
    let body = |text: &str| {
        with(&format!("[limits]\nrequest_body = \"{text}\""))
            .limits
            .request_body
    };
    assert_eq!(body("unlimited"), None);
    assert_eq!(body("10MiB"), Some(10 << 20));
    for (text, limit) in [("\"unlimited\"", None), ("3", Some(3))] {
        let limits = with(&format!("[limits]\nconnections_per_ip = {text}")).limits;
        assert_eq!(limits.connections_per_ip, limit, "{text}");
    }
    assert_eq!(with("[limits]\nconnections = 0x10").limits.connections, 16);
    assert_eq!(
        with("[shutdown]\ndrain_delay = \"0s\"")
            .shutdown
            .drain_delay,
        Some(Duration::ZERO)
    );
    assert_eq!(with("").shutdown.drain_delay, None);
}

#[test]
fn budgets_are_read() {
    let read = config(&format!(
        "{MINIMAL}\n[limits]\nh2_resets = {{ count = 20 }}\nh2_control_frames = {{ per = \"1m\" }}\n"
    ));
    assert_eq!(read.limits.h2_resets.count, 20);
    assert_eq!(read.limits.h2_resets.per, defaults::LIMITS.h2_resets.per);
    assert_eq!(read.limits.h2_control_frames.count, 1000);
    assert_eq!(read.limits.h2_control_frames.per, Duration::from_secs(60));
    assert_eq!(
        one("[limits]\nh2_resets = { count = 1, per = \"10s\" }"),
        "2:23 expected an integer from 10 to 1000000, found 1"
    );
    assert_eq!(
        one("[limits]\nh2_resets = { every = \"10s\" }"),
        "2:15 unknown key `every` in [limits.h2_resets] | known here: `count`, `per`"
    );
}

#[test]
fn planned_keys_are_named_as_such() {
    for (text, message) in [
        (
            "[[routes]]\nhost = \"a.example\"\nupstream = \"h2c://a:80\"",
            "3:12 an upstream of the form `h2c://…` is not supported yet",
        ),
        (
            "[certificates.a]\nchain = \"c\"\nkey = \"credential:k\"",
            "3:7 a path of the form `credential:…` is not supported yet",
        ),
    ] {
        assert_eq!(one(text), message, "{text}");
    }
}

/// What the design plans is either a key here or said to be planned; never a slip of the pen.
#[test]
fn unknown_keys_are_found_at_every_depth() {
    for (text, message) in [
        ("[tlss.a]", "1:2 unknown key `[tlss]`"),
        ("[[listener]]", "1:3 unknown key `listener`"),
        ("workers = 1", "1:1 unknown key `workers`"),
        (
            "[log]\naccess = { enable = true }",
            "2:12 unknown key `enable` in [log.access]",
        ),
        (
            "[[upstreams.a.servers]]\naddress = \"a:1\"\nwieght = 2",
            "3:1 unknown key `wieght` in [[upstreams.a.servers]]",
        ),
        (
            "[upstreams.a]\nservers = [{ address = \"a:1\" }]\npool.max = 2",
            "3:6 unknown key `max` in [upstreams.a.pool]",
        ),
        (
            "[certificates.a]\npairs = [{ chain = \"c\", key = \"k\", password = \"\" }]",
            "2:36 unknown key `password` in [[certificates.a.pairs]]",
        ),
    ] {
        let found = one(text);
        let (head, help) = found.split_once(" | ").unwrap();
        assert_eq!(head, message);
        assert!(help.contains("known here: "), "{help}");
    }
}
