//! Connections by TLS, with an authority of one's own.

use std::fs;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use slotyard::{CoordinatorError, SharedScheduler, Tls};
use slotyard_servers::Server;

use crate::{PATIENCE, life};

/// Who signs certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for this machine, and its key.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A server with a certificate of this authority, which asks its clients for one, too, or does not.
    fn server(&self, asks: bool) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = self.sign();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (certificate, key) = (file("certificate", &certificate), file("key", &key));
        // It has read them when it answers.
        Server::with(&[
            ("tls-cert-file", &certificate),
            ("tls-key-file", &key),
            ("tls-ca-cert-file", &file("authority", &self.pem)),
            ("tls-auth-clients", if asks { "yes" } else { "no" }),
        ])
    }
}

/// What is refused is refused at once, and tried again for so long.
const REFUSED: Duration = Duration::from_secs(1);

fn connect(server: &Server, tls: Tls, within: Duration) -> Result<SharedScheduler, CoordinatorError> {
    let builder = SharedScheduler::builder(server.tls_url()).tls(tls).call_timeout(PATIENCE);
    let shared = builder.build().unwrap();
    shared.blocking().wait_connected(within).map(|()| shared)
}

#[test]
fn an_authority_of_ones_own_is_trusted_and_no_other() {
    let authority = Authority::new();
    let server = authority.server(false);
    life(&connect(&server, Tls::new().roots(&authority.pem), PATIENCE).unwrap(), "its life");
    let other = connect(&server, Tls::new().roots(Authority::new().pem), REFUSED).unwrap_err();
    let CoordinatorError::Unreachable { detail } = &other else { panic!("{other:?}") };
    assert!(detail.contains("UnknownIssuer") || detail.contains("BadSignature"), "{detail}");
    // Nor is it among those that the system trusts.
    let system = connect(&server, Tls::new(), REFUSED).unwrap_err();
    let CoordinatorError::Unreachable { detail } = &system else { panic!("{system:?}") };
    assert!(detail.contains("UnknownIssuer"), "{detail}");
}

#[test]
fn a_certificate_of_the_client_is_shown_where_it_is_asked_for() {
    let authority = Authority::new();
    let server = authority.server(true);
    let tls = Tls::new().roots(&authority.pem);
    let refused = connect(&server, tls.clone(), REFUSED).unwrap_err();
    assert!(refused.to_string().contains("CertificateRequired"), "{refused}");
    let (certificate, key) = authority.sign();
    life(&connect(&server, tls.client(&certificate, &key), PATIENCE).unwrap(), "its life");
}

#[test]
fn a_master_that_a_sentinel_names_is_talked_to_by_tls() {
    let authority = Authority::new();
    let server = authority.server(true);
    let sentinel = server.tls_sentinel("speech");
    let (certificate, key) = authority.sign();
    let connect = |tls: Tls, within| {
        let builder = SharedScheduler::builder("rediss://unused/").sentinels([sentinel.url()], "speech").tls(tls);
        let shared = builder.call_timeout(PATIENCE).build().unwrap();
        shared.blocking().wait_connected(within).map(|()| shared)
    };
    let trusted = Tls::new().roots(&authority.pem);
    life(&connect(trusted.clone().client(certificate, key), PATIENCE).unwrap(), "its life");
    let refused = connect(trusted, REFUSED).unwrap_err();
    assert!(matches!(refused, CoordinatorError::Unreachable { .. }), "{refused}");
}

#[test]
fn what_is_no_certificate_is_refused_before_connecting() {
    let builder = SharedScheduler::builder("rediss://127.0.0.1/").tls(Tls::new().client("certificate", "key"));
    let error = builder.build().unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
    let builder = SharedScheduler::builder("redis://127.0.0.1/").tls(Tls::new());
    let error = builder.build().unwrap_err();
    assert!(error.to_string().contains("would not be used"), "{error}");
}
