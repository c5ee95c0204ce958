//! Asking a verb of a presence: what it changes at once, and the operation that makes it so.

use hiendien_domain::content::SiteContent;
use hiendien_domain::ids::{OperationId, PresenceId};
use hiendien_domain::lifecycle::{IllegalTransition, Standing, Transition, Verb};
use hiendien_domain::name::{LocalPart, MailAddress};
use hiendien_domain::site::RevisionHash;
use hiendien_domain::term::TermRules;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ports::PortError;
use crate::presence::{Presence, PresencePlan};
use crate::store::{
    BeginError, Change, Directory, KeptContent, Lifecycle, NewOperation, RequestKey,
};
use crate::verbs;

/// How often an ask is worked out again when the presence changes under it.
const STALE_MAX: usize = 5;
/// Mailboxes of one presence.
pub const MAILBOXES_MAX: usize = 5;

/// A verb with what it is asked with. Kept with the operation, without the content: that is in the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    Publish {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        template: Option<String>,
        #[serde(skip)]
        content: Option<Box<NewContent>>,
    },
    Rollback {
        revision: RevisionHash,
    },
    Suspend {
        /// Why, in the words the owner gets to read.
        reason: String,
    },
    Resume,
    Expire,
    Renew {
        /// The end of the new term; `None` renews the certificate alone.
        term_ends_at: Option<Timestamp>,
    },
    Transfer {
        /// The registrar that holds it from now on, with that registrar's reference.
        registrar: Option<(String, String)>,
        registrant: Option<Registrant>,
    },
    RenameMailbox {
        from: LocalPart,
        to: LocalPart,
    },
    ResetPassword {
        mailbox: LocalPart,
    },
    Repair,
    Release,
    Purge,
}

/// A new page, and what it is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct NewContent {
    pub page: SiteContent,
    pub kept: KeptContent,
}

/// Who holds the presence from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registrant {
    pub owner_name: String,
    pub contact_email: MailAddress,
}

impl Request {
    pub fn verb(&self) -> Verb {
        match self {
            Self::Publish { .. } => Verb::Publish,
            Self::Rollback { .. } => Verb::Rollback,
            Self::Suspend { .. } => Verb::Suspend,
            Self::Resume => Verb::Resume,
            Self::Expire => Verb::Expire,
            Self::Renew { .. } => Verb::Renew,
            Self::Transfer { .. } => Verb::Transfer,
            Self::RenameMailbox { .. } => Verb::RenameMailbox,
            Self::ResetPassword { .. } => Verb::ResetPassword,
            Self::Repair => Verb::Repair,
            Self::Release => Verb::Release,
            Self::Purge => Verb::Purge,
        }
    }
}

/// What became of an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Begun(OperationId),
    /// It is so already, or is being made so by this operation, the last one.
    Already(OperationId),
}

/// Why a verb was not begun.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("there is no such presence")]
    Unknown,
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// What was asked with cannot be: `field` says where.
    #[error("`{field}`: {problem}")]
    Invalid {
        field: &'static str,
        problem: String,
    },
    #[error("operation `{operation}` ({verb}) is under way: wait for it, or abandon it")]
    UnderWay { operation: OperationId, verb: Verb },
    #[error("could not begin the operation")]
    Store(#[source] PortError),
}

fn invalid(field: &'static str, problem: impl Into<String>) -> AskError {
    AskError::Invalid {
        field,
        problem: problem.into(),
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// An API key's name, `clock` or `reconciler`.
    pub name: &'a str,
    /// The key of the request, where it came with one.
    pub key: Option<&'a RequestKey>,
}

impl<'a> By<'a> {
    /// Someone whose request has no key.
    pub fn name(name: &'a str) -> Self {
        Self { name, key: None }
    }
}

/// Begins the operation that makes it so. What is so already begins nothing and succeeds.
pub async fn ask(
    lifecycle: &dyn Lifecycle,
    directory: &dyn Directory,
    rules: &TermRules,
    presence: PresenceId,
    request: &Request,
    asked: By<'_>,
    now: Timestamp,
) -> Result<Asked, AskError> {
    for _ in 0..STALE_MAX {
        let found = directory
            .presence(presence)
            .await
            .map_err(AskError::Store)?;
        let found = found.ok_or(AskError::Unknown)?;
        let asked = ask_as_seen(lifecycle, directory, rules, &found, request, asked, now).await?;
        if let Some(asked) = asked {
            return Ok(asked);
        }
    }
    Err(AskError::Store(PortError::transient(
        "beginning the operation",
        "the presence keeps changing",
    )))
}

/// Like [`ask`], for who decided on the presence as it was `seen`: `None`, and nothing begun, where an
/// operation has changed it since.
pub async fn ask_as_seen(
    lifecycle: &dyn Lifecycle,
    directory: &dyn Directory,
    rules: &TermRules,
    seen: &Presence,
    request: &Request,
    asked: By<'_>,
    now: Timestamp,
) -> Result<Option<Asked>, AskError> {
    let standing = match seen.standing.after(request.verb())? {
        Transition::To(standing) => standing,
        Transition::Already => return Ok(Some(Asked::Already(seen.operation))),
    };
    if let Request::Rollback { revision } = request
        && seen.revision.as_ref() == Some(revision)
        && has_ended(directory, seen.operation).await?
    {
        return Ok(Some(Asked::Already(seen.operation)));
    }
    let change = change(seen, request, rules, now)?;
    let input = serde_json::to_value(request).map_err(|error| {
        AskError::Store(PortError::misconfigured(
            "writing down what was asked",
            error,
        ))
    })?;
    let new = NewOperation {
        operation: OperationId::new(),
        presence: seen.id,
        verb: request.verb(),
        seen: seen.operation,
        standing,
        change,
        input,
        asked_by: asked.name.to_owned(),
        asked_with: asked.key.cloned(),
        steps: verbs::step_names(request.verb()),
    };
    let operation = new.operation;
    match lifecycle.begin(new, now).await {
        Ok(()) => Ok(Some(Asked::Begun(operation))),
        Err(BeginError::Stale) => Ok(None),
        Err(BeginError::Made(operation)) => Ok(Some(Asked::Begun(operation))),
        Err(BeginError::Unknown) => Err(AskError::Unknown),
        Err(BeginError::UnderWay { operation, verb }) => {
            Err(AskError::UnderWay { operation, verb })
        }
        Err(BeginError::Store(error)) => Err(AskError::Store(error)),
    }
}

async fn has_ended(directory: &dyn Directory, operation: OperationId) -> Result<bool, AskError> {
    let found = directory.operation(operation).await;
    let found = found.map_err(AskError::Store)?;
    Ok(found.is_some_and(|operation| operation.state.is_final()))
}

/// What the verb changes at once.
fn change(
    presence: &Presence,
    request: &Request,
    rules: &TermRules,
    now: Timestamp,
) -> Result<Change, AskError> {
    let mut change = Change::default();
    let with_plan = |edit: &dyn Fn(&mut PresencePlan)| {
        let mut plan = presence.plan.clone();
        edit(&mut plan);
        Some(plan)
    };
    match request {
        Request::Publish { template, content } => {
            if template.is_none() && content.is_none() {
                return Err(invalid(
                    "content",
                    "give new content, another template, or both",
                ));
            }
            let same_kind = content.as_deref().is_none_or(|content| {
                std::mem::discriminant(&content.page)
                    == std::mem::discriminant(&presence.plan.content)
            });
            if !same_kind {
                return Err(invalid("content", "its kind must stay what it is"));
            }
            change.plan = with_plan(&|plan| {
                if let Some(template) = template {
                    plan.template.clone_from(template);
                }
                if let Some(content) = content {
                    let mut page = content.page.clone();
                    page.keep_identity(plan.content.site());
                    plan.content = page;
                }
            });
            change.content = content.as_ref().map(|content| content.kept.clone());
            let known = presence.plan.content_risk();
            let risk = change.plan.as_ref().map(PresencePlan::content_risk);
            change.held_for = risk.and_then(|risk| risk.beyond(&known).hold());
            change.touched_at = Some(now);
        }
        Request::Renew {
            term_ends_at: Some(until),
        } => {
            let ends_at = presence.life.term_ends_at;
            if ends_at.is_some_and(|ends_at| *until < ends_at) {
                return Err(invalid(
                    "term_ends_at",
                    "the new term ends before the present one",
                ));
            }
            if *until <= now {
                return Err(invalid("term_ends_at", "the new term has ended already"));
            }
            if let (Standing::Expired, Some(ends_at)) = (presence.standing, ends_at) {
                let last = rules.renewable_until(ends_at);
                if now > last {
                    return Err(invalid(
                        "term_ends_at",
                        format!(
                            "the term could be renewed until {last}: the name is being withdrawn"
                        ),
                    ));
                }
            }
            change.term_ends_at = Some(*until);
        }
        Request::Renew { term_ends_at: None } if presence.standing == Standing::Expired => {
            return Err(invalid(
                "term_ends_at",
                "the term has ended: tell the end of the new one",
            ));
        }
        Request::Transfer {
            registrar,
            registrant,
        } => {
            if registrar.is_none() && registrant.is_none() {
                return Err(invalid(
                    "registrant",
                    "name a new registrant, a new registrar, or both",
                ));
            }
            change.registrar.clone_from(registrar);
            if let Some(registrant) = registrant {
                change.plan = with_plan(&|plan| {
                    plan.owner_name.clone_from(&registrant.owner_name);
                    plan.contact_email.clone_from(&registrant.contact_email);
                });
            }
        }
        Request::RenameMailbox { from, to } => {
            let mailboxes = &presence.plan.mailboxes;
            if !mailboxes.contains(from) {
                return Err(invalid("from", "there is no such mailbox"));
            }
            if mailboxes.contains(to) {
                return Err(invalid("to", "there is a mailbox of this name already"));
            }
            change.plan = with_plan(&|plan| {
                for mailbox in plan.mailboxes.iter_mut().filter(|mailbox| *mailbox == from) {
                    mailbox.clone_from(to);
                }
                let address = plan.mailboxes[0].at(&plan.name);
                plan.content.site_mut().email = address;
            });
        }
        Request::ResetPassword { mailbox } => {
            if !presence.plan.mailboxes.contains(mailbox) {
                return Err(invalid("mailbox", "there is no such mailbox"));
            }
        }
        Request::Release => change.ended_at = Some(now),
        Request::Suspend { reason } if reason.trim().is_empty() => {
            return Err(invalid("reason", "say why: the owner gets to read it"));
        }
        // Content and template stay what they are: the next `publish` builds from them.
        Request::Rollback { .. } => change.touched_at = Some(now),
        Request::Suspend { .. }
        | Request::Resume
        | Request::Expire
        | Request::Renew { .. }
        | Request::Repair
        | Request::Purge => {}
    }
    Ok(change)
}
