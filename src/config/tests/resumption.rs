//! `resumption` of a policy.

use std::path::Path;
use std::time::Duration;

use super::texts::{one, with};
use crate::config::{ResumptionMode, TicketKeys, defaults};

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
