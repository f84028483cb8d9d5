//! Single functions under criterion: `cargo bench --bench functions`.

mod support;

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use handfast::config;
use handfast::host::{HostMap, HostPattern, normalize};
use handfast::route::RouteTable;
use handfast::telemetry::{HttpProtocol, Metrics};
use handfast::tls::ClientHello;
use support::{Cell, Rig, Sight, Stock};

const CONFIG: &str = include_str!("../config/handfast.toml");

fn names(c: &mut Criterion) {
    c.bench_function("host::normalize", |b| {
        b.iter(|| normalize(black_box("Api-7.Example.COM.")));
    });
    let mut map = HostMap::new();
    for index in 0..1000 {
        let pattern = HostPattern::parse(&format!("site{index}.example.com"));
        map.insert(&pattern.expect("a valid name"), index);
    }
    map.insert(
        &HostPattern::parse("*.apps.example.com").expect("a valid wildcard"),
        0,
    );
    c.bench_function("host_map::find_of_1000", |b| {
        b.iter(|| map.find(black_box("site777.example.com")));
    });
    c.bench_function("host_map::find_wildcard", |b| {
        b.iter(|| map.find(black_box("x.apps.example.com")));
    });
}

fn routes(c: &mut Criterion) {
    let mut text = String::from("[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = false\n");
    for index in 0..200 {
        text.push_str(&format!(
            "[[routes]]\nhost = \"h{}.example.com\"\npath = \"/p{index}/\"\nupstream = \"http://127.0.0.1:1\"\n",
            index % 20
        ));
    }
    let loaded = config::parse(&text, Path::new("bench")).expect("the configuration is right");
    let table = RouteTable::new(&loaded.config.routes);
    c.bench_function("route_table::find_of_200", |b| {
        b.iter(|| table.find(black_box("h7.example.com"), black_box("/p187/a/b/c")));
    });
    c.bench_function("config::parse_example", |b| {
        b.iter(|| config::parse(black_box(CONFIG), Path::new("bench")));
    });
}

fn client_hello(c: &mut Criterion) {
    let message = hello();
    ClientHello::parse(&message).expect("the ClientHello is right");
    c.bench_function("client_hello::parse", |b| {
        b.iter(|| ClientHello::parse(black_box(&message)))
    });
}

fn metrics(c: &mut Criterion) {
    let metrics = Metrics::default();
    let requests = metrics.requests("https", "example.com/");
    let took = std::time::Duration::from_micros(321);
    c.bench_function("request_metrics::record", |b| {
        b.iter(|| requests.record(black_box(Some(200)), HttpProtocol::H2, took));
    });
}

fn handshakes(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system gives a runtime");
    for cell in Cell::ALL {
        for (name, sight) in [
            ("handshake_both_ends", Sight::None),
            ("handshake_both_ends_all_off", Sight::Least),
            ("handshake_both_ends_all_on", Sight::All),
        ] {
            let rig = runtime.block_on(Rig::new(cell, sight));
            c.bench_function(&format!("{name}::{}", cell.name()), |b| {
                b.iter(|| runtime.block_on(rig.handshake()));
            });
        }
        let stock = runtime.block_on(Stock::new(cell));
        c.bench_function(
            &format!("handshake_both_ends_stock::{}", cell.name()),
            |b| {
                b.iter(|| runtime.block_on(stock.handshake()));
            },
        );
    }
}

/// A ClientHello with the extensions that browsers send.
fn hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(32);
    body.extend([8; 32]);
    let suites: Vec<u8> = [0x1301u16, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c]
        .iter()
        .flat_map(|s| s.to_be_bytes())
        .collect();
    body.extend([0, u8::try_from(suites.len()).unwrap_or(0)]);
    body.extend(suites);
    body.extend([1, 0]);
    let mut all: Vec<u8> = Vec::new();
    let mut extension = |number: u16, content: &[u8]| {
        all.extend(number.to_be_bytes());
        all.extend(u16::try_from(content.len()).unwrap_or(0).to_be_bytes());
        all.extend(content);
    };
    extension(0, b"\0\x0e\0\0\x0bexample.com");
    extension(10, &[0, 6, 0x11, 0xec, 0, 29, 0, 23]);
    extension(13, &[0, 6, 4, 3, 8, 4, 4, 1]);
    extension(16, b"\0\x0c\x02h2\x08http/1.1");
    extension(23, &[]);
    extension(35, &[]);
    extension(43, &[4, 3, 4, 3, 3]);
    let mut shares = vec![0x04, 0xe8, 0x11, 0xec, 0x04, 0xc0];
    shares.extend([9; 0x4c0]);
    shares.extend([0, 29, 0, 32]);
    shares.extend([9; 32]);
    extension(51, &shares);
    body.extend(u16::try_from(all.len()).unwrap_or(0).to_be_bytes());
    body.extend(all);
    let mut message = vec![1, 0];
    message.extend(u16::try_from(body.len()).unwrap_or(0).to_be_bytes());
    message.extend(body);
    message
}

criterion_group!(benches, names, routes, client_hello, metrics, handshakes);
criterion_main!(benches);
