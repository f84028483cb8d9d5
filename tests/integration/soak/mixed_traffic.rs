//! The test: traffic to an upstream that stays and one that dies, and a look at what is left.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::exchange::{Dice, Exchange, Fate};
use super::level::Level;
use super::traffic::{Traffic, VISITORS, close};
use crate::support::{Daemon, Life, Mortal, Origin, Settings};

/// How long the upstream stays dead, and alive.
const SLICE: Duration = Duration::from_millis(600);

const DEATHS: [Life; 4] = [Life::Resets, Life::Closes, Life::Gone, Life::Hangs];
/// What memory may grow by after the warming up.
const GROWTH: u64 = 16 << 20;

const TABLES: &str = r#"
[[routes]]
path = "/steady/"
upstream = "steady"

[upstreams.steady]
servers = [{ address = "STEADY" }]
pool = { idle_timeout = "500ms" }

[[routes]]
path = "/mortal/"
upstream = "mortal"

[upstreams.mortal]
servers = [{ address = "MORTAL" }]
timeouts = { connect = "300ms", first_byte = "300ms", idle = "300ms" }
pool = { idle_timeout = "500ms" }

[timeouts]
response_idle = "3s"
"#;

/// The upstream dies in every way, and comes back each time.
async fn die_and_return(mortal: Arc<Mortal>) {
    for death in DEATHS.into_iter().cycle() {
        sleep(SLICE).await;
        mortal.live(death).await;
        sleep(SLICE).await;
        mortal.live(Life::Alive).await;
    }
}

#[test]
fn mixed_traffic_arrives_whole_and_leaves_nothing_behind() {
    let lasting = match std::env::var_os("HANDFAST_SOAK") {
        Some(_) => Duration::from_secs(60),
        None => Duration::from_secs(5),
    };
    // Goes on while the test looks at the daemon.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let origin = Origin::start().address();
    let mortal = runtime.block_on(async { Arc::new(Mortal::start(origin).await) });
    let tables = TABLES
        .replace("STEADY", &origin.to_string())
        .replace("MORTAL", &mortal.address().to_string());
    let settings = Settings::new(origin)
        .policy(r#"handshake_timeout = "3s""#)
        .more(&tables)
        .log("");
    let mut daemon = Daemon::run_alone(&settings);
    for protocol in ["--http1.1", "--http2"] {
        daemon.curl(protocol, "/").run().success();
    }
    let start = Level::at_rest(&daemon);

    let traffic = Traffic::new(&daemon);
    let run = |lasting, all| {
        runtime.block_on(async {
            let mut script = JoinSet::new();
            script.spawn(die_and_return(mortal.clone()));
            traffic.flow(Instant::now() + lasting, all).await;
            script.shutdown().await;
            mortal.live(Life::Alive).await;
        });
    };
    // What is kept once there was traffic is no leak.
    run(lasting / 5, false);
    // The mortal is back, and serves at once.
    runtime.block_on(async {
        let mut dice = Dice::new(VISITORS);
        let (mut sender, driver) = traffic.connect(&mut dice).await;
        let exchange = Exchange {
            mortal: true,
            ..Exchange::PLAIN
        };
        assert_eq!(traffic.exchange(&mut sender, exchange).await, Fate::Whole);
        close(sender, driver).await;
        for death in DEATHS {
            for h2 in [false, true] {
                traffic.break_off(&mortal, death, h2).await;
            }
        }
    });
    let warm = Level::at_rest(&daemon);
    run(lasting, true);
    let end = Level::at_rest(&daemon);

    daemon.assert_running();
    let tally = traffic.tally.lock().unwrap();
    eprintln!("{tally:?}; {start:?}, {warm:?}, {end:?}");
    for what in [
        "whole",
        "whole from the mortal",
        "apologies",
        "broke off",
        "left",
        "half hellos",
        "stalled",
        "full",
        "resumed",
    ] {
        assert!(tally.counts.contains_key(what), "no {what}: {tally:?}");
    }
    assert_eq!(end.threads, warm.threads);
    // A kept connection of the admin listener may come and go.
    assert!(
        end.descriptors <= start.descriptors + 2,
        "{end:?} after {start:?}"
    );
    assert!(
        end.resident < warm.resident + GROWTH,
        "{end:?} after {warm:?}"
    );
}
