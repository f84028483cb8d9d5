//! What the service manager is told, in its order.

use std::time::Duration;

use crate::support::{Activation, Daemon, Manager, Origin, Settings, wait_until};

const SOON: Duration = Duration::from_secs(10);

struct Told {
    daemon: Daemon,
    manager: Manager,
    settings: Settings,
    origin: Origin,
}

fn told(more: &str) -> Told {
    let origin = Origin::start();
    let manager = Manager::start();
    let mut settings = Settings::new(origin.address());
    settings.drain_delay = "300ms".to_owned();
    let before = format!("{}; {more}", manager.shell());
    let mut daemon = Daemon::activate(&settings, &Activation::new([]), &before);
    daemon.wait_listening("https");
    Told {
        daemon,
        manager,
        settings,
        origin,
    }
}

#[test]
fn ready_reloading_ready_stopping() {
    let Told {
        mut daemon,
        manager,
        settings,
        ..
    } = told(":");
    assert_eq!(
        manager.next(SOON),
        ["READY=1", "STATUS=serving configuration 1"]
    );
    daemon.signal("HUP");
    let reloading = manager.next(SOON);
    assert_eq!(reloading[0], "RELOADING=1");
    let micros = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
    assert!(micros.parse::<u64>().unwrap() > 0);
    assert_eq!(
        manager.next(SOON),
        ["READY=1", "STATUS=serving configuration 2"]
    );

    // One that fails is over, too.
    daemon.rewrite(
        &settings
            .render(daemon.dir())
            .replace("[[routes]]", "[[rutes]]"),
    );
    daemon.signal("HUP");
    assert_eq!(manager.next(SOON)[0], "RELOADING=1");
    assert_eq!(
        manager.next(SOON),
        [
            "READY=1",
            "STATUS=serving configuration 2; the last reload failed: the configuration is wrong"
        ]
    );

    daemon.signal("TERM");
    let stopping = manager.next(SOON);
    assert_eq!(stopping[0], "STOPPING=1");
    assert!(stopping[1].starts_with("STATUS=draining"), "{stopping:?}");
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
}

#[test]
fn the_watchdog_is_pinged_while_the_daemon_turns() {
    let Told {
        daemon, manager, ..
    } = told("export WATCHDOG_USEC=400000 WATCHDOG_PID=$$");
    assert_eq!(manager.next(SOON)[0], "READY=1");
    for _ in 0..3 {
        assert!(manager.is_pinged(SOON));
    }
    daemon.stop();
    assert!(!manager.is_pinged(Duration::from_millis(1200)));
    daemon.go_on();
    assert!(manager.is_pinged(SOON));
}

#[test]
fn a_watchdog_of_another_process_is_left_alone() {
    let Told { manager, .. } = told("export WATCHDOG_USEC=200000 WATCHDOG_PID=1");
    assert_eq!(manager.next(SOON)[0], "READY=1");
    assert!(!manager.is_pinged(Duration::from_secs(1)));
}

#[test]
fn the_status_tells_what_a_drain_waits_for() {
    let Told {
        mut daemon,
        manager,
        origin,
        ..
    } = told(":");
    let held = daemon.curl("--http2", "/hold").start();
    wait_until(SOON, "the request reaches the origin", || {
        origin.requests() == 1
    });
    daemon.signal("TERM");
    let waits = "STATUS=draining, waits for 1 h2 connection, 1 request";
    manager.find(SOON, |lines| lines.contains(&waits.to_owned()));
    origin.open_gate();
    held.finish().success();
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
}
