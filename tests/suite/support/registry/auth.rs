//! Who may do what: Basic, or tokens from a token server of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::settings::{
    Anonymous, Auth, Bearer, LifetimeTold, MountAuth, NewRepositories, TokenField, Ungranted,
};
use super::store::World;
use super::{Call, Route};
use crate::support::secrets;
use crate::support::wire::{Answer, parameters};

/// Repository to actions.
type Scopes = BTreeMap<String, BTreeSet<String>>;

/// What was asked of the token server.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    pub(crate) method: String,
    /// As they were written: `repository:library/x:pull,push`.
    pub(crate) scopes: Vec<String>,
    /// The user that it came for, if any.
    pub(crate) user: Option<String>,
    pub(crate) status: u16,
}

/// Every token given, and every request for one.
#[derive(Default)]
pub(super) struct Tokens {
    issued: BTreeMap<String, Token>,
    pub(super) requests: Vec<TokenRequest>,
    pub(super) created: Vec<String>,
}

struct Token {
    scopes: Scopes,
    expires: Option<Instant>,
    uses: Option<u32>,
}

impl Tokens {
    pub(super) fn expire(&mut self) {
        self.issued
            .values_mut()
            .for_each(|token| token.uses = Some(0));
    }
}

impl Token {
    fn allows(&self, repository: &str, action: &str) -> bool {
        self.scopes
            .get(repository)
            .is_some_and(|actions| actions.contains(action))
    }

    fn is_over(&self) -> bool {
        self.uses == Some(0)
            || self
                .expires
                .is_some_and(|expires| expires <= Instant::now())
    }
}

/// The refusal of a request that its credentials do not allow; counts one use of its token otherwise.
pub(super) fn refuse(world: &mut World, call: &Call, route: Route<'_>) -> Option<Answer> {
    match &world.settings.auth {
        Auth::Open => None,
        Auth::Basic { user, password } => {
            let right =
                basic(call.header("authorization")) == Some((user.clone(), password.clone()));
            (!right).then(|| {
                Answer::error(401, "UNAUTHORIZED", &Value::Null)
                    .header("WWW-Authenticate", "Basic realm=\"fake registry\"")
            })
        }
        Auth::Bearer(bearer) => {
            let bearer = bearer.clone();
            refuse_token(
                &mut world.tokens,
                call,
                (&bearer, &needs(call, route, &bearer)),
            )
        }
    }
}

fn refuse_token(
    tokens: &mut Tokens,
    call: &Call,
    (bearer, needs): (&Bearer, &Scopes),
) -> Option<Answer> {
    let given = call
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let Some(given) = given else {
        return Some(challenge(401, call, (bearer, needs, "")));
    };
    let Some(token) = tokens.issued.get_mut(given) else {
        return Some(challenge(
            401,
            call,
            (bearer, needs, ",error=\"invalid_token\""),
        ));
    };
    if token.is_over() {
        return Some(challenge(
            bearer.expired,
            call,
            (bearer, needs, ",error=\"invalid_token\""),
        ));
    }
    let wanted = needs
        .iter()
        .flat_map(|(name, actions)| actions.iter().map(move |action| (name, action)));
    for (repository, action) in wanted {
        if !token.allows(repository, action) {
            let error = ",error=\"insufficient_scope\"";
            return Some(challenge(bearer.insufficient, call, (bearer, needs, error)));
        }
    }
    token.uses = token.uses.map(|uses| uses.saturating_sub(1));
    None
}

/// Whether the token allows to mount from a repository; without tokens everybody may.
pub(super) fn may_pull(world: &World, call: &Call, repository: &str) -> bool {
    if !matches!(world.settings.auth, Auth::Bearer(_)) {
        return true;
    }
    let given = call
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let token = given.and_then(|given| world.tokens.issued.get(given));
    token.is_some_and(|token| token.allows(repository, "pull"))
}

fn needs(call: &Call, route: Route<'_>, bearer: &Bearer) -> Scopes {
    let mut needs = Scopes::new();
    let Some(repository) = route.repository() else {
        return needs;
    };
    let actions: &[&str] = match (route, call.method.as_str()) {
        _ if call.reads() && !matches!(route, Route::Upload { .. }) => &["pull"],
        (Route::Manifest { .. }, "DELETE") => &["delete"],
        _ => &["pull", "push"],
    };
    let mut need = |repository: &str, actions: &[&str]| {
        let needed = needs.entry(repository.to_owned()).or_default();
        needed.extend(actions.iter().map(|action| (*action).to_owned()));
    };
    need(repository, actions);
    if let (Some(from), MountAuth::Challenge) = (call.parameter("from"), bearer.mount) {
        need(from, &["pull"]);
    }
    needs
}

fn challenge(status: u16, call: &Call, (bearer, needs, error): (&Bearer, &Scopes, &str)) -> Answer {
    let own = format!("http://{}/token", call.host());
    let realm = bearer.realm.as_ref().unwrap_or(&own);
    let service = &bearer.service;
    let one = |(name, actions): (&String, &BTreeSet<String>)| {
        let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
        format!("repository:{name}:{}", actions.join(","))
    };
    let scopes: Vec<String> = needs.iter().map(one).collect();
    let scope = match scopes.as_slice() {
        [] => String::new(),
        scopes => format!(",scope=\"{}\"", scopes.join(" ")),
    };
    let code = if status == 403 {
        "DENIED"
    } else {
        "UNAUTHORIZED"
    };
    let answer = Answer::error(status, code, &Value::Null);
    if status == 403 {
        return answer;
    }
    answer.header(
        "WWW-Authenticate",
        format!("Bearer realm=\"{realm}\",service=\"{service}\"{scope}{error}"),
    )
}

/// The token server: GET with Basic, or the POST of `OAuth2`.
pub(super) fn token(world: &mut World, call: &Call) -> Answer {
    let Auth::Bearer(bearer) = world.settings.auth.clone() else {
        return Answer::new(404);
    };
    let form = match call.method.as_str() {
        "POST" => parameters(&String::from_utf8_lossy(&call.body)),
        _ => call.parameters.clone(),
    };
    let asked = Asked::new(call, &form);
    let answer = match asked.grant(&bearer) {
        Ok(granted) => issue(world, &bearer, granted),
        Err(status) => Answer::new(status).json(&json!({"error": "access denied"})),
    };
    world.tokens.requests.push(TokenRequest {
        method: call.method.clone(),
        scopes: asked.scopes,
        user: asked.credentials.map(|(user, _)| user),
        status: answer.status,
    });
    answer
}

/// A request for a token.
struct Asked {
    service: String,
    scopes: Vec<String>,
    credentials: Option<(String, String)>,
    refresh_token: Option<String>,
}

impl Asked {
    fn new(call: &Call, form: &[(String, String)]) -> Self {
        let field = |name: &str| {
            form.iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        let in_form = field("username").zip(field("password"));
        let scopes = form
            .iter()
            .filter(|(key, _)| key == "scope")
            .flat_map(|(_, value)| value.split(' '));
        Self {
            service: field("service").unwrap_or_default(),
            scopes: scopes
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect(),
            credentials: basic(call.header("authorization")).or(in_form),
            refresh_token: field("refresh_token"),
        }
    }

    /// What is granted, or the status of the refusal.
    fn grant(&self, bearer: &Bearer) -> Result<Scopes, u16> {
        bearer
            .identity_token
            .iter()
            .for_each(|token| secrets::note(token));
        if self.service != bearer.service {
            return Err(400);
        }
        let known = match (&self.credentials, &self.refresh_token) {
            (None, None) => false,
            (credentials @ Some(_), _) if *credentials == bearer.credentials => true,
            (None, token @ Some(_)) if *token == bearer.identity_token => true,
            _ => return Err(401),
        };
        if !known && bearer.anonymous == Anonymous::Refused {
            return Err(401);
        }
        let asked = self.asked();
        if let (true, Some(status)) = (asked.len() > 1, bearer.two_repositories) {
            return Err(status);
        }
        let mut granted = asked.clone();
        for (repository, actions) in &mut granted {
            actions.retain(|action| allowed(bearer, known, (repository, action)));
        }
        match bearer.ungranted {
            Ungranted::Status(status) if granted != asked => Err(status),
            _ => Ok(granted),
        }
    }

    fn asked(&self) -> Scopes {
        let mut asked = Scopes::new();
        for scope in &self.scopes {
            let named = scope
                .strip_prefix("repository:")
                .and_then(|rest| rest.rsplit_once(':'));
            let Some((repository, actions)) = named else {
                continue;
            };
            let all = ["pull", "push", "delete"];
            let wanted = actions.split(',').flat_map(|action| {
                if action == "*" {
                    all.to_vec()
                } else {
                    vec![action]
                }
            });
            asked
                .entry(repository.to_owned())
                .or_default()
                .extend(wanted.map(str::to_owned));
        }
        asked
    }
}

fn allowed(bearer: &Bearer, known: bool, (repository, action): (&str, &str)) -> bool {
    let denied = bearer
        .denied
        .iter()
        .any(|(name, what)| name == repository && what == action);
    let open = match bearer.anonymous {
        Anonymous::Everything => true,
        Anonymous::Pull => action == "pull",
        Anonymous::Nothing | Anonymous::Refused => false,
    };
    !denied && (known || open)
}

fn issue(world: &mut World, bearer: &Bearer, scopes: Scopes) -> Answer {
    for (repository, actions) in &scopes {
        let new = !world.repositories.contains_key(repository);
        if bearer.new_repositories == NewRepositories::ByToken && new && actions.contains("push") {
            world.repositories.entry(repository.clone()).or_default();
            world.tokens.created.push(repository.clone());
        }
    }
    let name = format!("token-{:016x}", fastrand::u64(..));
    secrets::note(&name);
    let expires = bearer.lifetime.map(|lifetime| Instant::now() + lifetime);
    let token = Token {
        scopes,
        expires,
        uses: bearer.uses,
    };
    world.tokens.issued.insert(name.clone(), token);
    let mut body = match bearer.field {
        TokenField::Token => json!({ "token": name }),
        TokenField::AccessToken => json!({ "access_token": name }),
        TokenField::Both => json!({ "token": name, "access_token": name }),
    };
    if let (Some(lifetime), LifetimeTold::Yes) = (bearer.lifetime, bearer.lifetime_told) {
        body["expires_in"] = json!(lifetime.max(Duration::from_secs(1)).as_secs());
    }
    Answer::new(200).json(&body)
}

fn basic(authorization: Option<&str>) -> Option<(String, String)> {
    let decoded = STANDARD
        .decode(authorization?.strip_prefix("Basic ")?)
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
