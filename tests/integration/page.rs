//! The page of the admin listener, in a real browser.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::{
    Browser, Client, Daemon, EarlyClient, Origin, RawHello, Settings, TlsStream, Tool, wait_for,
    wait_until,
};

const GET: &str = "GET /c HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n";
const SOON: Duration = Duration::from_secs(20);

/// What is kept of a run, for people to look at.
fn keep(name: &str, base64: &str) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&dir).unwrap();
    let png = Tool::new("sh")
        .args(["-c", "base64 -d > \"$0\""])
        .args([dir.join(name)])
        .stdin(base64);
    png.run().success();
}

fn exchange(mut stream: TlsStream) {
    stream.write_all(GET.as_bytes()).unwrap();
    // However it ends: it has read the tickets by then.
    let _ = stream.read_to_end(&mut Vec::new());
}

/// How many handshakes of each sort a client made, by its own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Made {
    full: u64,
    resumed: u64,
    unknown: u64,
    retry: u64,
    early: u64,
}

fn traffic(daemon: &Daemon) -> Made {
    use tokio_rustls::rustls::HandshakeKind;
    let address = daemon.https();
    let mut made = Made::default();
    let mut count = |stream: TlsStream| {
        match stream.conn.handshake_kind() {
            Some(HandshakeKind::Resumed) => made.resumed += 1,
            Some(HandshakeKind::Full) => made.full += 1,
            other => panic!("{other:?}"),
        }
        exchange(stream);
    };
    for _ in 0..9 {
        count(Client::of_version("1.3").full().connect(address).unwrap());
    }
    let resuming = Client::of_version("1.3");
    for _ in 0..31 {
        count(resuming.connect(address).unwrap());
    }
    for _ in 0..5 {
        let unknown = Client::new().name("unknown.test");
        assert!(unknown.connect(address).is_err());
        made.unknown += 1;
    }
    for _ in 0..3 {
        Tool::new("openssl")
            .words("s_client -tls1_3 -groups P-521:X25519 -servername example.test -connect")
            .args([address.to_string()])
            .run()
            .success();
        made.retry += 1;
    }
    for _ in 0..2 {
        let mut client = EarlyClient::connect(address, &["http/1.1"]).unwrap();
        client.start_early(GET.as_bytes()).unwrap();
        let mut stream = client.finish().unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        made.early += 1;
    }
    made
}

/// Text that is too close to what is behind it (WCAG 2.1, 1.4.3), each with its contrast.
const FAINT: &str = r"(() => {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const color = channels(getComputedStyle(element).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  let seen = 0;
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.closest('svg') || !element.checkVisibility()) continue;
    seen += 1;
    const [text, behind] = [channels(getComputedStyle(element).color), ground(element)].map(luminance);
    const contrast = (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${element.outerHTML.slice(0, 120)}`);
  }
  return seen > 80 ? faint : [`only ${seen} texts`];
})()";

#[test]
fn the_page_shows_what_clients_counted() {
    let origin = Origin::start();
    let daemon = Daemon::run(&Settings::new(origin.address()));
    let mut browser = Browser::start();
    browser.open(daemon.address("admin"), "/");
    let made = traffic(&daemon);
    let expected = Made {
        full: 10,
        resumed: 30,
        unknown: 5,
        retry: 3,
        early: 2,
    };
    assert_eq!(made, expected);
    let full = made.full + made.retry + made.early;
    let resumed = format!("{} of {}", made.resumed, made.resumed + full);
    browser.wait(
        "the page follows",
        &format!("document.querySelector('#resumed .under').textContent === '{resumed}' && document.querySelector('#success .under').textContent === '{} failed'", made.unknown),
    );
    assert_eq!(browser.text("#live"), "live");
    assert_eq!(
        browser.text("#rate .under"),
        format!("{} in 15 min", full + made.resumed)
    );
    assert_eq!(
        browser.text("#success .under"),
        format!("{} failed", made.unknown)
    );
    assert_eq!(
        browser.text("#false-start .under"),
        format!("{0} of {0} able", made.early)
    );
    for (column, count) in [
        (1, made.full + made.early),
        (2, made.resumed),
        (3, made.retry),
    ] {
        let selector = format!("#waterfall .three > :nth-child({column}) h3 small");
        assert_eq!(browser.text(&selector), format!("{count} handshakes"));
    }
    assert_eq!(
        browser.text("#resumption [data-name=hit] .n"),
        made.resumed.to_string()
    );
    assert_eq!(
        browser.text("#resumption [data-name=not_offered] .n"),
        full.to_string()
    );
    assert_eq!(
        browser.text("#avoidable [data-name=retry] .n"),
        made.retry.to_string()
    );
    assert_eq!(
        browser.text("#failures [data-name=unknown_sni] .count"),
        made.unknown.to_string()
    );
    assert!(browser.text("#failures").contains("How to fix."));
    let mix = browser.text("#mix");
    for words in [
        "1.3",
        "1.2",
        "TLS_CHACHA20_POLY1305_SHA256",
        "X25519",
        "http/1.1",
        "ecdsa",
    ] {
        let near = words.trim_start_matches("TLS_CHACHA20");
        assert!(mix.contains(near), "{words}: {mix}");
    }
    let names = browser.text("#names");
    assert!(names.contains("example.test"), "{names}");
    assert!(names.contains("(not configured)"), "{names}");
    assert!(browser.text("#certificates").contains("main"));
    let upstreams = browser.text("#upstreams");
    assert!(upstreams.contains("origin"), "{upstreams}");
    let server = origin.address().to_string();
    assert!(
        upstreams.contains(&server) && upstreams.contains("up"),
        "{upstreams}"
    );

    // A row each with its own waterfall, and a click away the walk and its JSON.
    let bars = browser.run("document.querySelectorAll('#recent tbody tr .bar').length");
    assert_eq!(bars, 20);
    browser.run("document.querySelector('#recent tbody tr td.who').click()");
    browser.wait("the walk opens", "document.querySelector('dialog').open");
    let walk = browser.text("dialog");
    for words in [
        "ClientHello",
        "The client says what it can do",
        "\"phases_us\"",
    ] {
        assert!(walk.contains(words), "{walk}");
    }
    browser.run("document.querySelector('#close').click()");
    // Figures of a bar.
    let tip = browser.run(
        "document.querySelector('#waterfall rect.client').dispatchEvent(new PointerEvent('pointerdown', {bubbles: true})), document.querySelector('#tip').textContent",
    );
    assert!(
        tip.as_str().unwrap().contains("(waiting for the client"),
        "{tip}"
    );

    browser.run("document.querySelector('#tip').hidden = true");
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        browser.run("document.querySelectorAll('details').forEach((it) => { it.open = true })");
        assert_eq!(browser.run(FAINT), serde_json::json!([]), "{scheme}");
        keep(&format!("whole-{scheme}.png"), &browser.screenshot(true));
    }
    browser.scheme("light");
    browser.size(390, 844);
    let wide = browser.run("document.documentElement.scrollWidth > innerWidth");
    assert_eq!(wide, false, "a phone scrolls one way only");
    keep("phone.png", &browser.screenshot(true));
    browser.size(1440, 900);
    let roles = [
        "link", "button", "textbox", "combobox", "img", "image", "table",
    ];
    let named = browser.names_of(&roles);
    assert!(named.len() > 40, "{named:?}");
    let nameless = named.iter().filter(|(_, name)| name.trim().is_empty());
    assert_eq!(nameless.count(), 0, "{named:?}");

    // A filter, as a form sends it.
    browser.open(
        daemon.address("admin"),
        "/?window=900&server_name=&class=unknown_sni&kind=&ja4=",
    );
    let rows = browser.run("document.querySelectorAll('#recent tbody tr').length");
    assert_eq!(rows, made.unknown);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn dev_tells_of_the_page_and_the_page_of_the_first_handshake() {
    let mut daemon = Daemon::dev(&[]);
    let stdout = daemon.stdout().clone();
    let found = |beginning: &str| {
        let lines = stdout.lines();
        let line = lines.iter().find_map(|line| line.split_once(beginning));
        line.map(|(_, rest)| rest.to_owned())
    };
    let page = wait_for(SOON, "the page's address is printed", || {
        daemon.assert_running();
        found("the page of its handshake: http://")
    });
    let curl = wait_for(SOON, "a curl line is printed", || found("curl --insecure"));
    let mut browser = Browser::start();
    browser.open(page.trim_end_matches('/').parse().unwrap(), "/");
    browser.wait(
        "it is live",
        "document.querySelector('#live').textContent === 'live'",
    );
    assert_eq!(browser.text("#recent .none"), "None.");
    Tool::new("sh")
        .args(["-c", &format!("curl --insecure {curl}")])
        .run()
        .success();
    let start = Instant::now();
    browser.wait(
        "the handshake is shown",
        "document.querySelector('#recent tbody tr') !== null",
    );
    let took = start.elapsed();
    eprintln!("the page showed the first handshake after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    // And when there is nobody left to ask.
    drop(daemon);
    browser.wait(
        "the page says that the daemon is gone",
        "document.querySelector('#live').textContent.startsWith('The daemon does not answer since')",
    );
}

#[test]
fn what_comes_from_the_wire_is_text() {
    let daemon = Daemon::run(&Settings::new(Origin::start().address()));
    let hostile = "<img src=x onerror=window.hit=1>";
    let name = RawHello::new().name(hostile);
    let mut alpn = vec![0, 33, 32];
    alpn.extend(hostile.as_bytes());
    let protocol = RawHello::new().extension(16, alpn);
    for hello in [name, protocol] {
        let mut stream = TcpStream::connect(daemon.https()).unwrap();
        stream.write_all(&hello.bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let mut stream = TcpStream::connect(daemon.https()).unwrap();
    let path = "GET /<script>window.hit=1</script> HTTP/1.1\r\nHost: <b>x</b>\r\n\r\n";
    stream.write_all(path.as_bytes()).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    wait_until(SOON, "all failed", || daemon.handshakes().len() == 3);

    let mut browser = Browser::start();
    let admin = daemon.address("admin");
    let queries = [
        "/",
        "/?ja4=%22%3E%3Cscript%3Ewindow.hit=1%3C/script%3E%3Cb%3E",
        "/?server_name=%22%3E%3Cimg%20src=x%20onerror=window.hit=1%3E",
        "/?%3Cscript%3Ewindow.hit=1%3C/script%3E=1",
    ];
    for scripts in [true, false] {
        for query in queries {
            browser.scripts(scripts);
            browser.open(admin, query);
            browser.scripts(true);
            let made =
                "document.querySelectorAll('main img, main b > *, main script, [onerror]').length";
            assert_eq!(browser.run(made), 0, "{query}");
            assert_eq!(browser.run("window.hit ?? 0"), 0, "{query}");
        }
        // The last one is told as it was.
        let main = browser.text("#recent");
        assert!(main.contains("<script>"), "{main}");
    }
    for scripts in [true, false] {
        browser.scripts(scripts);
        let told = daemon.handshakes();
        let of_protocol = told
            .iter()
            .find(|it| it.0["failure"]["class"] == "no_shared_alpn");
        let id = of_protocol.unwrap().text("id").unwrap();
        browser.open(admin, &format!("/handshakes/{id}"));
        browser.scripts(true);
        let shown = browser.text("article");
        assert!(shown.contains(hostile), "{shown}");
        assert_eq!(
            browser.run("document.querySelectorAll('main img').length"),
            0
        );
        assert_eq!(browser.run("window.hit ?? 0"), 0);
    }
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn without_script_it_is_tables() {
    let daemon = Daemon::run(&Settings::new(Origin::start().address()));
    daemon.curl("", "/").run().success();
    wait_until(SOON, "the handshake is told", || {
        !daemon.handshakes().is_empty()
    });
    let mut browser = Browser::start();
    browser.scripts(false);
    browser.open(daemon.address("admin"), "/");
    browser.scripts(true);
    for table in [
        "#waterfall",
        "#mix",
        "#recent",
        "#slowest",
        "#names",
        "#certificates",
        "#upstreams",
    ] {
        let rows = browser.run(&format!(
            "document.querySelectorAll('{table} tbody tr').length"
        ));
        assert!(rows.as_u64() > Some(0), "{table}");
    }
    let link = browser.run("document.querySelector('#recent a').getAttribute('href')");
    browser.scripts(false);
    browser.open(daemon.address("admin"), link.as_str().unwrap());
    browser.scripts(true);
    assert!(
        browser
            .text("article")
            .contains("The client says what it can do")
    );
}

#[test]
fn a_browser_shows_the_token_as_a_password() {
    let token = "0123456789abcdef0123456789abcdef";
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, token).unwrap();
    let mut settings = Settings::new(Origin::start().address());
    settings.admin = format!("token_file = \"{}\"", file.display());
    let daemon = Daemon::run(&settings);
    let admin = daemon.address("admin");
    let mut browser = Browser::start();
    browser.open(admin, "/");
    assert_eq!(browser.text("#live"), "", "a page without the token");
    browser.open_as(&format!("me:{token}@"), admin, "/");
    browser.wait(
        "it is live",
        "document.querySelector('#live')?.textContent === 'live'",
    );
    let styled = "getComputedStyle(document.querySelector('main')).display === 'grid'";
    assert_eq!(browser.run(styled), true);
}
