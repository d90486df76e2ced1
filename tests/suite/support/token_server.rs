//! A token server for a real registry: tokens that Debian's `docker-registry` checks, signed with ES256.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::http::request::Parts;
use rcgen::{CertificateParams, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::docker_registry::{Config, DockerRegistry, Login, PASSWORD, USER};
use super::secrets;
use super::wire::{Answer, BoxBody, BoxError, Handler, Received, Server, parameters};

/// What the registry expects a token to say.
pub(crate) const SERVICE: &str = "barge.test";
pub(crate) const ISSUER: &str = "barge-test-issuer";
/// The identity token of [`USER`].
pub(crate) const IDENTITY: &str = "identity-5ecret-of-alice";
/// How long distribution takes a token after its end.
const LEEWAY: u64 = 60;

/// Who gets what: [`USER`] everything but what is denied, others nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grants {
    /// Repository and action that nobody gets.
    pub(crate) denied: Vec<(String, String)>,
    /// Repositories that anybody may pull from.
    pub(crate) open: Vec<String>,
    /// For how long the registry will take a token; long, where this is none.
    pub(crate) left: Option<Duration>,
}

/// One question for a token.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) known: bool,
}

/// A running token server; dropped, it is gone.
pub(crate) struct TokenServer {
    server: Server,
    issuer: Arc<Issuer>,
}

struct Issuer {
    key: EcdsaKeyPair,
    certificate: rcgen::Certificate,
    grants: Mutex<Grants>,
    asked: Mutex<Vec<Asked>>,
}

impl TokenServer {
    pub(crate) fn start(grants: Grants) -> Self {
        secrets::note(IDENTITY);
        secrets::note_login(USER, PASSWORD);
        let pair = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(["tokens".to_owned()]).expect("a name");
        let certificate = parameters.self_signed(&pair).expect("a certificate");
        let key = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &pair.serialize_der(),
            &SystemRandom::new(),
        );
        let issuer = Arc::new(Issuer {
            key: key.expect("rcgen's keys are of this kind"),
            certificate,
            grants: Mutex::new(grants),
            asked: Mutex::default(),
        });
        Self {
            server: Server::start(Service(Arc::clone(&issuer))),
            issuer,
        }
    }

    /// A `docker-registry` that takes tokens of this server alone.
    pub(crate) fn registry(&self) -> DockerRegistry {
        DockerRegistry::start_with(Config {
            login: Login::Tokens {
                realm: format!("http://{}/token", self.server.host()),
                certificate: self.issuer.certificate.pem(),
            },
            ..Config::default()
        })
    }

    /// Every question so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.issuer
            .asked
            .lock()
            .expect("no holder panicked")
            .clone()
    }

    /// Changes who gets what, from the next question on.
    pub(crate) fn grant(&self, grants: Grants) {
        *self.issuer.grants.lock().expect("no holder panicked") = grants;
    }

    /// A token for these scopes, as [`USER`] would get it.
    pub(crate) fn token(&self, scopes: &[&str]) -> String {
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.issuer.token(&scopes, true)
    }
}

struct Service(Arc<Issuer>);

impl Handler for Service {
    async fn answer(
        &self,
        head: Parts,
        body: Received,
    ) -> Result<hyper::Response<BoxBody>, BoxError> {
        let Ok(body) = body.collect().await else {
            return Err("the request broke off".into());
        };
        let form = match head.method.as_str() {
            "POST" => parameters(&String::from_utf8_lossy(&body)),
            _ => parameters(head.uri.query().unwrap_or_default()),
        };
        let authorization = head.headers.get("authorization");
        let authorization = authorization.and_then(|value| value.to_str().ok());
        let answer = self.0.answer(head.method.as_str(), &form, authorization);
        Ok(answer.into_response())
    }
}

impl Issuer {
    fn answer(&self, method: &str, form: &[(String, String)], basic: Option<&str>) -> Answer {
        let field = |name: &str| {
            let found = form.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        let login = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
        let known = match (method, basic, field("refresh_token")) {
            ("GET", None, None) => false,
            ("GET", Some(basic), None) if basic == login => true,
            ("POST", None, Some(IDENTITY)) if field("grant_type") == Some("refresh_token") => true,
            _ => return Answer::new(401).json(&json!({"error": "wrong user or password"})),
        };
        if field("service") != Some(SERVICE) {
            return Answer::new(400).json(&json!({"error": "unknown service"}));
        }
        let scopes = form.iter().filter(|(key, _)| key == "scope");
        let scopes: Vec<String> = scopes
            .flat_map(|(_, value)| value.split(' ').map(str::to_owned))
            .collect();
        let token = self.token(&scopes, known);
        let mut asked = self.asked.lock().expect("no holder panicked");
        asked.push(Asked {
            method: method.to_owned(),
            scopes,
            known,
        });
        let field = if method == "POST" {
            "access_token"
        } else {
            "token"
        };
        Answer::new(200).json(&json!({ field: token, "expires_in": 300 }))
    }

    fn token(&self, scopes: &[String], known: bool) -> String {
        let grants = self.grants.lock().expect("no holder panicked").clone();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("the clock is past 1970").as_secs();
        let end = match grants.left {
            Some(left) => now + left.as_secs() - LEEWAY,
            None => now + 300,
        };
        let access: Vec<Value> = scopes
            .iter()
            .filter_map(|scope| access(scope, &grants, known))
            .collect();
        let certificate = STANDARD.encode(self.certificate.der());
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [certificate]});
        let claims = json!({
            "iss": ISSUER, "sub": USER, "aud": SERVICE, "jti": format!("{:x}", fastrand::u64(..)),
            "exp": end, "nbf": end - 600, "iat": end - 600, "access": access,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.expect("a signature"));
        secrets::note(&signature);
        format!("{signed}.{signature}")
    }
}

/// What is granted of `repository:NAME:ACTIONS`.
fn access(scope: &str, grants: &Grants, known: bool) -> Option<Value> {
    let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    let open = grants.open.iter().any(|open| open == name);
    let granted: BTreeSet<&str> = actions
        .split(',')
        .filter(|action| known || open && *action == "pull")
        .filter(|action| {
            let denied = (name.to_owned(), (*action).to_owned());
            !grants.denied.contains(&denied)
        })
        .collect();
    Some(json!({"type": "repository", "name": name, "actions": granted}))
}
