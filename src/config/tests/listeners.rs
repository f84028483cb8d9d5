//! `[[listeners]]`: addresses of every kind, and redirects.

use super::texts::{heads, one, with};
use crate::config::{ListenAddress, RedirectTarget};
use crate::report::Peer;

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
