//! The files that a configuration is made of and those that it names: what a reload reads.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::certificate::{CertificatePair, PemSource};
use super::defaults;
use super::diagnostic::Source;
use super::include;
use super::model::Config;
use super::resumption::{ResumptionMode, TicketKeys};

/// What a configuration is made of at a moment, whatever is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFiles {
    /// The main file and those that it includes. Some may not be there.
    pub files: Vec<PathBuf>,
    /// The directories in which another file would be included.
    pub directories: Vec<PathBuf>,
}

/// What the configuration at `path` is made of now. Reads the main file and the names in the
/// directories that it includes files from; what cannot be read has nothing in it.
#[must_use]
pub fn config_files(path: &Path) -> ConfigFiles {
    let mut found = ConfigFiles {
        files: vec![path.to_owned()],
        directories: Vec::new(),
    };
    // A pipe can be read once, and that is for whoever loads it.
    if !fs::metadata(path).is_ok_and(|it| it.is_file()) {
        return found;
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        let mut file = file.take(defaults::FILE_SIZE);
        file.read_to_end(&mut bytes)
    });
    if read.is_err() {
        return found;
    }
    let main = Source {
        path: path.to_owned(),
        text: String::from_utf8_lossy(&bytes).into_owned(),
    };
    for pattern in include::patterns(main) {
        let (Some(directory), Some(name)) = (
            pattern.parent(),
            pattern.file_name().and_then(|name| name.to_str()),
        ) else {
            continue;
        };
        if name.contains('*') {
            let matching = include::matching(directory, name).unwrap_or_default();
            found.files.extend(matching);
            found.directories.push(directory.to_owned());
        } else {
            found.files.push(pattern);
        }
    }
    found
}

impl Config {
    /// The files that it names and that are read at a reload: certificates, keys, OCSP responses,
    /// CAs, revocation lists, the admin token.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let certificates = self.certificates.iter().flat_map(|own| &own.pairs);
        let certificates = certificates.flat_map(pair);
        let clients = self.policies.iter().filter_map(|own| {
            let clients = own.client_auth.as_ref()?;
            Some([Some(&clients.ca), clients.crl.as_ref()])
        });
        let upstreams = self.upstreams.iter().filter_map(|own| own.tls.as_ref());
        let upstreams = upstreams.flat_map(|tls| {
            let shown = tls.certificate.iter().flat_map(pair);
            shown.chain([tls.ca.as_ref()])
        });
        let sources = certificates.chain(clients.flatten()).chain(upstreams);
        let token = self.admin.token_file.as_ref();
        sources
            .flatten()
            .filter_map(|source| match source {
                PemSource::File { path, .. } => Some(path.clone()),
                PemSource::Memory(_) => None,
            })
            .chain(token.map(|token| token.path.clone()))
            .collect()
    }

    /// The directories of ticket keys, which are read every few seconds as well.
    #[must_use]
    pub fn key_directories(&self) -> Vec<PathBuf> {
        let modes = self.policies.iter().map(|policy| &policy.resumption.mode);
        modes
            .filter_map(|mode| match mode {
                ResumptionMode::Tickets(TicketKeys::Directory(directory)) => {
                    Some(directory.path.clone())
                }
                _ => None,
            })
            .collect()
    }
}

fn pair(pair: &CertificatePair) -> [Option<&PemSource>; 3] {
    [Some(&pair.chain), Some(&pair.key), pair.ocsp.as_ref()]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::parse;

    #[test]
    fn every_file_that_is_named_is_known() {
        let text = r#"
            [[listeners]]
            address = "127.0.0.1:1"
            certificates = ["a"]
            [certificates.a]
            pairs = [{ chain = "a.pem", key = "a.key", ocsp = "a.ocsp" }, { chain = "b.pem", key = "b.key" }]
            [tls.default]
            resumption = { key_dir = "keys" }
            [tls.clients]
            client_auth = { mode = "required", ca = "clients.pem", crl = "clients.crl" }
            [[routes]]
            upstream = "u"
            [upstreams.u]
            servers = [{ address = "127.0.0.1:2" }]
            tls = { ca = "u.pem", certificate = { chain = "own.pem", key = "own.key" } }
            [admin]
            token_file = "token"
        "#;
        let config = parse(text, Path::new("/c/a.toml")).unwrap().config;
        let mut names: Vec<_> = config
            .files()
            .iter()
            .map(|path| path.strip_prefix("/c").unwrap().display().to_string())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "a.key",
                "a.ocsp",
                "a.pem",
                "b.key",
                "b.pem",
                "clients.crl",
                "clients.pem",
                "own.key",
                "own.pem",
                "token",
                "u.pem"
            ]
        );
        assert_eq!(config.key_directories(), [PathBuf::from("/c/keys")]);
    }

    #[test]
    fn a_configuration_is_made_of_what_it_includes_now() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let main = at("main.toml");
        // However wrong the rest is.
        fs::write(&main, "include = [\"one.toml\", \"d/*.toml\"]\nx = = 1\n").unwrap();
        let found = config_files(&main);
        assert_eq!(found.files, [main.clone(), at("one.toml")]);
        assert_eq!(found.directories, [at("d")]);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/two.toml"), "").unwrap();
        fs::write(at("d/notes.txt"), "").unwrap();
        let found = config_files(&main);
        assert_eq!(
            found.files,
            [main.clone(), at("one.toml"), at("d/two.toml")]
        );
        fs::remove_file(&main).unwrap();
        assert_eq!(config_files(&main).files, [main]);
    }
}
