//! The smallest change of a policy with which a refused ClientHello would have got through.
//!
//! Found by rehearsal: each refusal names what is missing, that alone is added, and the same
//! ClientHello is answered again, until the server's flight comes out. So a change that is told is
//! proven, and nothing in it is superfluous. Only what rustls can do is ever added.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::mem::discriminant;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::alert;
use super::comparison;
use super::hello::{ClientHello, ServerName};
use super::rehearsal::rehearse_at;
use super::selection;
use super::sites::{Choice, Site, Sites};
use crate::config::{
    Alpn, CertificateType, CipherSuite, ClientAuthMode, FalseStartMode, Group, Policy,
};
use crate::report::{Failure, FailureClass, ProtocolVersion, Remedy};

/// What is needed to look for a remedy after the connection is over.
#[derive(Debug)]
pub struct Ailment {
    /// The ClientHello, with its handshake header.
    pub(super) message: Vec<u8>,
    /// The same, parsed.
    pub(super) hello: ClientHello,
}

/// Searches of one listener in one generation, bounded: as many as [`MOST_A_SECOND`], and none
/// twice for the same offer.
#[derive(Debug)]
pub(super) struct Remedies {
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    known: HashMap<u64, Remedy>,
    allowance: u32,
    since: Instant,
}

/// A search computes seven key exchanges at most, and one signature: all failures come before it.
const MOST_A_SECOND: u32 = 20;
/// Offers whose remedy is remembered; past it all are forgotten.
const MOST_KNOWN: usize = 256;
/// Each adds one thing; there are no more things that can be missing.
const MOST_STEPS: usize = 6;

impl Default for Remedies {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            state: Mutex::new(State {
                known: HashMap::new(),
                allowance: MOST_A_SECOND,
                since: Instant::now(),
            }),
        }
    }
}

/// Whether a change of the policy can help at all.
const fn can_help(class: FailureClass) -> bool {
    use FailureClass as C;

    matches!(
        class,
        C::NoSharedVersion
            | C::NoSharedCipher
            | C::CertTypeMismatch
            | C::NoSharedGroup
            | C::NoSharedSigalg
            | C::NoSharedAlpn
            | C::UnknownSni
            | C::MissingSni
            | C::FalseStartRefused
            | C::ClientCertMissing
    )
}

/// Fills the remedy of `failure`, which `ailment` is about, at the listener with `sites`: from
/// what is known of the same offer, or else by rehearsals on a thread that may block. At most 20
/// searches a second; past it, none is sought.
pub async fn prescribe(failure: &mut Failure, ailment: Ailment, sites: &Arc<Sites>) {
    if !can_help(failure.class) {
        return;
    }
    let remedies = sites.remedies();
    let shape = remedies.shape(failure.class, &ailment.hello, sites);
    match remedies.look_up(shape, Instant::now()) {
        Ok(known) => failure.remedy = known,
        Err(Refused) => {}
        Err(Sought) => {
            let class = failure.class;
            let sites = sites.clone();
            let search = move || {
                let remedy = match find(class, &ailment, &sites) {
                    Some(text) => Remedy::Proven(text.into()),
                    None => Remedy::None,
                };
                sites.remedies().remember(shape, remedy.clone());
                remedy
            };
            if let Ok(remedy) = tokio::task::spawn_blocking(search).await {
                failure.remedy = remedy;
            }
        }
    }
}

/// What is to be done where nothing is known.
enum Unknown {
    /// Too many were sought.
    Refused,
    /// It may be sought.
    Sought,
}
use Unknown::{Refused, Sought};

impl Remedies {
    /// A number for everything that a remedy depends on. What is random in a ClientHello is not in
    /// it; which name was sent counts only through its site.
    fn shape(&self, class: FailureClass, hello: &ClientHello, sites: &Sites) -> u64 {
        let site = match sites.choose(hello).0 {
            Choice::Site(site) => Arc::as_ptr(&site).addr(),
            Choice::UnknownName | Choice::MissingName => 0,
        };
        self.hasher.hash_one((
            (class, site, discriminant(&hello.server_name)),
            (hello.legacy_version, &hello.cipher_suites),
            (&hello.extensions, &hello.supported_versions, &hello.groups),
            (&hello.key_shares, &hello.signature_algorithms, &hello.alpn),
        ))
    }

    fn look_up(&self, shape: u64, now: Instant) -> Result<Remedy, Unknown> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = state.known.get(&shape) {
            return Ok(known.clone());
        }
        if now.saturating_duration_since(state.since) >= Duration::from_secs(1) {
            state.since = now;
            state.allowance = MOST_A_SECOND;
        }
        match state.allowance.checked_sub(1) {
            Some(left) => {
                state.allowance = left;
                Err(Sought)
            }
            None => Err(Refused),
        }
    }

    fn remember(&self, shape: u64, remedy: Remedy) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.known.len() >= MOST_KNOWN {
            state.known.clear();
        }
        state.known.insert(shape, remedy);
    }
}

/// The change in TOML; `None` when none helps.
fn find(class: FailureClass, ailment: &Ailment, sites: &Sites) -> Option<String> {
    let hello = &ailment.hello;
    let mut change = Change::default();
    let site = match sites.choose(hello).0 {
        Choice::Site(site) => site,
        refused => {
            let key = match refused {
                Choice::MissingName => "missing_sni",
                _ => "unknown_sni",
            };
            let site = sites.default_site().clone();
            let note = match &hello.server_name {
                ServerName::Name(_) => "with a certificate that may not be for that name",
                _ => "with the first certificate",
            };
            let line = format!("{key} = \"default-certificate\"  # {note}");
            change.table(&sites.policy().spec().name).push(line);
            site
        }
    };
    let before = site.policy().spec();
    let mut policy = before.clone();
    match class {
        FailureClass::FalseStartRefused => policy.false_start = FalseStartMode::Allow,
        FailureClass::ClientCertMissing => {
            let auth = policy.client_auth.as_mut()?;
            auth.mode = ClientAuthMode::Optional;
        }
        _ => {}
    }
    for _ in 0..MOST_STEPS {
        let changed = site.under(policy.clone())?;
        match rehearse_at(&ailment.message, hello, &changed) {
            Ok(_) => {
                change.between(before, &policy);
                return change.render();
            }
            Err(failure) => add(&mut policy, &failure, hello, &site)?,
        }
    }
    None
}

/// Adds to `policy` what `failure` says is missing.
fn add(policy: &mut Policy, failure: &Failure, hello: &ClientHello, site: &Site) -> Option<()> {
    match failure.class {
        // With another alert it is a needless fallback, which only the client can leave.
        FailureClass::NoSharedVersion if failure.alert == Some(alert::PROTOCOL_VERSION) => {
            let missing = |version| !policy.versions.contains(&version);
            let version = if hello.offers_tls13() && missing(ProtocolVersion::Tls13) {
                ProtocolVersion::Tls13
            } else if hello.offers_tls12() && missing(ProtocolVersion::Tls12) {
                ProtocolVersion::Tls12
            } else {
                return None;
            };
            policy.versions.push(version);
            policy.versions.sort_unstable();
            let mut suites = policy.cipher_suites.iter();
            if !suites.any(|suite| suite.version == version) {
                add_suite(policy, hello, site, version)?;
            }
        }
        FailureClass::NoSharedCipher | FailureClass::CertTypeMismatch => {
            let version = selection::version(hello, policy).ok()?;
            add_suite(policy, hello, site, version)?;
        }
        FailureClass::NoSharedGroup => {
            let version = selection::version(hello, policy).ok()?;
            let offered = hello.groups.as_deref()?;
            let group = Group::ALL
                .iter()
                .filter(|group| group.usable_for(version) && offered.contains(&group.code))
                .find(|group| !policy.groups.contains(group))?;
            policy.groups.push(group);
        }
        FailureClass::NoSharedAlpn => {
            let offered = hello.alpn.as_deref()?;
            let protocol = [Alpn::H2, Alpn::Http11]
                .into_iter()
                .filter(|own| !policy.alpn.contains(own))
                .find(|own| offered.iter().any(|it| it == own.name().as_bytes()))?;
            policy.alpn.push(protocol);
        }
        // Another certificate would help, which no policy has.
        _ => return None,
    }
    Some(())
}

/// Adds the best suite of `version` that the client offers and the site's certificate fits.
fn add_suite(
    policy: &mut Policy,
    hello: &ClientHello,
    site: &Site,
    version: ProtocolVersion,
) -> Option<()> {
    let suite = CipherSuite::ALL
        .iter()
        .filter(|suite| suite.version == version && !policy.cipher_suites.contains(suite))
        .filter(|suite| hello.cipher_suites.contains(&suite.code))
        .find(|suite| {
            suite.certificate == CertificateType::Any || comparison::fits(suite, site.certificate())
        })?;
    policy.cipher_suites.push(suite);
    Some(())
}

/// Lines of TOML by policy.
#[derive(Debug, Default)]
struct Change(Vec<(Arc<str>, Vec<String>)>);

impl Change {
    fn table(&mut self, policy: &Arc<str>) -> &mut Vec<String> {
        let index = self.0.iter().position(|(own, _)| own == policy);
        let index = index.unwrap_or_else(|| {
            self.0.push((policy.clone(), Vec::new()));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }

    /// Everything that [`add`] and [`find`] can change.
    fn between(&mut self, before: &Policy, after: &Policy) {
        let mut lines = Vec::new();
        let names = |list: &[&ProtocolVersion]| -> Vec<&'static str> {
            list.iter().map(|version| version.name()).collect()
        };
        lines.extend(listed(
            "versions",
            &names(&before.versions.iter().collect::<Vec<_>>()),
            &names(&after.versions.iter().collect::<Vec<_>>()),
        ));
        let names =
            |list: &[&'static CipherSuite]| list.iter().map(|it| it.name).collect::<Vec<_>>();
        lines.extend(listed(
            "cipher_suites",
            &names(&before.cipher_suites),
            &names(&after.cipher_suites),
        ));
        let names = |list: &[&'static Group]| list.iter().map(|it| it.name).collect::<Vec<_>>();
        lines.extend(listed(
            "groups",
            &names(&before.groups),
            &names(&after.groups),
        ));
        let names = |list: &[Alpn]| list.iter().map(|it| it.name()).collect::<Vec<_>>();
        lines.extend(listed("alpn", &names(&before.alpn), &names(&after.alpn)));
        if before.false_start != after.false_start {
            lines.push("false_start = \"allow\"".into());
        }
        if before.client_auth != after.client_auth {
            lines.push("client_auth.mode = \"optional\"".into());
        }
        if !lines.is_empty() {
            self.table(&before.name).extend(lines);
        }
    }

    fn render(&self) -> Option<String> {
        let mut text = String::new();
        for (policy, lines) in &self.0 {
            let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            match !policy.is_empty() && policy.chars().all(bare) {
                true => writeln!(text, "[tls.{policy}]").ok()?,
                false => writeln!(text, "[tls.{policy:?}]").ok()?,
            }
            for line in lines {
                writeln!(text, "{line}").ok()?;
            }
        }
        // A rehearsal that succeeds at once proves no change.
        (!text.is_empty()).then_some(text)
    }
}

/// `key = [ … ]  # adds …`, if the list has changed.
fn listed(key: &str, before: &[&str], after: &[&str]) -> Option<String> {
    let added: Vec<&str> = after
        .iter()
        .copied()
        .filter(|name| !before.contains(name))
        .collect();
    let quoted: Vec<String> = after.iter().map(|name| format!("\"{name}\"")).collect();
    (!added.is_empty()).then(|| {
        format!(
            "{key} = [{}]  # adds {}",
            quoted.join(", "),
            added.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519};

    use super::super::fixture::{self, hello_of};
    use super::super::rehearsal::rehearse;
    use super::*;
    use crate::config::SniAction;

    fn remedy(message: Vec<u8>, sites: &Sites) -> Option<String> {
        let class = rehearse(&message, sites).unwrap_err().class;
        let hello = ClientHello::parse(&message).unwrap();
        find(class, &Ailment { message, hello }, sites)
    }

    fn codes(codes: &[u16]) -> Vec<&'static CipherSuite> {
        let codes = codes.iter().copied();
        codes.filter_map(CipherSuite::by_code).collect()
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_else() {
        let tls13 = hello_of(&["1.3"], &[X25519], "localhost");
        let tls12 = hello_of(&["1.2"], &[X25519], "localhost");
        let sites = fixture::sites(|policy| policy.versions = vec![ProtocolVersion::Tls12]);
        assert_eq!(
            remedy(tls13.clone(), &sites).unwrap(),
            "[tls.test]\nversions = [\"1.2\", \"1.3\"]  # adds 1.3\n"
        );
        let sites = fixture::sites(|policy| {
            policy.versions = vec![ProtocolVersion::Tls13];
            policy.cipher_suites = codes(&[0x1301]);
        });
        assert_eq!(
            remedy(tls12.clone(), &sites).unwrap(),
            "[tls.test]\nversions = [\"1.2\", \"1.3\"]  # adds 1.2\n\
             cipher_suites = [\"TLS_AES_128_GCM_SHA256\", \
             \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"]  \
             # adds TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n"
        );
        // The suites in common are for the other kind of certificate.
        let sites = fixture::sites(|policy| policy.cipher_suites = codes(&[0x1301, 0xc02f]));
        assert_eq!(
            remedy(tls12, &sites).unwrap(),
            "[tls.test]\ncipher_suites = [\"TLS_AES_128_GCM_SHA256\", \
             \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\", \
             \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"]  \
             # adds TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n"
        );
        let sites = fixture::sites(|_| {});
        let message = hello_of(&["1.3"], &[SECP384R1, SECP256R1], "localhost");
        assert_eq!(
            remedy(message, &sites).unwrap(),
            "[tls.test]\ngroups = [\"X25519\", \"secp256r1\"]  # adds secp256r1\n"
        );
        let sites = fixture::sites(|policy| policy.alpn = vec![Alpn::Http11]);
        assert_eq!(
            remedy(tls13, &sites).unwrap(),
            "[tls.test]\nalpn = [\"http/1.1\", \"h2\"]  # adds h2\n"
        );
    }

    #[test]
    fn several_things_can_be_missing() {
        let sites = fixture::sites(|policy| {
            policy.versions = vec![ProtocolVersion::Tls12];
            policy.cipher_suites = codes(&[0xc02b]);
            policy.alpn = vec![Alpn::Http11];
        });
        let message = hello_of(&["1.3"], &[SECP256R1], "other.example");
        let text = remedy(message, &sites).unwrap();
        let keys: Vec<&str> = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split(' ').next())
            .collect();
        let all = ["unknown_sni", "versions", "cipher_suites", "groups", "alpn"];
        assert_eq!(keys, all, "{text}");
        assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{text}");
    }

    #[test]
    fn where_nothing_helps_nothing_is_said() {
        let sites = fixture::sites(|policy| policy.missing_sni = SniAction::Reject);
        for (suite, group) in [(0x002f, 29), (0xc02f, 29), (0xc02b, 25)] {
            let hello = fixture::old_hello(suite, group, "localhost");
            assert_eq!(remedy(hello, &sites), None, "{suite:04x} {group}");
        }
    }

    #[test]
    fn searches_are_bounded_and_remembered() {
        let remedies = Remedies::default();
        let now = Instant::now();
        for shape in 0..u64::from(MOST_A_SECOND) {
            assert!(matches!(remedies.look_up(shape, now), Err(Sought)));
        }
        assert!(matches!(remedies.look_up(1000, now), Err(Refused)));
        remedies.remember(7, Remedy::None);
        assert!(matches!(remedies.look_up(7, now), Ok(Remedy::None)));
        let later = now + Duration::from_secs(2);
        assert!(matches!(remedies.look_up(1000, later), Err(Sought)));
        for shape in 0..1000 {
            remedies.remember(shape, Remedy::None);
        }
        let known = remedies.state.lock().unwrap().known.len();
        assert!(known <= MOST_KNOWN);
    }
}
