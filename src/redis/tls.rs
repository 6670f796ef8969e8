//! Connections by TLS: `rediss://` in place of `redis://`, and the certificates for them. All that knows of it, but for where
//! connections are made.
//!
//! What the library is built without is a matter of the cargo feature `redis-tls`; the types are there all the same.

use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{ConnectionAddr, ConnectionInfo, RedisResult};

use super::error::CoordinatorError;

/// Certificates for connections by TLS, all as PEM. Without any, the server's is held against the roots that the system
/// trusts. Needs the cargo feature `redis-tls`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tls {
    roots: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    /// As the system has it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these authorities and no others: certificates, one after the other.
    #[must_use]
    pub fn roots(mut self, certificates: impl AsRef<[u8]>) -> Self {
        self.roots = Some(certificates.as_ref().to_owned());
        self
    }

    /// Shows the server who we are: a certificate, followed by those between it and the root, and its key.
    #[must_use]
    pub fn client(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.client = Some((certificate.as_ref().to_owned(), key.as_ref().to_owned()));
        self
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No key.
        let (roots, client) = (self.roots.is_some(), self.client.is_some());
        f.debug_struct("Tls").field("roots", &roots).field("client", &client).finish()
    }
}

fn is_secured(url: &str) -> bool {
    ["rediss:", "valkeys:"].iter().any(|scheme| url.trim_start().starts_with(scheme))
}

/// Whether connections to these can be made as is asked.
///
/// # Errors
/// What is missing.
pub(super) fn check<'a>(urls: impl IntoIterator<Item = &'a str>, tls: Option<&Tls>) -> Result<(), CoordinatorError> {
    for url in urls {
        let missing = if is_secured(url) && cfg!(not(feature = "redis-tls")) {
            "`rediss://` needs the cargo feature `redis-tls` of slotyard, which it was built without"
        } else if !is_secured(url) && tls.is_some() {
            "certificates are for `rediss://`, and would not be used with this URL"
        } else {
            continue;
        };
        return Err(CoordinatorError::Unsupported { detail: missing.to_owned() });
    }
    Ok(())
}

/// What connects by TLS does so with these certificates.
#[cfg(feature = "redis-tls")]
pub(super) fn secured(info: ConnectionInfo, tls: Option<&Tls>) -> RedisResult<ConnectionInfo> {
    if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        return Ok(info);
    }
    // With more than one to choose from, because others in the program have asked for another, rustls would panic. What the
    // program has chosen before stays.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    match tls {
        None => Ok(info),
        Some(tls) => {
            let client = redis::Client::build_with_tls(info, tls.certificates())?;
            Ok(client.get_connection_info().clone())
        }
    }
}

#[cfg(not(feature = "redis-tls"))]
pub(super) fn secured(info: ConnectionInfo, _: Option<&Tls>) -> RedisResult<ConnectionInfo> {
    Ok(info)
}

#[cfg(feature = "redis-tls")]
impl Tls {
    fn certificates(&self) -> redis::TlsCertificates {
        let client = |(cert, key): &(Vec<u8>, Vec<u8>)| redis::ClientTlsConfig {
            client_cert: cert.clone(),
            client_key: key.clone(),
        };
        redis::TlsCertificates { client_tls: self.client.as_ref().map(client), root_cert: self.roots.clone() }
    }
}

/// The master that sentinels name, which is talked to as `how` says: also whether by TLS.
pub(super) fn sentinel(
    sentinels: Vec<ConnectionInfo>,
    master: &str,
    how: &ConnectionInfo,
    tls: Option<&Tls>,
) -> RedisResult<SentinelClient> {
    let (kind, settings) = (SentinelServerType::Master, how.redis_settings().clone());
    let node = SentinelNodeConnectionInfo::default()
        .set_redis_connection_info(settings)
        .set_tcp_settings(how.tcp_settings().clone());
    let node = match how.addr() {
        ConnectionAddr::TcpTls { insecure: false, .. } => node.set_tls_mode(redis::TlsMode::Secure),
        ConnectionAddr::TcpTls { insecure: true, .. } => node.set_tls_mode(redis::TlsMode::Insecure),
        _ => node,
    };
    #[cfg(feature = "redis-tls")]
    if let (Some(tls), ConnectionAddr::TcpTls { .. }) = (tls, how.addr()) {
        return with_certificates(sentinels, master, how, tls);
    }
    let _ = tls;
    SentinelClient::build(sentinels, String::from(master), Some(node), kind)
}

/// There are certificates for the master with a builder only, for which all sentinels have one user and one password: those of
/// the first.
#[cfg(feature = "redis-tls")]
fn with_certificates(
    sentinels: Vec<ConnectionInfo>,
    master: &str,
    how: &ConnectionInfo,
    tls: &Tls,
) -> RedisResult<SentinelClient> {
    let first = sentinels.first().map(|info| info.redis_settings().clone()).unwrap_or_default();
    let addresses: Vec<_> = sentinels.iter().map(|info| info.addr().clone()).collect();
    let settings = how.redis_settings();
    let mut builder = redis::sentinel::SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
        .set_client_to_redis_tls_mode(redis::TlsMode::Secure)
        .set_client_to_redis_certificates(tls.certificates())
        .set_client_to_redis_tcp_settings(how.tcp_settings().clone())
        .set_client_to_redis_protocol(settings.protocol())
        .set_client_to_redis_db(settings.db());
    if let Some(user) = settings.username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = settings.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(user) = first.username() {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = first.password() {
        builder = builder.set_client_to_sentinel_password(password);
    }
    builder.build()
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_as_asked_is_said() {
        let check = |url, tls: Option<&Tls>| check([url], tls).map_err(|error| error.to_string());
        let own = Tls::new().roots("pem");
        assert_eq!(check("redis://here/", None), Ok(()));
        assert!(check("redis://here/", Some(&own)).unwrap_err().contains("would not be used"));
        let missing = check("rediss://here/", Some(&own)).err();
        assert_eq!(missing.is_none(), cfg!(feature = "redis-tls"));
        assert!(missing.is_none_or(|error| error.contains("cargo feature `redis-tls`")));
    }

    #[test]
    fn no_key_is_shown() {
        let tls = Tls::new().roots("root").client("certificate", "secret");
        assert_eq!(format!("{tls:?}"), "Tls { roots: true, client: true }");
    }
}
