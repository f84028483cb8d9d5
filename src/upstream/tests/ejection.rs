//! Servers that fail: ejected, checked, tried again, and back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use tokio::time::timeout;

use super::super::error::ExchangeError;
use super::super::origin::{Origin, Served};
use super::super::{Cluster, ServerState};
use super::cluster::{
    LONG, SHORT, cluster, counting, get, get_text, request, spec, states, text, until,
};
use crate::config::{Balance, Eject, HealthCheck};

#[tokio::test]
async fn a_server_that_fails_is_ejected_and_comes_back() {
    let good = Origin::numbered().await;
    let dead = Origin::closed_address().await;
    let mut spec = spec(&[(dead, 1), (good.address(), 1)]);
    spec.eject = Some(Eject {
        failures: 3,
        period: SHORT,
    });
    let cluster = Arc::new(cluster(&spec));
    cluster.activate();
    for failures in 1..=3 {
        assert_eq!(states(&cluster), [ServerState::Up; 2]);
        // The turn of the good one goes to the request that met the other.
        get_text(&cluster).await;
        assert_eq!(cluster.status()[0].failures, failures);
    }
    assert_eq!(states(&cluster), [ServerState::Ejected, ServerState::Up]);
    // Nobody asks for it; the cluster ends it by itself.
    until(|| states(&cluster) == [ServerState::Up; 2]).await;
    get_text(&cluster).await;
    get_text(&cluster).await;
    assert_eq!(
        states(&cluster)[0],
        ServerState::Ejected,
        "one more failure"
    );
}

#[tokio::test]
async fn the_last_server_is_never_ejected_and_all_bad_is_all_good() {
    let (one, two) = (
        Origin::closed_address().await,
        Origin::closed_address().await,
    );
    let mut spec = spec(&[(one, 1), (two, 1)]);
    spec.eject = Some(Eject {
        failures: 1,
        period: LONG,
    });
    spec.health = Some(HealthCheck {
        path: "/".into(),
        interval: LONG,
        timeout: LONG,
        healthy_after: 1,
        unhealthy_after: 1,
    });
    let cluster = Arc::new(cluster(&spec));
    for _ in 0..4 {
        let error = get(&cluster).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Connect(_)), "{error:?}");
    }
    let out = |state| {
        states(&cluster)
            .into_iter()
            .filter(|own| *own == state)
            .count()
    };
    assert_eq!(out(ServerState::Ejected), 1);
    cluster.activate();
    until(|| out(ServerState::Unhealthy) == 2).await;
    let failures =
        |cluster: &Cluster| -> u32 { cluster.status().iter().map(|server| server.failures).sum() };
    let before = failures(&cluster);
    get(&cluster).await.unwrap_err();
    assert_eq!(failures(&cluster), before + 2, "both were asked");
}

#[tokio::test]
async fn checks_take_a_server_out_and_bring_it_back() {
    let ill = Arc::new(AtomicBool::new(false));
    let state = ill.clone();
    let origin = Origin::start(move |mut served: Served| {
        let state = state.clone();
        async move {
            while let Some(head) = served.head().await {
                if head.starts_with("GET /up ") && state.load(Ordering::Relaxed) {
                    served
                        .send("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
                        .await?;
                } else {
                    served.respond("checked").await?;
                }
            }
            Ok(())
        }
    })
    .await;
    let requests = Arc::default();
    let other = counting("other", &requests).await;
    let mut spec = spec(&[(origin.address(), 1), (other.address(), 1)]);
    spec.health = Some(HealthCheck {
        path: "/up".into(),
        interval: Duration::from_millis(5),
        timeout: LONG,
        healthy_after: 2,
        unhealthy_after: 2,
    });
    let cluster = Arc::new(cluster(&spec));
    cluster.activate();
    for _ in 0..2 {
        ill.store(true, Ordering::Relaxed);
        until(|| states(&cluster)[0] == ServerState::Unhealthy).await;
        for _ in 0..4 {
            assert_eq!(get_text(&cluster).await, "other");
        }
        ill.store(false, Ordering::Relaxed);
        until(|| states(&cluster)[0] == ServerState::Up).await;
        let mut answers = [get_text(&cluster).await, get_text(&cluster).await];
        answers.sort();
        assert_eq!(answers, ["checked", "other"]);
    }
}

#[tokio::test]
async fn without_attempts_nothing_is_tried_again() {
    let requests = Arc::default();
    let good = counting("good", &requests).await;
    let mut spec = spec(&[(Origin::closed_address().await, 1), (good.address(), 1)]);
    spec.retries.attempts = 0;
    let cluster = cluster(&spec);
    for _ in 0..2 {
        get(&cluster).await.unwrap_err();
        assert_eq!(get_text(&cluster).await, "good");
    }
}

/// Servers that die, hang, answer slowly and come back, under load: no answer is another's, what
/// may not be sent twice never is, and everything ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_die_and_come_back_cost_no_wrong_answer_and_no_second_post() {
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let moods: [Arc<AtomicUsize>; 3] = Default::default();
    let mut addresses = Vec::new();
    let mut origins = Vec::new();
    for mood in &moods {
        let (mood, seen) = (mood.clone(), seen.clone());
        let origin = Origin::start(move |mut served: Served| {
            let (mood, seen) = (mood.clone(), seen.clone());
            async move {
                while let Some(head) = served.head().await {
                    let line = head.lines().next().unwrap_or_default();
                    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
                    if !line.ends_with("/up") {
                        *seen.lock().unwrap().entry(line.clone()).or_default() += 1;
                    }
                    match mood.load(Ordering::Relaxed) {
                        // Dies with the request in hand.
                        1 => return Ok(()),
                        // Hangs.
                        2 => {
                            served.closed().await;
                            return Ok(());
                        }
                        3 => tokio::time::sleep(Duration::from_millis(5)).await,
                        _ => {}
                    }
                    served.respond(&line).await?;
                }
                Ok(())
            }
        })
        .await;
        addresses.push((origin.address(), 1));
        origins.push(origin);
    }
    let mut spec = spec(&addresses);
    spec.timeouts.first_byte = SHORT;
    spec.eject = Some(Eject {
        failures: 2,
        period: Duration::from_millis(20),
    });
    let interval = Duration::from_millis(20);
    spec.health = Some(HealthCheck {
        path: "/up".into(),
        interval,
        timeout: SHORT,
        healthy_after: 1,
        unhealthy_after: 1,
    });
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::RandomTwo,
        Balance::HashClientIp,
    ] {
        spec.balance = balance;
        let cluster = Arc::new(cluster(&spec));
        cluster.activate();
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..8_u8 {
            let (cluster, over) = (cluster.clone(), over.clone());
            clients.spawn(async move {
                let mut good = 0;
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    let method = if number % 2 == 0 {
                        Method::GET
                    } else {
                        Method::POST
                    };
                    let path = format!("/{balance:?}/{client}/{number}");
                    let expected = format!("{method} {path}");
                    let mut request = request(method);
                    *request.uri_mut() = path.parse().unwrap();
                    let client = Some([192, 0, 2, client].into());
                    let mut asked = None;
                    let exchange = cluster.exchange(request, client, None, &mut asked);
                    if let Ok(response) = exchange.await
                        && let Ok(answer) = text(response).await
                    {
                        assert_eq!(answer, expected);
                        good += 1;
                    }
                }
                good
            });
        }
        // One after the other, then all at once, with each mood.
        for mood in [1, 2, 3] {
            for one in &moods {
                one.store(mood, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(40)).await;
                one.store(0, Ordering::Relaxed);
            }
            for one in &moods {
                one.store(mood, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
            for one in &moods {
                one.store(0, Ordering::Relaxed);
            }
            until(|| states(&cluster) == [ServerState::Up; 3]).await;
        }
        over.store(true, Ordering::Relaxed);
        while let Some(good) = timeout(LONG, clients.join_next()).await.unwrap() {
            assert!(good.unwrap() > 0);
        }
        assert!(cluster.status().iter().all(|server| server.in_flight == 0));
    }
    let seen = seen.lock().unwrap();
    let posts = seen.iter().filter(|(line, _)| line.starts_with("POST"));
    let twice: Vec<_> = posts.clone().filter(|(_, times)| **times > 1).collect();
    assert!(posts.count() > 100);
    assert!(twice.is_empty(), "{twice:?}");
    drop(origins);
}
