//! The account of an HTTP/2 connection, frame by frame: what is counted, and what ends it.

use std::time::{Duration, Instant};

use crate::config::{Budget, Limits, defaults};
use crate::report::Http2Limit;
use crate::server::h2_frames::{flag, kind};
use crate::server::h2_ledger::{H2Fault, Ledger};

const PER: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"\x82\x87\x84\x01\x01a";

/// After the preface.
fn ledger(start: Instant) -> Ledger {
    let mut ledger = silent(start);
    let settings = frame(kind::SETTINGS, 0, 0, &[]);
    ledger.received(&settings, start).unwrap();
    ledger
}

/// Before the client's SETTINGS.
fn silent(start: Instant) -> Ledger {
    let budget = |count| Budget { count, per: PER };
    let mut ledger = Ledger::new(
        &Limits {
            h2_streams: 8,
            h2_resets: budget(10),
            h2_control_frames: budget(20),
            ..defaults::LIMITS
        },
        start,
    );
    ledger
        .received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", start)
        .unwrap();
    ledger
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// How many of `frame` pass until the budget is spent, and which.
fn until_spent(ledger: &mut Ledger, frame: &[u8], now: Instant) -> (u32, Http2Limit) {
    for passed in 0..10_000 {
        match ledger.received(frame, now) {
            Ok(()) => {}
            Err(H2Fault::Limit(limit)) => return (passed, limit),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("never spent")
}

#[test]
fn every_frame_without_a_message_is_counted() {
    let now = Instant::now();
    for bytes in [
        frame(kind::SETTINGS, 0, 0, &[]),
        frame(kind::SETTINGS, 1, 0, &[]),
        frame(0x6, 0, 0, &[0; 8]),
        frame(0x6, 1, 0, &[0; 8]),
        frame(0x2, 0, 1, &[0; 5]),
        frame(kind::GOAWAY, 0, 0, &[0; 8]),
        frame(0xfa, 0, 0, &[0; 100]),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(kind::DATA, 0, 1, &[]),
        frame(kind::DATA, flag::PADDED, 1, &[2, 0, 0]),
    ] {
        let mut ledger = ledger(now);
        let (passed, limit) = until_spent(&mut ledger, &bytes, now);
        assert_eq!(
            (passed, limit),
            (20, Http2Limit::ControlFrames),
            "{bytes:?}"
        );
    }
}

#[test]
fn a_setting_that_moves_every_window_counts_by_itself() {
    let now = Instant::now();
    let mut ledger = ledger(now);
    let many = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 0].repeat(19));
    assert_eq!(ledger.received(&many, now), Ok(()));
    let one = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 0]);
    let spent = Err(H2Fault::Limit(Http2Limit::ControlFrames));
    assert_eq!(ledger.received(&one, now), spent);
}

#[test]
fn our_resets_are_counted_where_they_are_the_clients_doing() {
    let now = Instant::now();
    for (code, counts) in [
        (0, false),
        (1, true),
        (2, false),
        (3, true),
        (5, true),
        (7, true),
    ] {
        let mut ledger = ledger(now);
        let reset = frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, code]);
        let ended = (0..100).find(|_| ledger.sent(&reset, now).is_err());
        assert_eq!(ended, counts.then_some(10), "{code}");
    }
}

#[test]
fn updates_for_what_was_sent_are_free() {
    let now = Instant::now();
    let mut ledger = ledger(now);
    ledger
        .received(&frame(kind::HEADERS, 5, 1, REQUEST), now)
        .unwrap();
    ledger
        .sent(&frame(kind::HEADERS, 4, 1, b"\x88"), now)
        .unwrap();
    let connection = frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0x40, 0]);
    let stream = frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0x40, 0]);
    for _ in 0..1000 {
        ledger
            .sent(&frame(kind::DATA, 0, 1, &[0; 16384]), now)
            .unwrap();
        ledger.received(&connection, now).unwrap();
        ledger.received(&stream, now).unwrap();
    }
    // A client that opens its window octet by octet.
    let mut ledger = self::ledger(now);
    let settings = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]);
    ledger.received(&settings, now).unwrap();
    ledger
        .received(&frame(kind::HEADERS, 5, 1, REQUEST), now)
        .unwrap();
    ledger
        .sent(&frame(kind::HEADERS, 4, 1, b"\x88"), now)
        .unwrap();
    let update = frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    let ended = (0..100).find(|_| {
        ledger.sent(&frame(kind::DATA, 0, 1, b"x"), now).unwrap();
        ledger.received(&update, now).is_err()
    });
    assert!(ended.is_some_and(|count| count < 25), "{ended:?}");
}

#[test]
fn a_header_block_is_bounded_in_frames_octets_and_time() {
    let start = Instant::now();
    let mut ledger = ledger(start);
    assert_eq!(ledger.waits().head, None);
    let later = start + Duration::from_secs(3);
    ledger
        .received(&frame(kind::HEADERS, 1, 1, REQUEST), later)
        .unwrap();
    assert_eq!(ledger.waits().head, Some(later));
    let more = frame(kind::CONTINUATION, 0, 1, b"\x00\x01a\x01b");
    let now = later + Duration::from_secs(1);
    assert_eq!(
        until_spent(&mut ledger, &more, now),
        (5, Http2Limit::HeaderBlock)
    );
    assert_eq!(ledger.waits().head, Some(later));

    let mut ledger = self::ledger(start);
    ledger
        .received(&frame(kind::HEADERS, 1, 1, REQUEST), start)
        .unwrap();
    let more = frame(kind::CONTINUATION, 0, 1, &[0; 16384]);
    assert_eq!(
        until_spent(&mut ledger, &more, start),
        (3, Http2Limit::HeaderBlock)
    );

    // A frame that is too large is h2's to refuse.
    let mut ledger = self::ledger(start);
    ledger
        .received(&frame(kind::HEADERS, 1, 1, REQUEST), start)
        .unwrap();
    let more = frame(kind::CONTINUATION, 4, 1, &[0; 1 << 17]);
    assert_eq!(ledger.received(&more, start), Ok(()));

    let mut ledger = self::ledger(start);
    let bytes = frame(kind::HEADERS, 5, 1, REQUEST);
    ledger.received(&bytes[..12], later).unwrap();
    assert_eq!(ledger.waits().head, Some(later));
    ledger.received(&bytes[12..], later).unwrap();
    assert_eq!(ledger.waits().head, None);
    let late = ledger.waits().due(PER, PER);
    assert_eq!(late, None);
}

#[test]
fn settings_come_first_and_in_time() {
    let start = Instant::now();
    let mut ledger = silent(start);
    let settings = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 0]);
    ledger
        .received(&settings[..7], start + Duration::from_secs(3))
        .unwrap();
    assert_eq!(ledger.waits().head, Some(start));
    ledger.received(&settings[7..], start).unwrap();
    assert_eq!(ledger.waits().head, None);
    for other in [
        frame(kind::HEADERS, 5, 1, REQUEST),
        frame(kind::SETTINGS, flag::ACK, 0, &[]),
    ] {
        let mut ledger = silent(start);
        let first = ledger.received(&other, start);
        assert_eq!(first, Err(H2Fault::NoSettings));
        assert_eq!(ledger.goaway(H2Fault::NoSettings).unwrap()[16], 1);
    }
}

#[test]
fn the_last_word_stands_between_frames() {
    let now = Instant::now();
    let mut ledger = ledger(now);
    ledger
        .received(&frame(kind::HEADERS, 5, 7, REQUEST), now)
        .unwrap();
    // Not whole, so nothing was done about it.
    ledger
        .received(&frame(kind::HEADERS, 1, 9, REQUEST), now)
        .unwrap();
    let fault = H2Fault::Limit(Http2Limit::ClientResets);
    let goaway = frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 0xb]);
    assert_eq!(ledger.goaway(fault).unwrap()[..], goaway);
    let head = frame(kind::HEADERS, 0, 7, b"\x88");
    ledger.sent(&head[..10], now).unwrap();
    assert_eq!(ledger.goaway(fault), None);
    // Whole, but its block is not.
    ledger.sent(&head[10..], now).unwrap();
    assert_eq!(ledger.goaway(fault), None);
    ledger
        .sent(&frame(kind::CONTINUATION, 4, 7, b""), now)
        .unwrap();
    assert_eq!(ledger.goaway(fault).unwrap()[..], goaway);
}

#[test]
fn pseudo_fields_are_refused_in_trailers_alone() {
    let now = Instant::now();
    let mut ledger = ledger(now);
    ledger
        .received(&frame(kind::HEADERS, 4, 1, REQUEST), now)
        .unwrap();
    ledger
        .received(&frame(kind::HEADERS, 5, 3, REQUEST), now)
        .unwrap();
    // A stream that is half closed is hyper's to judge.
    ledger
        .received(&frame(kind::HEADERS, 5, 3, REQUEST), now)
        .unwrap();
    assert_eq!(
        ledger.received(&frame(kind::HEADERS, 5, 1, REQUEST), now),
        Err(H2Fault::PseudoFieldInTrailers)
    );
    assert_eq!(
        ledger.goaway(H2Fault::PseudoFieldInTrailers).unwrap()[16],
        1
    );
}

#[test]
fn pseudo_fields_in_trailers_are_found_by_what_was_said_before() {
    let now = Instant::now();
    for trailers in [
        // `:path: a` of the request, by its index; its name alone; and in the second frame.
        vec![frame(kind::HEADERS, 5, 1, b"\xbe")],
        vec![frame(kind::HEADERS, 5, 1, b"\x7e\x01b")],
        vec![
            frame(kind::HEADERS, 1, 1, b"\x20\x3f\xe1\x1f"),
            frame(kind::CONTINUATION, 4, 1, b"\x82"),
        ],
        vec![
            frame(kind::HEADERS, 1, 1, b"\x0f"),
            frame(kind::CONTINUATION, 4, 1, b"\x2f\x01b"),
        ],
    ] {
        let mut ledger = ledger(now);
        let request = frame(kind::HEADERS, 4, 1, b"\x82\x87\x44\x01a");
        ledger.received(&request, now).unwrap();
        let (last, before) = trailers.split_last().unwrap();
        for frame in before {
            ledger.received(frame, now).unwrap();
        }
        assert_eq!(
            ledger.received(last, now),
            Err(H2Fault::PseudoFieldInTrailers),
            "{trailers:?}"
        );
    }
    let mut ledger = ledger(now);
    let request = frame(kind::HEADERS, 4, 1, b"\x82\x87\x44\x01a\x40\x03x-a\x01b");
    ledger.received(&request, now).unwrap();
    // `x-a: b`
    let trailers = frame(kind::HEADERS, 5, 1, b"\xbe");
    ledger.received(&trailers, now).unwrap();
}
