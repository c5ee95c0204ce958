//! Speaks to a running API.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use hiendien_api::{
    AttentionView, ClaimAccepted, DeliveryPage, DiffView, EventPage, ImageList, ImageView, KeyView,
    NewEndpoint, NewKey, OperationView, PresenceView, PreviewView, Replay, ReplayView,
    RevisionsView, TestView, VerifyView, WebhookView,
};
use hiendien_domain::content::ImageId;
use hiendien_domain::fault::Fault;
use hiendien_domain::ids::OperationId;
use hiendien_domain::name::is_slug;
use hiendien_domain::secret::Secret;
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

/// Bound of one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bound of an export, which is as large as the site.
const EXPORT_TIMEOUT: Duration = Duration::from_mins(30);

/// A client with a key.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: Secret,
}

/// The part of a problem document that a person reads.
#[derive(Debug, Deserialize)]
struct Problem {
    code: String,
    detail: String,
    #[serde(default)]
    errors: Vec<Fault>,
}

/// Refuses what would change the meaning of a URL.
fn digits(revision: &str) -> anyhow::Result<&str> {
    let is_hex = |byte: u8| byte.is_ascii_hexdigit();
    if revision.is_empty() || !revision.bytes().all(is_hex) {
        bail!("`{revision}` is not a revision: give its hash, or at least 8 of the first digits");
    }
    Ok(revision)
}

impl Client {
    /// Speaks to the API at `base` with the key in a file.
    pub(crate) fn new(base: &str, key_file: &Path) -> anyhow::Result<Self> {
        let key = std::fs::read_to_string(key_file).with_context(|| {
            format!(
                "cannot read the API key `{}`; name it with `--key-file`, or start `hiendien serve`, which makes the operator's",
                key_file.display()
            )
        })?;
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            key: Secret::new(key.trim()),
        })
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let body = self.answer(request).await?;
        serde_json::from_slice(&body)
            .context("the answer of the API is not what this program expects")
    }

    /// The body of a success; a problem document becomes an error a person can read.
    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Bytes> {
        let response = self.begun(request).await?;
        response
            .bytes()
            .await
            .context("the answer of the API was cut off")
    }

    /// A success whose body is still to come.
    async fn begun(&self, request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let response = request
            .bearer_auth(self.key.expose())
            .send()
            .await
            .with_context(|| {
                format!(
                    "the API at `{}` does not answer: does `hiendien serve` run there?",
                    self.base
                )
            })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response
            .bytes()
            .await
            .context("the answer of the API was cut off")?;
        let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
            bail!("the API answered {status}")
        };
        let faults = hiendien_domain::fault::Faults(problem.errors);
        if faults.0.is_empty() {
            bail!("{} ({status}, `{}`)", problem.detail, problem.code);
        }
        bail!(
            "{} ({status}, `{}`)\n{faults}",
            problem.detail,
            problem.code
        );
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http
            .request(Method::GET, format!("{}{path}", self.base))
    }

    /// Hands a claim in; the key makes a repeated request one claim.
    pub(crate) async fn submit(&self, claim: Vec<u8>) -> anyhow::Result<ClaimAccepted> {
        let request = self
            .http
            .request(Method::POST, format!("{}/v1/claims", self.base))
            .header("idempotency-key", Uuid::now_v7().to_string())
            .header("content-type", "application/json")
            .body(claim);
        self.send(request).await
    }

    pub(crate) async fn presence(&self, which: &str) -> anyhow::Result<PresenceView> {
        let which = hiendien_domain::claim::ascii_name(which).unwrap_or_else(|| which.to_owned());
        self.send(self.get(&format!("/v1/presences/{which}"))).await
    }

    pub(crate) async fn operation(&self, id: OperationId) -> anyhow::Result<OperationView> {
        self.send(self.get(&format!("/v1/operations/{id}"))).await
    }

    pub(crate) async fn retry(&self, id: OperationId) -> anyhow::Result<OperationView> {
        let url = format!("{}/v1/operations/{id}/retry", self.base);
        self.send(self.http.request(Method::POST, url)).await
    }

    /// What waits for a person.
    pub(crate) async fn attention(&self) -> anyhow::Result<Vec<AttentionView>> {
        self.send(self.get("/v1/attention?limit=200")).await
    }

    pub(crate) async fn abandon(&self, id: OperationId) -> anyhow::Result<OperationView> {
        let url = format!("{}/v1/operations/{id}/abandon", self.base);
        let request = self.http.request(Method::POST, url);
        self.send(request.header("idempotency-key", Uuid::now_v7().to_string()))
            .await
    }

    /// Asks a verb of a presence.
    pub(crate) async fn ask(
        &self,
        which: &str,
        verb: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<OperationView> {
        let url = format!("{}/v1/presences/{which}/{verb}", self.base);
        let request = self.http.request(Method::POST, url).json(body);
        self.send(request.header("idempotency-key", Uuid::now_v7().to_string()))
            .await
    }

    /// The path of something of a presence.
    fn presence_url(&self, which: &str, what: &str) -> String {
        let which = hiendien_domain::claim::ascii_name(which).unwrap_or_else(|| which.to_owned());
        format!("{}/v1/presences/{which}/{what}", self.base)
    }

    /// `content` or `content/resume`.
    pub(crate) async fn content(&self, which: &str, what: &str) -> anyhow::Result<Value> {
        self.send(self.http.get(self.presence_url(which, what)))
            .await
    }

    pub(crate) async fn preview(
        &self,
        which: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<PreviewView> {
        let url = self.presence_url(which, "preview");
        self.send(self.http.post(url).json(body)).await
    }

    /// One file of a preview.
    pub(crate) async fn preview_file(
        &self,
        which: &str,
        body: &impl Serialize,
        path: &str,
    ) -> anyhow::Result<Bytes> {
        let url = self.presence_url(which, "preview");
        let url = Url::parse_with_params(&url, [("path", path)])
            .with_context(|| format!("`{url}` is not a URL"))?;
        self.answer(self.http.post(url).json(body)).await
    }

    fn of_presence(which: &str, what: &str) -> String {
        let which = hiendien_domain::claim::ascii_name(which).unwrap_or_else(|| which.to_owned());
        format!("/v1/presences/{which}/{what}")
    }

    pub(crate) async fn revisions(&self, which: &str) -> anyhow::Result<RevisionsView> {
        let path = Self::of_presence(which, "revisions");
        self.send(self.get(&path)).await
    }

    pub(crate) async fn revision_diff(
        &self,
        which: &str,
        from: &str,
        to: &str,
    ) -> anyhow::Result<DiffView> {
        let (from, to) = (digits(from)?, digits(to)?);
        let path = Self::of_presence(which, &format!("revisions/{from}/diff/{to}"));
        self.send(self.get(&path)).await
    }

    pub(crate) async fn verify_revision(
        &self,
        which: &str,
        revision: &str,
    ) -> anyhow::Result<VerifyView> {
        let revision = digits(revision)?;
        let path = Self::of_presence(which, &format!("revisions/{revision}/verify"));
        self.send(self.get(&path)).await
    }

    /// The zip file of a site, as it comes.
    pub(crate) async fn export(
        &self,
        which: &str,
        revision: Option<&str>,
    ) -> anyhow::Result<reqwest::Response> {
        let query = match revision {
            Some(revision) => format!("?revision={}", digits(revision)?),
            None => String::new(),
        };
        let path = Self::of_presence(which, &format!("export{query}"));
        self.begun(self.get(&path).timeout(EXPORT_TIMEOUT)).await
    }

    pub(crate) async fn events(&self, presence: &str, after: i64) -> anyhow::Result<EventPage> {
        self.send(self.get(&format!("/v1/presences/{presence}/events?after={after}")))
            .await
    }

    fn images_path(which: &str) -> String {
        let which = hiendien_domain::claim::ascii_name(which).unwrap_or_else(|| which.to_owned());
        format!("/v1/presences/{which}/images")
    }

    /// Hands an image in, and waits for its picture as long as the API lets it.
    pub(crate) async fn add_image(
        &self,
        which: &str,
        octets: Vec<u8>,
    ) -> anyhow::Result<ImageView> {
        let url = format!("{}{}", self.base, Self::images_path(which));
        let request = self.http.request(Method::POST, url).body(octets);
        self.send(request.header("prefer", "wait=15")).await
    }

    pub(crate) async fn images(&self, which: &str) -> anyhow::Result<ImageList> {
        self.send(self.get(&Self::images_path(which))).await
    }

    pub(crate) async fn image(&self, which: &str, id: &ImageId) -> anyhow::Result<ImageView> {
        self.send(self.get(&format!("{}/{id}", Self::images_path(which))))
            .await
    }

    pub(crate) async fn remove_image(&self, which: &str, id: &ImageId) -> anyhow::Result<()> {
        let url = format!("{}{}/{id}", self.base, Self::images_path(which));
        self.answer(self.http.request(Method::DELETE, url)).await?;
        Ok(())
    }

    /// A name that would change the meaning of the URL must not reach another key.
    fn key_url(&self, name: &str) -> anyhow::Result<String> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_plain) {
            bail!("`{name}` is not the name of a key: use 1 to 64 of a-z, 0-9 and `-`");
        }
        Ok(format!("{}/v1/keys/{name}", self.base))
    }

    pub(crate) async fn put_key(
        &self,
        name: &str,
        registrar: Option<String>,
    ) -> anyhow::Result<KeyView> {
        let request = self.http.request(Method::PUT, self.key_url(name)?);
        self.send(request.json(&NewKey { registrar })).await
    }

    pub(crate) async fn keys(&self) -> anyhow::Result<Vec<KeyView>> {
        self.send(self.get("/v1/keys")).await
    }

    pub(crate) async fn remove_key(&self, name: &str) -> anyhow::Result<()> {
        let request = self.http.request(Method::DELETE, self.key_url(name)?);
        self.answer(request).await?;
        Ok(())
    }

    /// The URL of a webhook, or of all, with whose they are where the key does not tell.
    fn webhook_url(&self, path: &str, registrar: Option<&str>) -> anyhow::Result<String> {
        let whose = match registrar {
            Some(registrar) if is_slug(registrar) => format!("?registrar={registrar}"),
            Some(registrar) => bail!("`{registrar}` is not the name of a registrar"),
            None => String::new(),
        };
        Ok(format!("{}/v1/webhooks{path}{whose}", self.base))
    }

    /// One webhook's path, or that of something of it.
    fn webhook_request(
        &self,
        method: Method,
        name: &str,
        what: &str,
        registrar: Option<&str>,
    ) -> anyhow::Result<RequestBuilder> {
        if !is_slug(name) {
            bail!("`{name}` is not the name of a webhook: use 1 to 64 of a-z, 0-9 and `-`");
        }
        let url = self.webhook_url(&format!("/{name}{what}"), registrar)?;
        Ok(self.http.request(method, url))
    }

    pub(crate) async fn put_webhook(
        &self,
        name: &str,
        registrar: Option<&str>,
        endpoint: &NewEndpoint,
    ) -> anyhow::Result<WebhookView> {
        let request = self.webhook_request(Method::PUT, name, "", registrar)?;
        self.send(request.json(endpoint)).await
    }

    pub(crate) async fn webhooks(
        &self,
        registrar: Option<&str>,
    ) -> anyhow::Result<Vec<WebhookView>> {
        let url = self.webhook_url("", registrar)?;
        self.send(self.http.request(Method::GET, url)).await
    }

    pub(crate) async fn remove_webhook(
        &self,
        name: &str,
        registrar: Option<&str>,
    ) -> anyhow::Result<()> {
        let request = self.webhook_request(Method::DELETE, name, "", registrar)?;
        self.answer(request).await?;
        Ok(())
    }

    pub(crate) async fn rotate_webhook(
        &self,
        name: &str,
        registrar: Option<&str>,
    ) -> anyhow::Result<WebhookView> {
        self.send(self.webhook_request(Method::POST, name, "/rotate", registrar)?)
            .await
    }

    pub(crate) async fn test_webhook(
        &self,
        name: &str,
        registrar: Option<&str>,
    ) -> anyhow::Result<TestView> {
        self.send(self.webhook_request(Method::POST, name, "/test", registrar)?)
            .await
    }

    pub(crate) async fn replay_webhook(
        &self,
        name: &str,
        registrar: Option<&str>,
        after: i64,
    ) -> anyhow::Result<ReplayView> {
        let request = self.webhook_request(Method::POST, name, "/replay", registrar)?;
        self.send(request.json(&Replay { after })).await
    }

    pub(crate) async fn webhook_deliveries(
        &self,
        name: &str,
        registrar: Option<&str>,
        after: i64,
    ) -> anyhow::Result<DeliveryPage> {
        if !is_slug(name) {
            bail!("`{name}` is not the name of a webhook: use 1 to 64 of a-z, 0-9 and `-`");
        }
        let url = self.webhook_url(&format!("/{name}/deliveries"), registrar)?;
        let and = if registrar.is_some() { '&' } else { '?' };
        self.send(self.http.get(format!("{url}{and}after={after}")))
            .await
    }
}
