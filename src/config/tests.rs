//! The configuration as a whole: shipped files, every kind of fault, and arbitrary text.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::report::{Peer, ProtocolVersion};

const FULL: &str = include_str!("../../config/handfast.toml");
const MINIMAL: &str = include_str!("../../config/minimal.toml");

/// The minimal configuration, to be extended.
const BASE: &str = "\
[[listeners]]
address = \"127.0.0.1:8443\"
certificate = { chain = \"c.pem\", key = \"k.pem\" }
[[routes]]
upstream = \"http://127.0.0.1:3000\"
";

fn config(text: &str) -> Config {
    match parse(text, Path::new("/etc/handfast/handfast.toml")) {
        Ok(loaded) => loaded.config,
        Err(faults) => panic!("{faults}"),
    }
}

fn with(extra: &str) -> Config {
    config(&format!("{BASE}{extra}"))
}

fn faults(text: &str) -> Diagnostics {
    parse(text, Path::new("t.toml")).expect_err("the text is refused")
}

/// `line:column message | help` of each fault.
fn heads(text: &str) -> Vec<String> {
    let faults = faults(text);
    let head = |item: &Diagnostic| {
        let position = item
            .location
            .and_then(|location| faults.sources.position(location))
            .map_or_else(String::new, |at| format!("{}:{} ", at.line, at.column));
        let help = item
            .help
            .as_ref()
            .map_or_else(String::new, |help| format!(" | {help}"));
        format!("{position}{}{help}", item.message)
    };
    faults.items.iter().map(head).collect()
}

/// The faults of the base with `extra`, whose lines count from 1.
fn extra(text: &str) -> Vec<String> {
    let text = format!("{text}\n{BASE}");
    heads(&text)
}

fn one(text: &str) -> String {
    let mut all = extra(text);
    assert_eq!(all.len(), 1, "{text:?}: {all:#?}");
    all.remove(0)
}

#[test]
fn the_shipped_files_parse() {
    let full = config(FULL);
    assert_eq!(full.listeners.len(), 3);
    assert_eq!(full.policies.len(), 3);
    assert_eq!(full.certificates.len(), 3);
    assert_eq!(full.routes.len(), 6);
    assert_eq!(full.upstreams.len(), 5);
    let minimal = config(MINIMAL);
    let lines = MINIMAL.lines().filter(|line| !line.trim().is_empty());
    assert_eq!(lines.count(), 5);
    assert_eq!(minimal.listeners[0].address.to_string(), "[::]:443");
}

#[test]
fn the_full_file_shows_the_defaults() {
    let full = config(FULL);
    let minimal = config(MINIMAL);
    assert_eq!(full.runtime, minimal.runtime);
    assert_eq!(full.timeouts, minimal.timeouts);
    assert_eq!(full.limits, minimal.limits);
    assert_eq!(full.log, minimal.log);
    assert_eq!(full.forwarding, minimal.forwarding);
    assert_eq!(full.shutdown.drain_delay, Some(defaults::DRAIN_DELAY));
    assert_eq!(full.shutdown.drain_timeout, minimal.shutdown.drain_timeout);
    assert_eq!(full.listeners[0].backlog, minimal.listeners[0].backlog);
    assert_eq!(full.upstreams[0].timeouts, minimal.upstreams[0].timeouts);
    assert_eq!(full.upstreams[0].pool, minimal.upstreams[0].pool);
    assert_eq!(full.upstreams[0].balance, minimal.upstreams[0].balance);
    assert_eq!(full.upstreams[0].retries, minimal.upstreams[0].retries);
    assert_eq!(full.upstreams[0].eject, minimal.upstreams[0].eject);
    assert_eq!(
        full.upstreams[0].resolve_interval,
        minimal.upstreams[0].resolve_interval
    );
    let health = full.upstreams[0].health.as_ref().unwrap();
    assert_eq!(health.interval, defaults::HEALTH_INTERVAL);
    assert_eq!(health.timeout, defaults::HEALTH_TIMEOUT);
    assert_eq!(health.healthy_after, defaults::HEALTHY_AFTER);
    assert_eq!(health.unhealthy_after, defaults::UNHEALTHY_AFTER);
    assert_eq!(minimal.upstreams[0].health, None);
    let mut web = Policy {
        name: defaults::POLICY.into(),
        ..full.policies[1].clone()
    };
    // As under systemd.
    let ResumptionMode::Tickets(TicketKeys::Rotated(rotation)) = &mut web.resumption.mode else {
        panic!("{web:?}");
    };
    let file = rotation.file.take();
    assert_eq!(file, Some("/var/lib/handfast/ticket-keys-web".into()));
    assert_eq!(web, minimal.policies[0]);
}

/// Every key, as the messages about an unknown one in each table list them.
fn known_keys() -> Vec<String> {
    let pair = "chain = \"c\", key = \"k\", zz = 1";
    let text = format!(
        "zz = 1
        [runtime]\nzz = 1
        [[listeners]]\naddress = \"[::]:1\"\ncertificate = {{ {pair} }}\nzz = 1
        [tls.a]\nzz = 1\nresumption.zz = 1
        client_auth = {{ mode = \"optional\", ca = \"c\", allow = {{ zz = 1 }}, zz = 1 }}
        [certificates.a]\npairs = [{{ {pair} }}]\nzz = 1
        [[routes]]\nupstream = \"a\"\nzz = 1\nrequest_headers.zz = 1
        [[routes]]\npath = \"/a\"\nredirect = {{ to = \"https\", zz = 1 }}
        [[routes]]\npath = \"/b\"\nrespond = {{ status = 200, zz = 1 }}
        [upstreams.a]\nservers = [{{ address = \"a:1\", zz = 1 }}]\nzz = 1
        timeouts.zz = 1\npool.zz = 1\nretries.zz = 1\neject.zz = 1\nhealth = {{ path = \"/\", zz = 1 }}
        [timeouts]\nzz = 1
        [limits]\nzz = 1
        [forwarding]\nzz = 1
        [reload]\nzz = 1
        [shutdown]\nzz = 1
        [log]\nzz = 1\naccess.zz = 1\nhandshake.zz = 1
        [admin]\nzz = 1"
    );
    let faults = faults(&text);
    assert_eq!(faults.len(), 30, "{faults}");
    let help = |item: &Diagnostic| item.help.clone().unwrap();
    let helps: Vec<_> = faults.items.iter().map(help).collect();
    let keys = helps.iter().flat_map(|help| {
        assert!(!help.ends_with(" more"), "{help}");
        help.split('`').skip(1).step_by(2)
    });
    keys.map(str::to_owned).collect()
}

#[test]
fn the_full_file_and_the_manual_show_every_key() {
    const MANUAL: &str = include_str!("../../docs/configuration.md");
    let keys = known_keys();
    assert!(keys.len() > 60, "{keys:?}");
    for key in keys {
        let shown = FULL.lines().any(|line| {
            let code = line.split('#').next().unwrap();
            let mut words = code.split(|char: char| !(char.is_alphanumeric() || char == '_'));
            words.any(|word| word == key)
        });
        assert!(shown, "{key} is not in the full file");
        let marks = [
            format!("`{key}`"),
            format!("[{key}]"),
            format!("[{key}.NAME]"),
        ];
        assert!(
            marks.iter().any(|mark| MANUAL.contains(mark)),
            "{key} is not in the manual"
        );
    }
}

#[test]
fn one_pass_finds_every_fault() {
    let text = "\
[[listeners]]
adress = \"[::]:80\"
address = \"[::]:443\"
certificates = [\"exmaple\"]
backlog = \"4096\"

[tls.default]
preset = \"custom\"
versions = [\"1.2\"]
cipher_suites = [\"TLS_RSA_WITH_AES_128_CBC_SHA\"]
groups = [\"X25519\"]

[certificates.example]
chain = \"c.pem\"
key = \"k.pem\"

[limits]
h2_stream = 7

[[routes]]
upstream = \"http://127.0.0.1:3000\"
";
    let faults = faults(text);
    assert_eq!(
        faults.to_string(),
        "\
t.toml:2:1: unknown key `adress` in [[listeners]]
  |
2 | adress = \"[::]:80\"
  | ^^^^^^
  help: did you mean `address`? (known here: `address`, `name`, `tls`, `certificates`, `certificate`, `redirect`, `proxy_protocol_from`, `backlog`)

t.toml:4:17: certificate `exmaple` is not defined
  |
4 | certificates = [\"exmaple\"]
  |                 ^^^^^^^^^
  help: did you mean `example`? (defined: `example`)

t.toml:5:11: expected an integer, found string
  |
5 | backlog = \"4096\"
  |           ^^^^^^
  help: write 4096 without quotes

t.toml:10:18: cipher suite `TLS_RSA_WITH_AES_128_CBC_SHA` can never be negotiated: static RSA and static ECDH key exchange has no forward secrecy
   |
10 | cipher_suites = [\"TLS_RSA_WITH_AES_128_CBC_SHA\"]
   |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   help: the nearest that works is `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`

t.toml:18:1: unknown key `h2_stream` in [limits]
   |
18 | h2_stream = 7
   | ^^^^^^^^^
   help: did you mean `h2_streams`? (known here: `connections`, `connections_per_ip`, `handshakes`, `request_line`, `request_headers`, `request_header_count`, `request_body`, `h2_streams`, `h2_resets`, `h2_control_frames`)"
    );
    assert_eq!(faults.len(), 5);
}

#[test]
fn references_resolve() {
    let full = config(FULL);
    let ListenerMode::Tls {
        policy,
        certificates,
    } = &full.listeners[0].mode
    else {
        panic!("the first listener speaks TLS");
    };
    assert_eq!(&*full.policy(*policy).name, "web");
    let names: Vec<_> = certificates
        .iter()
        .map(|id| &*full.certificates[id.0].name)
        .collect();
    assert_eq!(names, ["example", "apps"]);
    assert_eq!(full.listeners[1].mode, ListenerMode::Plain);
    let apps = &full.certificates[certificates[1].0];
    assert_eq!(apps.pairs.len(), 2);
    let strict = full.policy(apps.policy.unwrap());
    assert_eq!(strict.versions, [ProtocolVersion::Tls13]);
    let RouteAction::Upstream(api) = full.routes[0].action else {
        panic!("a route to an upstream");
    };
    assert_eq!(&*full.upstreams[api.0].name, "api");
    let RouteAction::Upstream(inline) = full.routes[1].action else {
        panic!("a route to an upstream");
    };
    assert_eq!(&*full.upstreams[inline.0].name, "http://127.0.0.1:3000");
    assert_eq!(&*full.routes[0].name, "example.com/api/");
    assert_eq!(&*full.routes[1].name, "*.apps.example.com/");
    assert_eq!(&*config(MINIMAL).routes[0].name, "*/");
}

#[test]
fn relative_paths_start_at_the_file() {
    let file = |source: &PemSource| match source {
        PemSource::File { path, .. } => path.clone(),
        PemSource::Memory(_) => panic!("a file"),
    };
    let pair = &with("").certificates[0].pairs[0];
    assert_eq!(file(&pair.chain), PathBuf::from("/etc/handfast/c.pem"));
    let pair = &config(MINIMAL).certificates[0].pairs[0];
    assert_eq!(file(&pair.key), PathBuf::from("/etc/handfast/privkey.pem"));
    let log = with("[log]\ntarget = \"log/handfast.log\"").log;
    assert_eq!(
        log.target,
        LogTarget::File("/etc/handfast/log/handfast.log".into())
    );
}

#[test]
fn certificates_in_memory_are_referred_to_by_name() {
    let text = "[[listeners]]\naddress = \"127.0.0.1:0\"\ncertificates = [\"dev\"]\n\
                [[routes]]\nupstream = \"http://127.0.0.1:1\"\n";
    let made = MemoryCertificate {
        name: "dev".into(),
        chain: "CHAIN".into(),
        key: "SECRET".into(),
    };
    let memory = [made];
    let config = parse_with(text, Path::new("dev"), &memory).unwrap().config;
    let pair = &config.certificates[0].pairs[0];
    assert_eq!(pair.key, PemSource::Memory("SECRET".into()));
    assert!(!format!("{config:?}").contains("SECRET"));
    assert!(heads(text)[0].contains("certificate `dev` is not defined"));
    let twice = format!("{text}[certificates.dev]\nchain = \"a\"\nkey = \"b\"\n");
    let faults = parse_with(&twice, Path::new("dev"), &memory).unwrap_err();
    assert!(faults.to_string().contains("exists already"), "{faults}");
}

#[test]
fn a_default_table_changes_the_built_in_policy() {
    let config = with("[tls.default]\nhandshake_timeout = \"3s\"\nalpn = []\n[tls.a]\n");
    assert_eq!(config.policies.len(), 2);
    assert_eq!(config.policies[0].handshake_timeout, Duration::from_secs(3));
    assert!(config.policies[0].alpn.is_empty());
    assert_eq!(
        config.policies[1].handshake_timeout,
        Duration::from_secs(10)
    );
}

#[test]
fn versions_narrow_a_preset() {
    let config = with("[tls.a]\nversions = [\"1.3\"]\n");
    let policy = &config.policies[1];
    assert_eq!(policy.cipher_suites.len(), 3);
    assert_eq!(
        one("[tls.a]\npreset = \"modern-5.8\"\nversions = [\"1.2\", \"1.3\"]"),
        "3:12 no cipher suite of this policy works with TLS 1.2 | add \
         `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`, say, or leave \"1.2\" out of `versions`"
    );
    assert_eq!(
        one(
            "[tls.a]\nversions = [\"1.3\"]\ncipher_suites = [\"ECDHE-RSA-AES128-GCM-SHA256\", \"TLS_AES_128_GCM_SHA256\"]"
        ),
        "3:17 `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` works with TLS 1.2 only, which this policy \
         does not offer | leave it out, or add \"1.2\" to `versions`"
    );
    assert_eq!(
        one("[tls.a]\ngroups = [\"X25519MLKEM768\"]"),
        "2:10 no group of this policy works with TLS 1.2 | add `X25519`, or leave \"1.2\" out of \
         `versions`"
    );
}

#[test]
fn custom_policies_say_everything() {
    let policy = &with(
        "[tls.a]\npreset = \"custom\"\nversions = [\"1.2\"]\n\
         cipher_suites = [\"ECDHE-ECDSA-AES256-GCM-SHA384\"]\ngroups = [\"P-384\", \"x25519\"]\n",
    )
    .policies[1];
    assert_eq!(policy.cipher_suites[0].code, 0xc02c);
    assert_eq!(policy.groups[0].name, "secp384r1");
    assert_eq!(
        extra("[tls.a]\npreset = \"custom\"\nversions = [\"1.3\"]"),
        [
            "1:1 missing key `cipher_suites` in [tls.a]: the preset `custom` sets nothing | add \
             cipher_suites = [\"TLS_AES_128_GCM_SHA256\"]",
            "1:1 missing key `groups` in [tls.a]: the preset `custom` sets nothing | add groups = \
             [\"X25519\"]",
        ]
    );
}

#[test]
fn names_that_never_work_say_why() {
    for (line, message) in [
        (
            "versions = [\"1.1\"]",
            "2:13 TLS version `1.1` can never be negotiated: TLS 1.0 and 1.1 are forbidden since \
             RFC 8996 | the nearest that works is `1.2`",
        ),
        (
            "versions = [\"TLSv1.2\"]",
            "2:13 unknown TLS version `TLSv1.2` | possible: `1.2`, `1.3`",
        ),
        (
            "versions = [1.3]",
            "2:13 expected a version such as \"1.3\", found float | write \"1.3\"",
        ),
        (
            "versions = \"1.3\"",
            "2:12 expected versions such as [\"1.2\", \"1.3\"], found string | write [\"1.3\"]",
        ),
        (
            "versions = []",
            "2:12 expected versions such as [\"1.2\", \"1.3\"], found an empty list",
        ),
        (
            "groups = [\"secp521r1\"]",
            "2:11 group `secp521r1` can never be negotiated: secp521r1 is not implemented: it is \
             slow and no browser needs it | the nearest that works is `secp384r1`",
        ),
        (
            "groups = [\"X25519\", \"x25519\"]",
            "2:21 `x25519` is given twice",
        ),
        (
            "cipher_suites = [\"ECDHE-RSA-AES128-GCM-SHA265\"]",
            "2:18 unknown cipher suite `ECDHE-RSA-AES128-GCM-SHA265` | did you mean \
             `ECDHE-RSA-AES128-GCM-SHA256`? (possible: `TLS_AES_128_GCM_SHA256`, \
             `TLS_AES_256_GCM_SHA384`, `TLS_CHACHA20_POLY1305_SHA256`, \
             `ECDHE-ECDSA-AES128-GCM-SHA256`, `ECDHE-RSA-AES128-GCM-SHA256`, \
             `ECDHE-ECDSA-AES256-GCM-SHA384`, `ECDHE-RSA-AES256-GCM-SHA384`, \
             `ECDHE-ECDSA-CHACHA20-POLY1305`, `ECDHE-RSA-CHACHA20-POLY1305`)",
        ),
        (
            "preset = \"modren-5.8\"",
            "2:10 `modren-5.8` is not possible here | did you mean `modern-5.8`? (possible: \
             `intermediate-5.8`, `modern-5.8`, `custom`)",
        ),
        (
            "alpn = [\"h3\"]",
            "2:9 `h3` is not supported yet | possible: `h2`, `http/1.1`",
        ),
    ] {
        assert_eq!(one(&format!("[tls.a]\n{line}")), message, "{line}");
    }
}

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
fn resumption_is_read() {
    let read =
        |text: &str| with(&format!("[tls.a]\nresumption = {{ {text} }}")).policies[1].clone();
    let built_in = with("").policies[0].resumption.clone();
    assert_eq!(read("").resumption, built_in);
    assert_eq!(
        built_in.mode,
        ResumptionMode::Tickets(TicketKeys::rotated(defaults::ROTATE))
    );
    let tickets = read("lifetime = \"1h\", tickets = 1, rotate = \"10m\"").resumption;
    assert_eq!(tickets.lifetime, Duration::from_secs(3600));
    assert_eq!(tickets.tickets, 1);
    assert_eq!(
        tickets.mode,
        ResumptionMode::Tickets(TicketKeys::rotated(Duration::from_secs(600)))
    );
    let shared = read("key_dir = \"keys\"").resumption.mode;
    let ResumptionMode::Tickets(TicketKeys::Directory(directory)) = shared else {
        panic!("{shared:?}");
    };
    assert_eq!(directory.path, Path::new("/etc/handfast/keys"));
    let cache = read("mode = \"cache\", cache_size = \"1MiB\"").resumption;
    assert_eq!(
        (cache.mode, cache.cache_size),
        (ResumptionMode::Cache, 1 << 20)
    );
    assert_eq!(read("mode = \"off\"").resumption.mode, ResumptionMode::Off);
}

#[test]
fn resumption_keys_without_an_effect_are_refused() {
    for (text, message) in [
        (
            "mode = \"cache\", rotate = \"6h\"",
            "2:41 `rotate` has no effect with the mode `cache` | leave it out, or set mode = \"tickets\"",
        ),
        (
            "mode = \"off\", lifetime = \"6h\"",
            "2:41 `lifetime` has no effect with the mode `off` | leave it out, or choose another mode",
        ),
        (
            "key_dir = \"k\", rotate = \"6h\"",
            "2:40 `rotate` has no effect beside `key_dir` | run `handfast ticket-key rotate DIR` instead, by a timer for example",
        ),
        (
            "lifetime = \"12h\", rotate = \"1m\"",
            "2:43 a new key every 1m makes 720 of them within the lifetime of 12h, and 64 at most are kept | write \"12m\" or more, or shorten `lifetime`",
        ),
        (
            "lifetime = \"8d\"",
            "2:27 expected between \"1s\" and \"7d\", found `8d`",
        ),
        (
            "mode = \"ticket\"",
            "2:23 `ticket` is not possible here | did you mean `tickets`? (possible: `tickets`, `cache`, `off`)",
        ),
    ] {
        let text = format!("[tls.a]\nresumption = {{ {text} }}");
        assert_eq!(one(&text), message, "{text}");
    }
}

#[test]
fn client_certificates_are_read() {
    let policy = |client_auth: &str| {
        let config = with(&format!("[tls.a]\nclient_auth = {client_auth}"));
        config.policies[1].client_auth.clone()
    };
    assert_eq!(policy("{}"), None);
    assert_eq!(policy("{ mode = \"off\" }"), None);
    let optional = policy("{ mode = \"optional\", ca = \"ca.pem\" }").unwrap();
    assert_eq!(optional.mode, ClientAuthMode::Optional);
    assert_eq!(optional.crl, None);
    assert!(optional.allow.is_empty());
    assert!(!optional.resumption);
    let PemSource::File { path, .. } = &optional.ca else {
        panic!("{optional:?}")
    };
    assert_eq!(*path, PathBuf::from("/etc/handfast/ca.pem"));
    let required = policy(
        "{ mode = \"required\", ca = \"/ca\", crl = \"/crl\", resumption = true, allow = \
         { san = [\"*.A.example\", \"192.0.2.1\", \"spiffe://x/y\"], cn = [\"a b\"], o = [\"O\"] } }",
    )
    .unwrap();
    assert_eq!(required.mode, ClientAuthMode::Required);
    assert!(required.crl.is_some() && required.resumption);
    let wildcard = crate::host::HostPattern::parse("*.a.example").unwrap();
    let names = [
        SanPattern::Dns(wildcard),
        SanPattern::Ip("192.0.2.1".parse().unwrap()),
        SanPattern::Uri("spiffe://x/y".into()),
    ];
    assert_eq!(required.allow.san, names);
    assert_eq!(required.allow.cn, [Arc::from("a b")]);
    assert_eq!(required.allow.o, [Arc::from("O")]);

    let forwarding = with("[forwarding]\ntls_headers = [\"verify\", \"client-cert\"]").forwarding;
    let headers = [TlsHeader::Verify, TlsHeader::ClientCert];
    assert_eq!(forwarding.tls_headers, headers);
    assert_eq!(forwarding.headers.len(), 3);
    assert_eq!(forwarding.trusted_proxies, PeerSet::default());
    let forwarding = with(
        "[forwarding]\ntrusted_proxies = [\"10.0.0.0/8\", \"unix\", \"::1\"]\nheaders = [\"forwarded\"]",
    )
    .forwarding;
    assert_eq!(forwarding.headers, [ForwardingHeader::Forwarded]);
    let networks = ["10.0.0.0/8", "::1/128"].map(|text| text.parse().unwrap());
    let networks = networks.to_vec();
    let proxies = PeerSet {
        networks,
        unix: true,
    };
    assert_eq!(forwarding.trusted_proxies, proxies);
}

#[test]
fn faults_of_client_certificates_are_located() {
    for (text, message) in [
        (
            "{ ca = \"c\" }",
            "2:22 `ca` has no effect while `mode` is \"off\" | \
             add mode = \"required\" or mode = \"optional\"",
        ),
        (
            "{ mode = \"required\" }",
            "2:15 missing key `ca` in [tls.a.client_auth] | \
             add ca = \"/etc/handfast/clients-ca.pem\"",
        ),
        (
            "{ mode = \"require\", ca = \"c\" }",
            "2:24 `require` is not possible here | \
             did you mean `required`? (possible: `off`, `optional`, `required`)",
        ),
        (
            "{ mode = \"required\", ca = \"c\", allow = { san = [\"a.*.b\"] } }",
            "2:63 `a.*.b` is no host name: a wildcard stands for exactly one whole label at the left \
             of a name: `*.example.com`",
        ),
        (
            "{ mode = \"required\", ca = \"c\", allow = { cn = [\"x\", \"x\"] } }",
            "2:67 `x` is given twice",
        ),
        (
            "{ mode = \"required\", ca = \"c\", allow = { o = [\"\"] } }",
            "2:61 expected a text, found an empty one",
        ),
    ] {
        let found = one(&format!("[tls.a]\nclient_auth = {text}"));
        assert_eq!(found, message, "{text}");
    }
    for (key, message) in [
        (
            "trusted_proxies = [\"10.0.0.1/8\"]",
            "2:20 `10.0.0.1/8` has bits beyond its prefix",
        ),
        (
            "trusted_proxies = [\"lan\"]",
            "2:20 expected a network such as \"10.0.0.0/8\", or \"unix\", found `lan`",
        ),
        (
            "headers = [\"x-real-ip\"]",
            "2:12 `x-real-ip` is not possible here",
        ),
        (
            "headers = [\"forwarded\", \"forwarded\"]",
            "2:25 `forwarded` is given twice",
        ),
    ] {
        let found = one(&format!("[forwarding]\n{key}"));
        assert!(found.starts_with(message), "{found}");
    }
    let found = one("[forwarding]\ntls_headers = [\"cert\"]");
    assert!(
        found.starts_with("2:16 `cert` is not possible here"),
        "{found}"
    );
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
fn tls_towards_upstreams_is_read() {
    let tls = |line: &str| {
        let servers = "servers = [{ address = \"a.example:1\" }]";
        let config = with(&format!("[upstreams.a]\n{servers}\n{line}"));
        config.upstreams[0].tls.clone()
    };
    assert_eq!(tls(""), None);
    assert_eq!(tls("tls = false"), None);
    let default = tls("tls = true").unwrap();
    assert_eq!(Some(default.clone()), tls("tls = {}"));
    assert!(default.verify && default.server_name.is_none() && default.ca.is_none());
    let full = tls(
        "tls = { server_name = \"B.Example.\", ca = \"ca.pem\", certificate = { chain = \"c\", \
         key = \"k\" } }",
    )
    .unwrap();
    assert_eq!(full.server_name.as_deref(), Some("b.example"));
    let ca = Path::new("/etc/handfast/ca.pem");
    assert_ne!(full.place_of(ca), full.location);
    assert_eq!(full.place_of(Path::new("other")), full.location);
    assert!(full.certificate.is_some());
    let address = tls("tls = { server_name = \"::1\", verify = false }").unwrap();
    assert_eq!(address.server_name.as_deref(), Some("::1"));
    assert!(!address.verify);
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

#[test]
fn faults_of_tls_towards_upstreams_are_located() {
    for (text, message) in [
        (
            "\"yes\"",
            "3:7 expected a table or true, found string | write tls = true",
        ),
        (
            "{ server_name = \"*.a\" }",
            "3:23 `*.a` is no host name: a wildcard stands for exactly one whole label at the left \
             of a name: `*.example.com`",
        ),
        (
            "{ ca = \"c\", verify = false }",
            "3:14 `ca` has no effect while `verify` is false | leave `verify` out, or `ca`",
        ),
        (
            "{ certificate = { chain = \"c\" } }",
            "3:23 missing key `key` in [upstreams.a.tls.certificate] | \
             add key = \"/etc/handfast/privkey.pem\"",
        ),
        (
            "{ certificate = { chain = \"c\", key = \"k\", ocsp = \"o\" } }",
            "3:49 unknown key `ocsp` in [upstreams.a.tls.certificate] | known here: `chain`, `key`",
        ),
    ] {
        let servers = "servers = [{ address = \"a.example:1\" }]";
        let found = one(&format!("[upstreams.a]\n{servers}\ntls = {text}"));
        assert_eq!(found, message, "{text}");
    }
}

#[test]
fn handshake_events_are_bounded() {
    let read = |fields: &str| {
        let text = format!("[log]\nhandshake = {{ {fields} }}\n{BASE}");
        let config = parse(&text, Path::new("x.toml")).map(|loaded| loaded.config.log.handshake);
        config.map_err(|faults| faults.items[0].message.clone())
    };
    let default = defaults::LOG.handshake;
    assert_eq!(read(""), Ok(default));
    for (sample, millionths) in [("1", 1_000_000), ("0.25", 250_000), ("0", 0), ("1e-6", 1)] {
        let expected = HandshakeLog {
            sample: millionths,
            ..default
        };
        assert_eq!(read(&format!("sample = {sample}")), Ok(expected));
    }
    for sample in ["1.01", "-0.1", "nan", "inf", "1e-7", "2"] {
        let message = format!("expected a share from 0.000001 to 1, or 0, found {sample}");
        assert_eq!(read(&format!("sample = {sample}")), Err(message));
    }
    assert!(
        read("sample = \"1\"")
            .unwrap_err()
            .contains("a share such as 0.01")
    );
    let unlimited = HandshakeLog {
        failures_per_second: None,
        client_ip: ClientIp::Truncate,
        ..default
    };
    let fields = "failures_per_second = \"unlimited\", client_ip = \"truncate\"";
    assert_eq!(read(fields), Ok(unlimited));
    assert!(read("failures_per_second = 0").is_err());
}

#[test]
fn access_logs_have_a_format() {
    for (fields, access) in [
        ("", Some(AccessFormat::Json)),
        ("format = \"combined\"", Some(AccessFormat::Combined)),
        ("enabled = false, format = \"combined\"", None),
        ("enabled = true", Some(AccessFormat::Json)),
    ] {
        let config = with(&format!("[log]\naccess = {{ {fields} }}"));
        assert_eq!(config.log.access, access, "{fields}");
    }
}

#[test]
fn a_token_opens_the_admin_address_to_others() {
    let text = "[admin]\naddress = \"0.0.0.0:9180\"\ntoken_file = \"token\"\n\
                [health]\naddress = \"[::]:9181\"";
    let config = with(text);
    let token = config.admin.token_file.unwrap();
    assert_eq!(token.path, Path::new("/etc/handfast/token"));
    assert_eq!(config.health.address.unwrap().address.port(), 9181);
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

#[test]
fn listeners_are_checked() {
    const ROUTES: &str = "[[routes]]\nupstream = \"http://127.0.0.1:3000\"\n";
    let listeners = |text: &str| heads(&format!("{text}\n{ROUTES}"));
    assert_eq!(
        heads(""),
        [
            "1:1 at least one listener is required | add [[listeners]] with address = \"[::]:443\"",
            "1:1 at least one route is required | add [[routes]] with upstream = \
             \"http://127.0.0.1:3000\"",
        ]
    );
    assert_eq!(
        listeners("[[listeners]]\ntls = false"),
        ["1:1 missing key `address` in [[listeners]] | add address = \"[::]:443\""]
    );
    assert_eq!(
        listeners("[listeners]\naddress = \"[::]:1\""),
        ["1:1 expected an array of tables, found table | write [[listeners]]"]
    );
    assert_eq!(
        listeners("[[listeners]]\naddress = \"[::]:443\""),
        [
            "1:1 a TLS listener needs `certificate` or `certificates` | add certificate = { chain = \
          \"fullchain.pem\", key = \"privkey.pem\" }, or tls = false for plain HTTP"
        ]
    );
    assert_eq!(
        listeners("[[listeners]]\naddress = \"[::]:80\"\ntls = false\ncertificates = []"),
        [
            "4:16 a plain listener has no use for `certificates` | leave it out, or leave `tls = \
          false` out"
        ]
    );
    assert_eq!(
        listeners("[[listeners]]\naddress = \"[::]:80\"\ntls = true\ncertificate = {}"),
        [
            "3:7 expected the name of a tls policy, or false for plain HTTP, found true | leave \
             `tls` out for the built-in policy",
            "4:15 missing key `chain` in [listeners.certificate] | add chain = \
             \"/etc/handfast/fullchain.pem\"",
            "4:15 missing key `key` in [listeners.certificate] | add key = \
             \"/etc/handfast/privkey.pem\"",
        ]
    );
    assert_eq!(
        listeners(
            "[[listeners]]\naddress = \"[::]:80\"\ntls = false\nname = \"a\"\n\
             [[listeners]]\naddress = \"[::]:80\"\ntls = false\nname = \"a\""
        ),
        [
            "6:11 another listener has the address `[::]:80` | the first is in line 2",
            "8:8 another listener has the name `a` | the first is in line 4; give this one \
             another `name`",
        ]
    );
    let free = "[[listeners]]\naddress = \"[::1]:0\"\ntls = false\n";
    assert_eq!(
        listeners(&format!("{free}{free}")),
        [
            "5:11 another listener has the name `[::1]:0` | the first is in line 2; give this one \
          another `name`"
        ]
    );
    assert_eq!(
        listeners(
            "[[listeners]]\naddress = \"[::]:80\"\ntls = \"wbe\"\ncertificates = \"a\"\n[tls.web]"
        ),
        [
            "3:7 tls policy `wbe` is not defined | did you mean `web`? (defined: `default`, `web`)",
            "4:16 expected a list of names of certificates, found string | write [\"a\"]",
        ]
    );
}

#[test]
fn certificates_are_checked() {
    let certificate =
        "[certificates.NAME]\nnames = [\"example.com\"]\nchain = \"c\"\nkey = \"k\"\n";
    let two = format!(
        "[[listeners]]\naddress = \"[::]:443\"\ncertificates = [\"a\", \"b\", \"a\"]\n{}{}",
        certificate.replace("NAME", "a"),
        certificate.replace("NAME", "b")
    );
    assert_eq!(
        extra(&two),
        [
            "3:27 the certificate `a` is given twice",
            "9:10 `example.com` is a name of the certificate `a` already, at the same listener | \
             chains of several key types for one name belong into `pairs` of one certificate",
        ]
    );
    assert_eq!(
        extra(
            "[certificates.a]\nnames = [\"https://example.com/\", \"*.b.c\", \"*.B.c.\"]\nchain = \"\"\nkey = \"k\"\npairs = []"
        ),
        [
            "2:10 `https://example.com/` is no host name: a host name has letters, digits, \
             hyphens, underscores and dots only (other scripts as xn-- labels) | write \
             \"example.com\"",
            "2:43 `*.b.c` is given twice",
            "3:9 `chain` and `pairs` exclude each other | one chain with its key: `chain` and \
             `key`; several: `pairs`",
            "4:7 `key` and `pairs` exclude each other | one chain with its key: `chain` and \
             `key`; several: `pairs`",
            "5:9 a certificate needs a chain and a key, found an empty list",
        ]
    );
    assert_eq!(
        one("[certificates.a]\nchain = \"c\""),
        "1:1 missing key `key` in [certificates.a] | add key = \"/etc/handfast/privkey.pem\""
    );
    assert_eq!(
        one("[certificates.\"127.0.0.1\"]\nchain = \"c\"\nkey = \"k\"\ntls = \"x\""),
        "4:7 tls policy `x` is not defined | defined: `default`"
    );
}

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

#[test]
fn listeners_on_unix_sockets_are_read() {
    let listener = |address: &str| {
        format!(
            "[[listeners]]\naddress = \"{address}\"\ntls = false\nproxy_protocol_from = [\"unix\"]\n"
        )
    };
    let config = with(&format!(
        "{}{}",
        listener("unix:/run/a.sock"),
        listener("unix:b.sock")
    ));
    let [_, a, b] = &config.listeners[..] else {
        panic!("{:?}", config.listeners);
    };
    assert_eq!(a.address, ListenAddress::Unix("/run/a.sock".into()));
    assert_eq!(&*a.name, "unix:/run/a.sock");
    assert!(a.proxy_protocol_from.contains(Peer::Unix));
    let ListenAddress::Unix(path) = &b.address else {
        panic!("{b:?}");
    };
    assert!(path.ends_with("b.sock"), "{path:?}");
    let help = "write \"unix:/run/handfast/in.sock\", say";
    for (address, message) in [
        (
            "unix:",
            format!("2:11 `unix:` has no path of a socket | {help}"),
        ),
        (
            &*format!("unix:/{}", "x".repeat(107)),
            format!(
                "2:11 `/{}…` is too long for the path of a socket | at most 107 bytes, the directory of this file included",
                "x".repeat(79)
            ),
        ),
    ] {
        assert_eq!(one(&listener(address)), message);
    }
    let twice = listener("unix:/run/a.sock");
    assert_eq!(
        one(&format!("{twice}{}", twice.replace("/run/", "/run//"))),
        "6:11 another listener has the address `unix:/run//a.sock` | the first is in line 2"
    );
    assert_eq!(
        one(&format!("{twice}[admin]\nsocket = \"/run/a.sock\"")),
        "2:11 the admin socket has this path already"
    );
}

#[test]
fn listeners_on_inherited_sockets_are_read() {
    let listener = |address: &str| format!("[[listeners]]\naddress = \"{address}\"\ntls = false\n");
    let redirected = listener("systemd:http") + "redirect = { to = \"https\" }\n";
    let config = with(&redirected);
    let own = &config.listeners[1];
    assert_eq!(own.address, ListenAddress::Systemd("http".into()));
    assert_eq!(&*own.name, "systemd:http");
    let target = own.redirect.as_ref().map(|redirect| &redirect.to);
    assert_eq!(target, Some(&RedirectTarget::Https { port: 443 }));
    let help = "write \"systemd:https\", say, with FileDescriptorName=https in the socket unit: 1 to \
                255 ASCII characters without space and colon";
    assert_eq!(
        one(&listener("systemd:")),
        format!("2:11 `systemd:` has no name of a descriptor | {help}")
    );
    assert_eq!(
        one(&(listener("systemd:http") + &listener("systemd:http"))),
        "5:11 another listener has the address `systemd:http` | the first is in line 2"
    );
    assert_eq!(
        one("[admin]\naddress = \"systemd:admin\""),
        "2:11 an address of the form `systemd:…` is for [[listeners]] alone"
    );
}

#[test]
fn only_plain_listeners_redirect() {
    let config = with(
        "[[listeners]]\naddress = \"127.0.0.1:80\"\ntls = false\nredirect = { to = \"https\" }\n",
    );
    let redirect = config.listeners[1].redirect.as_ref().unwrap();
    assert_eq!(redirect.to, RedirectTarget::Https { port: 443 });
    assert_eq!(
        one(
            "[[listeners]]\naddress = \"127.0.0.1:1\"\ncertificate = { chain = \"c\", key = \"k\" }\nredirect = { to = \"https\" }"
        ),
        "4:12 only a plain listener redirects all its requests | a route can redirect: `redirect` in [[routes]]"
    );
}

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
fn syntax_errors_are_found_with_other_faults() {
    let text = "\
[limits]
connections = 
h2_stream = 1
[limits]
[timeouts]
keep_alive = \"75s
[certificates.a]
chain = \"c\"
";
    let found = heads(text);
    let places: Vec<_> = found
        .iter()
        .map(|fault| fault.split(' ').next().unwrap())
        .collect();
    assert_eq!(places, ["2:15", "3:1", "4:2", "6:18"], "{found:#?}");
    assert!(found[2].contains("`limits` is defined twice"), "{found:#?}");
    assert_eq!(found[0], "2:15 the value is missing");
    // Neither the missing key nor the missing listeners: they may be in what could not be read.
    assert_eq!(found.len(), 4, "{found:#?}");
}

#[test]
fn a_string_without_quotes_is_shown_with_them() {
    assert_eq!(
        one("[admin]\naddress = localhost:9180"),
        "2:11 a string stands in quotes | write \"localhost:9180\""
    );
}

#[test]
fn a_key_defined_twice_is_located() {
    assert_eq!(
        one("[limits]\nconnections = 1\nconnections = 2"),
        "3:1 `connections` is defined twice"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handfast.toml");
    let shown = load(&path).unwrap_err().to_string();
    assert!(
        shown.starts_with(&format!("cannot read {}: ", path.display())),
        "{shown}"
    );

    std::fs::write(&path, b"# \xff\n").unwrap();
    let shown = load(&path).unwrap_err().to_string();
    let head = format!("{}:1:3: the file is not UTF-8\n", path.display());
    assert!(shown.starts_with(&head), "{shown}");

    let size = usize::try_from(defaults::FILE_SIZE).unwrap();
    std::fs::write(&path, vec![b'\n'; size + 1]).unwrap();
    let shown = load(&path).unwrap_err().to_string();
    assert!(shown.ends_with("it is larger than 4 MiB"), "{shown}");

    std::fs::write(&path, MINIMAL).unwrap();
    let loaded = load(&path).unwrap();
    let listener = &loaded.config.listeners[0];
    let position = loaded.sources.position(listener.location).unwrap();
    assert_eq!((position.line, position.column), (2, 11));
}

#[test]
fn deep_and_long_texts_are_refused() {
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("{} = 1", vec!["a"; 100_000].join(".")),
        format!("[{}]", vec!["a"; 100_000].join(".")),
        "[[a]]\n".repeat(10_000),
    ] {
        assert!(parse(&text, Path::new("t")).is_err());
    }
}

/// A text without one of its characters, or with one more, or with a line twice or gone.
fn mutated() -> impl Strategy<Value = String> {
    let change = (0..FULL.len(), 0..4_u8, any::<char>());
    proptest::collection::vec(change, 1..4).prop_map(|changes| {
        let mut text = FULL.to_owned();
        for (at, kind, char) in changes {
            let mut at = at.min(text.len().saturating_sub(1));
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let line_end = text[at..].find('\n').map_or(text.len(), |end| at + end);
            match kind {
                0 => drop(text.remove(at)),
                1 => text.insert(at, char),
                2 => text.replace_range(at..line_end, ""),
                _ => {
                    let rest = text[at..line_end].to_owned();
                    text.insert_str(line_end, &rest);
                }
            }
        }
        text
    })
}

/// Whatever comes, every fault can be shown and stands inside the text.
fn check(text: &str) -> Result<(), TestCaseError> {
    if let Err(faults) = parse(text, Path::new("t.toml")) {
        prop_assert!(!faults.is_empty());
        prop_assert!(!faults.to_string().is_empty());
        for item in &faults.items {
            if let Some(location) = item.location {
                prop_assert!(location.span.0 <= location.span.1, "{item:?}");
                prop_assert!(location.span.1 <= text.len(), "{item:?}");
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "(?s).{0,200}") {
        check(&text)?;
    }

    #[test]
    fn arbitrary_toml_never_panics(
        text in "((\\[\\[?(tls|routes|listeners|a)(\\.[a-z\"])?\\]?\\]|(address|tls|a|\"\"|names)(\\.a)? ?= ?([0-9.-]{1,3}|\"[ -~é]{0,9}\"|\\[(\"x\",?)*\\]?|\\{a=1,?\\}?|true|1979-05-27))?\r?\n?){0,12}"
    ) {
        check(&text)?;
    }

    #[test]
    fn a_damaged_configuration_never_panics(text in mutated()) {
        check(&text)?;
    }
}

#[test]
fn slips_of_punctuation_are_told_for_what_they_are() {
    // One fault, not one for each line that follows.
    let open = BASE.replace("\"k.pem\" }", "\"k.pem\"");
    assert_eq!(
        heads(&open),
        ["3:15 this table has no end | close it with `}`"]
    );
    let list = format!("{BASE}[tls.a]\nalpn = [\"h2\"\nmissing_sni = \"reject\"\n[tls.b]\n");
    let told = heads(&list);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("8:") && told[0].ends_with("in line 7 has no end: close it with `]`"),
        "{told:?}"
    );
    for (value, help) in [
        (
            "tls/k.pem",
            "a string stands in quotes | write \"tls/k.pem\"",
        ),
        ("[::]:443", "a string stands in quotes | write \"[::]:443\""),
        ("ture", "`ture` is no value | did you mean `true`?"),
    ] {
        let told = extra(&format!("[admin]\nsocket = {value}"));
        assert!(told.iter().any(|it| it.ends_with(help)), "{told:?}");
    }
    let listener =
        |more: &str| format!("{BASE}[[listeners]]\naddress = \"127.0.0.1:80\"\n{more}\n");
    let told = heads(&listener("tls = \"false\""));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].ends_with("found string | write false without quotes"),
        "{told:?}"
    );
    let told = heads(&listener("tls = false\nredirect = { to = \"htttps\" }"));
    assert!(told[0].ends_with("| did you mean `https`?"), "{told:?}");
    let told = extra("[tls.a]\ncipher_suites = [\"TSL_CHACHA20_POLY1305_SHA256\"]");
    assert!(
        told[0].contains("did you mean `TLS_CHACHA20_POLY1305_SHA256`?"),
        "{told:?}"
    );
    let told = extra("[tls.a]\ncipher_suites = [\"TLS_ECDH_RSA_WITH_AES_128_GCM_SHA256\"]");
    assert!(told[0].contains("can never be negotiated"), "{told:?}");
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
