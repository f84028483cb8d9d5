//! One CA and its leaves, made once a run and kept in memory.

use std::path::Path;
use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};
use tokio_rustls::rustls::pki_types::CertificateDer;

/// The certificates of this run.
#[derive(Debug)]
pub(crate) struct Certs {
    /// The root that clients trust.
    pub(crate) ca: Leaf,
    /// ECDSA P-256 for `localhost`, `example.test` and 127.0.0.1.
    pub(crate) main: Leaf,
    /// RSA-2048 for the same names.
    pub(crate) rsa: Leaf,
    /// ECDSA P-256 for `*.wild.test`.
    pub(crate) wild: Leaf,
    /// ECDSA P-384 for the names of `main`.
    pub(crate) p384: Leaf,
    /// Ed25519 for the names of `main`.
    pub(crate) ed25519: Leaf,
    /// Like `main`, and expired.
    pub(crate) expired: Leaf,
}

/// One certificate with its key.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// The certificate.
    pub(crate) der: CertificateDer<'static>,
    /// The certificate, as a file holds it.
    pub(crate) pem: String,
    /// Its key.
    pub(crate) key: String,
}

/// The certificates of this run.
pub(crate) fn certs() -> &'static Certs {
    static CERTS: OnceLock<Certs> = OnceLock::new();
    CERTS.get_or_init(Certs::new)
}

impl Certs {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "handfast test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap();
        let ca = Leaf {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key: key.serialize_pem(),
        };
        let issuer = Issuer::new(params, key);
        let names = ["localhost", "example.test", "127.0.0.1"];
        Self {
            ca,
            main: leaf(&issuer, &PKCS_ECDSA_P256_SHA256, &names),
            rsa: leaf(&issuer, &PKCS_RSA_SHA256, &names),
            wild: leaf(&issuer, &PKCS_ECDSA_P256_SHA256, &["*.wild.test"]),
            p384: leaf(&issuer, &PKCS_ECDSA_P384_SHA384, &names),
            ed25519: leaf(&issuer, &PKCS_ED25519, &names),
            expired: leaf_with(&issuer, &PKCS_ECDSA_P256_SHA256, &names, |params| {
                params.not_after = rcgen::date_time_ymd(2020, 1, 1);
            }),
        }
    }

    /// Writes `ca.pem` and, for each leaf, `NAME.pem` and `NAME.key`.
    pub(crate) fn write(&self, dir: &Path) {
        std::fs::write(dir.join("ca.pem"), &self.ca.pem).unwrap();
        for (name, leaf) in [
            ("main", &self.main),
            ("rsa", &self.rsa),
            ("wild", &self.wild),
            ("p384", &self.p384),
            ("ed25519", &self.ed25519),
            ("main-expired", &self.expired),
        ] {
            std::fs::write(dir.join(format!("{name}.pem")), &leaf.pem).unwrap();
            std::fs::write(dir.join(format!("{name}.key")), &leaf.key).unwrap();
        }
    }
}

fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    algorithm: &'static SignatureAlgorithm,
    names: &[&str],
) -> Leaf {
    leaf_with(issuer, algorithm, names, |_| ())
}

fn leaf_with(
    issuer: &Issuer<'_, KeyPair>,
    algorithm: &'static SignatureAlgorithm,
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> Leaf {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, names[0].as_str());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    change(&mut params);
    let certificate = params.signed_by(&key, issuer).unwrap();
    Leaf {
        der: certificate.der().clone(),
        pem: certificate.pem(),
        key: key.serialize_pem(),
    }
}
