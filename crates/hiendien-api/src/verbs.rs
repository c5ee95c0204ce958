//! Verbs asked of a presence. Each answers 202 with the operation that makes it so, or 200 with the
//! last one where it is so already.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path as AxumPath, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use hiendien_domain::ids::OperationId;
use hiendien_domain::lifecycle::Verb;
use hiendien_domain::name::{LocalPart, MailAddress, is_slug};
use hiendien_engine::presence::{Presence, PresencePlan};
use hiendien_engine::request::{AskError, Asked, By, Registrant, Request, ask};
use hiendien_engine::store::{Abandoning, Decision, RequestKey};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::auth::Caller;
use crate::claims::checked;
use crate::content::{self, sources_of};
use crate::idempotent::{Answer, once};
use crate::operations::seen_operation;
use crate::presences::seen_presence;
use crate::request::{Path, whole};
use crate::revisions::seen_revision;
use crate::wire::OperationView;
use crate::{ApiState, Problem};

/// Longest reason of a suspension, characters.
const REASON_MAX: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    /// A directory under the site templates.
    template: Option<String>,
    /// A document, `content/v1`.
    content: Option<Box<RawValue>>,
    /// The claim again, where its facts have changed; name, programme and subject stay.
    claim: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    /// Its hash, or enough of the first digits.
    revision: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suspend {
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Renew {
    term_ends_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    registrar: Option<NewRegistrar>,
    registrant: Option<NewRegistrant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRegistrar {
    name: String,
    reference: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRegistrant {
    owner_name: String,
    contact_email: MailAddress,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenameMailbox {
    from: LocalPart,
    to: LocalPart,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetPassword {
    mailbox: LocalPart,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A decision on a name that is held back.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    pub decision: ReviewDecision,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewDecision {
    Approve,
    Refuse,
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail)
}

/// An empty body is an empty object.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.trim_ascii().is_empty() {
        b"{}"
    } else {
        body
    };
    serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the body is not what this verb takes: {error}")))
}

/// Asks the verb that the path names.
pub(crate) async fn ask_verb(
    State(state): State<ApiState>,
    caller: Caller,
    uri: Uri,
    path: Result<AxumPath<(String, String)>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let not_found = |detail: String| Problem::new(StatusCode::NOT_FOUND, "not_found", detail);
    let AxumPath((which, verb)) =
        path.map_err(|_| not_found("a part of the path is not UTF-8".to_owned()))?;
    let verb: Verb = verb
        .replace('-', "_")
        .parse()
        .map_err(|_| not_found(format!("there is no verb `{verb}`: see docs/api.md")))?;
    let body = whole(body)?;
    let presence = seen_presence(&state, &caller, &which).await?;
    let work = async |asked_with: RequestKey| {
        let request = request(&state, &caller, &presence, verb, &body).await?;
        let now = state.clock.now();
        let asked = ask(
            &*state.lifecycle,
            &*state.directory,
            &state.term,
            presence.id,
            &request,
            By {
                name: &caller.0.name,
                key: Some(&asked_with),
            },
            now,
        )
        .await?;
        let (status, operation) = match asked {
            Asked::Begun(operation) => (StatusCode::ACCEPTED, operation),
            Asked::Already(operation) => (StatusCode::OK, operation),
        };
        tracing::info!(presence.id = %presence.id, operation.id = %operation, %verb, by = caller.0.name, "verb asked");
        answer(&state, &caller, status, operation).await
    };
    once(&state, &caller, &headers, uri.path(), &body, work).await
}

async fn answer(
    state: &ApiState,
    caller: &Caller,
    status: StatusCode,
    operation: OperationId,
) -> Result<Answer, Problem> {
    let found = seen_operation(state, caller, &operation.to_string()).await?;
    Ok(Answer {
        status,
        body: json!(OperationView::of(found, caller)).to_string(),
    })
}

/// What the verb is asked with, checked.
async fn request(
    state: &ApiState,
    caller: &Caller,
    presence: &Presence,
    verb: Verb,
    body: &Bytes,
) -> Result<Request, Problem> {
    Ok(match verb {
        Verb::Provision => return Err(invalid("a presence is provisioned by its claim")),
        Verb::Expire => return Err(invalid("the clock alone expires a term")),
        Verb::Publish => publish(state, caller, presence, read(body)?).await?,
        Verb::Rollback => {
            let Rollback { revision } = read(body)?;
            let revision = seen_revision(state, presence.id, &revision).await?;
            Request::Rollback { revision }
        }
        Verb::Suspend => {
            let Suspend { reason } = read(body)?;
            if reason.chars().count() > REASON_MAX {
                return Err(invalid(format!(
                    "`reason` is longer than {REASON_MAX} characters"
                )));
            }
            Request::Suspend { reason }
        }
        Verb::Resume => {
            let Nothing {} = read(body)?;
            Request::Resume
        }
        Verb::Renew => {
            let Renew { term_ends_at } = read(body)?;
            Request::Renew { term_ends_at }
        }
        Verb::Transfer => transfer(caller, read(body)?)?,
        Verb::RenameMailbox => {
            let RenameMailbox { from, to } = read(body)?;
            if hiendien_domain::claim::reserved_local_parts()
                .iter()
                .any(|part| part == to.as_str())
            {
                return Err(invalid(format!("`to`: `{to}` belongs to the platform")));
            }
            Request::RenameMailbox { from, to }
        }
        Verb::ResetPassword => {
            let ResetPassword { mailbox } = read(body)?;
            Request::ResetPassword { mailbox }
        }
        Verb::Repair => {
            caller.must_be_operator("repair presences")?;
            Request::Repair
        }
        Verb::Release => {
            let Nothing {} = read(body)?;
            Request::Release
        }
        Verb::Purge => {
            caller.must_be_operator("purge before the keeping period has ended")?;
            Request::Purge
        }
    })
}

/// A document says what is shown, over what the claim gives; a claim that comes anew changes what it gives.
async fn publish(
    state: &ApiState,
    caller: &Caller,
    presence: &Presence,
    publish: Publish,
) -> Result<Request, Problem> {
    let plan = &presence.plan;
    let mut template = publish.template;
    let mut content = None;
    if publish.content.is_some() || publish.claim.is_some() {
        let mut sources = sources_of(state, presence).await?;
        if let Some(claim) = &publish.claim {
            let claim = Bytes::copy_from_slice(claim.get().as_bytes());
            let checked = checked(state, caller, &claim).await?;
            let claim = &checked.claim;
            if *claim.domain() != plan.name || claim.programme() != plan.programme {
                return Err(invalid(format!(
                    "`claim`: its name and programme must be those of `{}`",
                    plan.name
                )));
            }
            template = template.or_else(|| Some(claim.template().to_owned()));
            sources = sources.with_facts(claim.facts(&state.platform));
        }
        let document = match &publish.content {
            Some(document) => Some(document.get().to_owned()),
            None => sources
                .document
                .as_ref()
                .map(|document| document.expose().to_owned()),
        };
        let sources = Arc::new(sources);
        content = Some(Box::new(match document {
            Some(document) => {
                let page = plan.content.clone();
                let checked = content::checked(Arc::clone(&sources), document.into(), page).await?;
                sources.publication(&checked)
            }
            None => sources.publication_of_facts(),
        }));
    }
    if let Some(template) = &template {
        must_have_template(state, plan, template).await?;
    }
    Ok(Request::Publish { template, content })
}

/// Refuses a template that is not there or does not show what the presence has.
pub(crate) async fn must_have_template(
    state: &ApiState,
    plan: &PresencePlan,
    template: &str,
) -> Result<(), Problem> {
    let root = state.templates.clone();
    let asked = json!({ "template": template, "programme": plan.programme }).to_string();
    let fault =
        tokio::task::spawn_blocking(move || crate::template::fault(&root, asked.as_bytes()));
    if let Ok(Some(fault)) = fault.await {
        return Err(invalid(format!("`template`: {}", fault.en)));
    }
    Ok(())
}

fn transfer(caller: &Caller, transfer: Transfer) -> Result<Request, Problem> {
    if let Some(registrar) = &transfer.registrar {
        caller.must_be_operator("move a presence to another registrar")?;
        if !is_slug(&registrar.name) {
            return Err(invalid(
                "`registrar.name` is not 1 to 64 of a-z, 0-9 and `-`",
            ));
        }
        let length = registrar.reference.len();
        if !(1..=128).contains(&length)
            || !registrar
                .reference
                .bytes()
                .all(|byte| byte.is_ascii_graphic())
        {
            return Err(invalid(
                "`registrar.reference` is not 1 to 128 printable ASCII characters",
            ));
        }
    }
    let registrant = transfer
        .registrant
        .map(|new| {
            let owner_name = new.owner_name.trim().to_owned();
            let length = owner_name.chars().count();
            if !(2..=200).contains(&length) || owner_name.chars().any(char::is_control) {
                return Err(invalid("`registrant.owner_name` needs 2 to 200 characters"));
            }
            Ok(Registrant {
                owner_name,
                contact_email: new.contact_email,
            })
        })
        .transpose()?;
    Ok(Request::Transfer {
        registrar: transfer.registrar.map(|new| (new.name, new.reference)),
        registrant,
    })
}

/// Turns an operation round: what it did is undone.
pub(crate) async fn abandon(
    State(state): State<ApiState>,
    caller: Caller,
    uri: Uri,
    Path(which): Path,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let operation = seen_operation(&state, &caller, &which).await?;
    let work = async |_: RequestKey| {
        let now = state.clock.now();
        match state.lifecycle.abandon(operation.id, now).await? {
            Abandoning::Begun => answer(&state, &caller, StatusCode::ACCEPTED, operation.id).await,
            Abandoning::Already => answer(&state, &caller, StatusCode::OK, operation.id).await,
            Abandoning::Refused => {
                let detail = if operation.verb.can_be_undone() {
                    "the operation runs at the moment or has succeeded: only one that waits can be abandoned"
                } else {
                    "what is given up cannot be brought back: mend what the step tells, then retry"
                };
                Err(Problem::new(
                    StatusCode::CONFLICT,
                    "not_abandonable",
                    detail,
                ))
            }
        }
    };
    once(&state, &caller, &headers, uri.path(), b"", work).await
}

/// Decides on a name that is held back.
pub(crate) async fn review(
    State(state): State<ApiState>,
    caller: Caller,
    uri: Uri,
    Path(which): Path,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    caller.must_be_operator("decide on held names")?;
    let body = whole(body)?;
    let presence = seen_presence(&state, &caller, &which).await?;
    let work = async |_: RequestKey| {
        let Review { decision } = read(&body)?;
        let decision = match decision {
            ReviewDecision::Approve => Decision::Approve,
            ReviewDecision::Refuse => Decision::Refuse,
        };
        let now = state.clock.now();
        if !state.lifecycle.decide(presence.id, decision, now).await? {
            let detail = "the name is not held back, or its operation runs this moment";
            return Err(Problem::new(StatusCode::CONFLICT, "not_held", detail));
        }
        answer(&state, &caller, StatusCode::ACCEPTED, presence.operation).await
    };
    once(&state, &caller, &headers, uri.path(), &body, work).await
}

/// Notes that the registrant's papers are complete.
pub(crate) async fn complete_dossier(
    State(state): State<ApiState>,
    caller: Caller,
    uri: Uri,
    Path(which): Path,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let presence = seen_presence(&state, &caller, &which).await?;
    let work = async |_: RequestKey| {
        let now = state.clock.now();
        state.lifecycle.complete_dossier(presence.id, now).await?;
        answer(&state, &caller, StatusCode::OK, presence.operation).await
    };
    once(&state, &caller, &headers, uri.path(), b"", work).await
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        let detail = error.to_string();
        match error {
            AskError::Unknown => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            AskError::Illegal(_) => Self::new(StatusCode::CONFLICT, "not_now", detail),
            AskError::Invalid { .. } => invalid(detail),
            AskError::UnderWay { .. } => {
                Self::new(StatusCode::CONFLICT, "operation_under_way", detail).retryable()
            }
            AskError::Store(error) => error.into(),
        }
    }
}
