//! Certificates of clients, of every kind that a server must tell apart.

use std::path::Path;
use std::sync::OnceLock;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// What `client_auth` and clients need, as files: `clients-ca.pem`, the empty list `empty.crl`,
/// `revoked.crl` with the certificate `revoked`, `expired.crl`, and `NAME.pem` and `NAME.key` for
/// each certificate.
#[derive(Debug)]
pub(crate) struct ClientCerts(Vec<(String, String)>);

/// The certificates of this run.
pub(crate) fn client_certs() -> &'static ClientCerts {
    static CERTS: OnceLock<ClientCerts> = OnceLock::new();
    CERTS.get_or_init(ClientCerts::new)
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

impl ClientCerts {
    /// Writes all files.
    pub(crate) fn write(&self, dir: &Path) {
        for (name, text) in &self.0 {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }

    /// The text of one of them.
    pub(crate) fn file(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(file, _)| file == name);
        &found.unwrap().1
    }

    fn new() -> Self {
        let ca = authority("clients CA");
        let mut files = Self(vec![("clients-ca.pem".to_owned(), ca.pem())]);
        let good = |params: &mut CertificateParams| {
            let subject = &mut params.distinguished_name;
            subject.push(DnType::OrganizationName, "Müller, Inc");
            subject.push(DnType::CommonName, "good");
            params.subject_alt_names = vec![
                SanType::DnsName(ia5("api.partners.test")),
                SanType::URI(ia5("spiffe://partners/api")),
            ];
        };
        files.leaf("good", &ca, good);
        files.leaf("revoked", &ca, |params| {
            params.serial_number = Some(SerialNumber::from(77_u64));
        });
        files.leaf("expired", &ca, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        });
        files.leaf("future", &ca, |params| {
            params.not_before = date_time_ymd(2090, 1, 1);
            params.not_after = date_time_ymd(2091, 1, 1);
        });
        files.leaf("purpose", &ca, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        files.leaf("newline", &ca, |params| {
            let name = "good\r\nX-TLS-Client-Verify: success";
            params.distinguished_name.push(DnType::CommonName, name);
        });
        files.leaf("nul", &ca, |params| {
            params.distinguished_name.push(DnType::CommonName, "good\0");
        });
        files.leaf("other", &ca, |params| {
            params.distinguished_name.push(DnType::CommonName, "other");
        });
        files.leaf("secret", &ca, |params| {
            params.subject_alt_names = vec![SanType::DnsName(ia5("secret.test"))];
        });
        files.leaf("stranger", &authority("another CA"), good);
        files.leaf("namesake", &authority("clients CA"), good);
        files.list("empty.crl", &ca, None, 2090);
        files.list("revoked.crl", &ca, Some(77), 2090);
        files.list("expired.crl", &ca, None, 2021);
        files
    }

    fn leaf(&mut self, name: &str, issuer: &Issuer, change: impl Fn(&mut CertificateParams)) {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        self.0.push((format!("{name}.pem"), certificate.pem()));
        self.0.push((format!("{name}.key"), key.serialize_pem()));
    }

    fn list(&mut self, name: &str, issuer: &Issuer, revoked: Option<u64>, until: i32) {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(serial),
                    revocation_time: date_time_ymd(2020, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .into_iter()
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(issuer).unwrap();
        self.0.push((name.to_owned(), list.pem().unwrap()));
    }
}

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().unwrap()
}
