//! SIGHUP: a good file takes over, a bad one changes nothing.

use std::io::{BufReader, Write};
use std::time::Duration;

use crate::support::{Client, Daemon, Origin, Settings, read_response, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn answer(daemon: &Daemon) -> String {
    daemon.curl("", "/").run().success().stdout
}

/// How often reloads ended, by result, where not 0.
fn reloads(daemon: &Daemon) -> Vec<(String, f64)> {
    let mut samples = daemon.metrics();
    samples.retain(|sample| sample.name == "handfast_config_reloads_total" && sample.value > 0.0);
    samples
        .iter()
        .map(|sample| (sample.labels["result"].clone(), sample.value))
        .collect()
}

#[test]
fn a_good_file_takes_over_on_open_connections_too() {
    let (first, second) = (Origin::named("first"), Origin::named("second"));
    let mut daemon = Daemon::run(&Settings::new(first.address()));
    let mut stream = BufReader::new(Client::new().connect(daemon.https()).unwrap());
    let mut ask = || {
        write!(
            stream.get_mut(),
            "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"
        )
        .unwrap();
        read_response(&mut stream).unwrap().text()
    };
    assert_eq!(ask(), "first\n");
    assert_eq!(reloads(&daemon), []);

    daemon.rewrite(&Settings::new(second.address()).render(daemon.dir()));
    daemon.signal("HUP");
    wait_until(SOON, "the reload is counted", || {
        !reloads(&daemon).is_empty()
    });
    let counted = reloads(&daemon);
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert_eq!(ask(), "second\n");
    assert_eq!(answer(&daemon), "second\n");
    daemon.assert_running();
}

#[test]
fn included_files_come_and_go_with_a_reload() {
    let origin = Origin::start();
    let mut daemon = Daemon::run(&Settings::new(origin.address()));
    let text = Settings::new(origin.address()).render(daemon.dir());
    daemon.rewrite(&format!("include = [\"conf.d/*.toml\"]\n{text}"));
    let parts = daemon.dir().join("conf.d");
    std::fs::create_dir(&parts).unwrap();
    let part = parts.join("teapot.toml");
    let route =
        "[[routes]]\npath = \"/tea\"\nrespond = { status = 418, body = \"short and stout\" }\n";
    std::fs::write(&part, route).unwrap();
    let tea = |daemon: &Daemon| daemon.curl("", "/tea").run().success().stdout;
    assert_ne!(tea(&daemon), "short and stout");
    daemon.signal("HUP");
    daemon.wait_metric("config_reloads_total", &[("result", "ok")], 1.0);
    assert_eq!(tea(&daemon), "short and stout");

    // A bad one changes nothing, and the log says where.
    std::fs::write(&part, route.replace("418", "\"418\"")).unwrap();
    daemon.signal("HUP");
    wait_until(SOON, "the failure is told", || {
        let place = format!("{}:3:", part.display());
        daemon.log().text().contains(&place)
    });
    assert_eq!(tea(&daemon), "short and stout");

    std::fs::remove_file(&part).unwrap();
    daemon.signal("HUP");
    daemon.wait_metric("config_reloads_total", &[("result", "ok")], 2.0);
    assert_ne!(tea(&daemon), "short and stout");
    daemon.assert_running();
}

#[test]
fn a_bad_file_leaves_the_old_one_serving() {
    let origin = Origin::named("first");
    let settings = Settings::new(origin.address());
    let mut daemon = Daemon::run(&settings);
    let good = settings.render(daemon.dir());

    daemon.rewrite(&good.replace("[[routes]]", "[[rutes]]"));
    daemon.signal("HUP");
    wait_until(SOON, "the failure is counted", || {
        reloads(&daemon).len() == 1
    });
    let failed = reloads(&daemon);
    assert_eq!(answer(&daemon), "first\n");
    let logged = daemon.log().records();
    assert!(
        logged
            .iter()
            .any(|record| { record["level"] == "ERROR" && record.to_string().contains("rutes") }),
        "{}",
        daemon.log().text()
    );

    daemon.rewrite(&good);
    daemon.signal("HUP");
    wait_until(SOON, "the success is counted", || {
        reloads(&daemon).len() == 2
    });
    assert!(reloads(&daemon).contains(&failed[0]), "{failed:?}");
    assert_eq!(answer(&daemon), "first\n");
    daemon.assert_running();
}

#[test]
fn certificates_are_read_again() {
    let origin = Origin::start();
    let settings = Settings::new(origin.address());
    let daemon = Daemon::run(&settings);
    let client = Client::new();
    let certs = crate::support::certs();
    assert_eq!(client.certificate(daemon.https()).unwrap(), certs.main.der);
    std::fs::write(daemon.dir().join("main.pem"), &certs.rsa.pem).unwrap();
    std::fs::write(daemon.dir().join("main.key"), &certs.rsa.key).unwrap();
    daemon.signal("HUP");
    wait_until(SOON, "the reload is counted", || {
        !reloads(&daemon).is_empty()
    });
    assert_eq!(client.certificate(daemon.https()).unwrap(), certs.rsa.der);
}

#[test]
fn a_changed_listener_keeps_its_socket() {
    let origin = Origin::named("first");
    let settings = Settings::new(origin.address());
    let mut daemon = Daemon::run(&settings);
    let good = settings.render(daemon.dir());
    let named = r#"name = "https""#;
    assert!(good.contains(named));

    daemon.rewrite(&good.replacen(named, "name = \"https\"\nbacklog = 77", 1));
    daemon.signal("HUP");
    wait_until(SOON, "the reload is counted", || {
        !reloads(&daemon).is_empty()
    });
    assert_eq!(reloads(&daemon), [("ok".to_owned(), 1.0)]);
    assert_eq!(answer(&daemon), "first\n");
    daemon.assert_running();
}

#[test]
fn a_connection_that_waits_for_its_permit_is_served_after_a_reload() {
    let origin = Origin::named("first");
    let settings = Settings::new(origin.address()).more("[limits]\nconnections = 1");
    let mut daemon = Daemon::run(&settings);
    let first = Client::new().connect(daemon.https()).unwrap();
    let address = daemon.https();
    let before = daemon.descriptors();
    let second = std::thread::spawn(move || {
        let mut stream = BufReader::new(Client::new().connect(address)?);
        write!(
            stream.get_mut(),
            "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"
        )?;
        read_response(&mut stream)
    });
    wait_until(SOON, "the second one is accepted", || {
        daemon.descriptors() > before
    });
    // The accept loop goes; its connection still has no permit.
    let text = settings.render(daemon.dir());
    let named = r#"name = "https""#;
    daemon.rewrite(&text.replacen(named, "name = \"https\"\nbacklog = 77", 1));
    daemon.command("reload").run().success();
    drop(first);
    assert_eq!(second.join().unwrap().unwrap().text(), "first\n");
    daemon.assert_running();
}
