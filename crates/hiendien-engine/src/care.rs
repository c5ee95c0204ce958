//! The life of a presence by the clock: reminders, the end of its term, withdrawal, purge, fresh
//! certificates, missing papers, dormancy, and a look at the servers now and then.
//!
//! [`next`] decides, without asking anyone; [`keep`] looks at the presences whose moment has come
//! and does what was decided, by asking verbs like everyone else. A crash between the two is made
//! good by the next look: every decision can be made twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hiendien_domain::lifecycle::{Plane, PlaneState, Standing};
use hiendien_domain::term::TermRules;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::operation::PlaneChange;
use crate::ports::{ErrorChain, Keeping, PortError, Tidied};
use crate::presence::Presence;
use crate::reconcile::{Brake, Drift, observe};
use crate::request::{AskError, By, Request, ask_as_seen};
use crate::step::{Notice, Ports};
use crate::store::Directory;
use crate::worker::{plane_change, resting_state};

/// Presences looked at in one round.
const ROUND_MAX: usize = 64;
/// Looked at again this soon where an operation is in the way, or something failed.
const AGAIN_AFTER: Duration = Duration::from_mins(1);
/// How long no other process looks at what was handed out here; longer than a look lasts.
const HOLD: Duration = Duration::from_mins(5);
/// How long an idle round waits for the next.
pub const ROUND_EVERY: Duration = Duration::from_secs(5);
/// Looks at the servers at once.
const OBSERVED_AT_ONCE: usize = 8;

/// Bound of taking away from one presence what is over.
const TIDY_TIMEOUT: Duration = Duration::from_secs(20);
/// Each presence is looked through once in so many days, whatever it has.
const THOROUGH_DAYS: u128 = 7;
/// Nobody works on one image as long: what is older is on its way nowhere.
const LEFT_BEHIND: SignedDuration = SignedDuration::from_hours(1);

/// What the clock has to do with a presence.
#[derive(Debug, Clone, PartialEq)]
pub enum Care {
    Ask(Request),
    /// Write to the owner, once for this key.
    Remind {
        key: String,
        notice: Notice,
    },
    /// Nothing is due but a look at the servers.
    Observe,
    /// Nothing is due.
    Nothing,
}

/// What is due now, and when to look again after it; `None` when there is nothing left to look at.
pub fn next(presence: &Presence, rules: &TermRules, now: Timestamp) -> (Care, Option<Timestamp>) {
    let (id, life) = (presence.id, &presence.life);
    let again = Some(now.saturating_add(AGAIN_AFTER).unwrap_or(now));
    match presence.standing {
        Standing::Purged => (Care::Nothing, None),
        Standing::Released | Standing::Abandoned => {
            let ended_at = life.ended_at.unwrap_or(presence.created_at);
            match rules.purged_at(id, ended_at) {
                at if at <= now => (Care::Ask(Request::Purge), again),
                at => (Care::Nothing, Some(at)),
            }
        }
        // Its own operation cares for it; papers can be missing already.
        Standing::Provisioned => (Care::Nothing, Some(rules.observed_after(id, now))),
        Standing::Serving | Standing::Suspended | Standing::Expired => {
            let due = [
                of_term(presence, rules),
                of_dossier(presence, rules, now),
                of_dormancy(presence, rules),
            ];
            let look = rules.observed_after(id, now);
            let mut next = look;
            for (at, care) in due.into_iter().flatten() {
                if at <= now {
                    // A letter changes nothing that is to be waited for: what else is due comes at once.
                    let next = match care {
                        Care::Remind { .. } => Some(now),
                        _ => again,
                    };
                    return (care, next);
                }
                next = next.min(at);
            }
            (Care::Observe, Some(next))
        }
    }
}

/// The next moment of the term, with what is due then.
fn of_term(presence: &Presence, rules: &TermRules) -> Option<(Timestamp, Care)> {
    let id = presence.id;
    let ends_at = presence.life.term_ends_at?;
    if presence.standing == Standing::Expired || presence.standing == Standing::Suspended {
        return Some((rules.withdrawn_at(id, ends_at), Care::Ask(Request::Release)));
    }
    let mut days = rules.reminder_days.clone();
    days.sort_unstable_by(|left, right| right.cmp(left));
    let key = |days: u16| format!("term-{ends_at}-{days}");
    // The last reminder that was sent, and all before it, are over; so are all but the last that are due.
    let sent = days
        .iter()
        .position(|days| presence.life.was_reminded(&key(*days)));
    let expires_at = rules.expires_at(id, ends_at);
    let born = presence.live_at.unwrap_or(presence.created_at);
    let left = days.iter().skip(sent.map_or(0, |sent| sent + 1));
    let reminder = left
        .map(|days| (rules.reminded_at(id, ends_at, *days), *days))
        // One that was due before the name was live comes too late to say anything new.
        .find(|(at, _)| *at >= born);
    match reminder {
        Some((at, days)) if at < expires_at => Some((
            at,
            Care::Remind {
                key: key(days),
                notice: Notice::TermEnds { at: ends_at },
            },
        )),
        _ => Some((expires_at, Care::Ask(Request::Expire))),
    }
}

/// What papers are missing for. Who has them little time is told as soon as the presence is live, and who has none
/// left is not told to hurry.
fn of_dossier(presence: &Presence, rules: &TermRules, now: Timestamp) -> Option<(Timestamp, Care)> {
    let by = presence.life.dossier_due_at?;
    if presence.standing != Standing::Serving {
        return None;
    }
    let key = format!("dossier-{by}");
    if now < by && !presence.life.was_reminded(&key) {
        let at = rules.reminded_at(presence.id, by, rules.dossier_reminder_days);
        let notice = Notice::DossierDue { by };
        let live_at = presence.live_at.unwrap_or(presence.created_at);
        return Some((at.max(live_at).min(by), Care::Remind { key, notice }));
    }
    let reason = "hồ sơ đăng ký tên miền chưa đầy đủ; hãy bổ sung tại nhà đăng ký".to_owned();
    Some((by, Care::Ask(Request::Suspend { reason })))
}

fn of_dormancy(presence: &Presence, rules: &TermRules) -> Option<(Timestamp, Care)> {
    let life = &presence.life;
    if presence.standing != Standing::Serving || life.touched_at.is_some() {
        return None;
    }
    let key = "dormant";
    // A reminder of the term says the same and more.
    if life.was_reminded_of(key) || life.was_reminded_of("term") {
        return None;
    }
    let at = rules.dormant_at(presence.id, presence.live_at?);
    let notice = Notice::Dormant;
    Some((
        at,
        Care::Remind {
            key: key.to_owned(),
            notice,
        },
    ))
}

/// Looks after all presences until `stopping` turns true; an idle round waits for `every`. May run in
/// several processes at once.
pub async fn keep(
    ports: Arc<Ports>,
    directory: Arc<dyn Directory>,
    mut stopping: watch::Receiver<bool>,
    every: Duration,
) {
    let mut brake = Brake::default();
    while !*stopping.borrow() {
        let now = ports.clock.now();
        let due = ports.lifecycle.take_for_care(now, HOLD, ROUND_MAX).await;
        let due = due.unwrap_or_else(|error| {
            warn!(error = %ErrorChain(&error), "could not look for presences to care for");
            Vec::new()
        });
        let full = due.len() == ROUND_MAX;
        for few in due.chunks(OBSERVED_AT_ONCE) {
            let may_repair = !brake.holds();
            let looks = few
                .iter()
                .map(|presence| care_for(&ports, &*directory, presence, now, may_repair));
            for observed in futures_util::future::join_all(looks)
                .await
                .into_iter()
                .flatten()
            {
                brake.note(observed);
            }
            if brake.holds() {
                error!(
                    "one presence after another is not as it should be: a server of ours is at fault, no more are repaired for now"
                );
            }
        }
        if !full || brake.holds() {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                _ = stopping.changed() => {}
            }
        }
        brake.release();
    }
}

/// Does what is due for one presence, read at `now` or later: a deadline that has passed by then was
/// missed, whatever is brought in after. Tells whether its servers were found sound, where they were asked.
async fn care_for(
    ports: &Ports,
    directory: &dyn Directory,
    presence: &Presence,
    now: Timestamp,
    may_repair: bool,
) -> Option<bool> {
    let seen = presence.life.care_at?;
    let rules = &ports.settings.term;
    let (care, next) = next(presence, rules, now);
    let again = now.saturating_add(AGAIN_AFTER).ok();
    let mut sound = None;
    let (next, reminded) = match care {
        Care::Nothing => (next, None),
        Care::Ask(request) => match ask_for(ports, directory, presence, &request, "clock").await {
            Ok(()) => (next, None),
            Err(error) => {
                warn!(presence.id = %presence.id, error = %ErrorChain(&error), "the clock could not ask `{}`, will again", request.verb());
                (again, None)
            }
        },
        Care::Remind { key, notice } => match remind(ports, presence, &key, &notice).await {
            Ok(()) => (next, Some(presence.life.reminded_too(&key))),
            Err(error) => {
                warn!(presence.id = %presence.id, error = %ErrorChain(&error), "could not remind the owner, will again");
                (again, None)
            }
        },
        Care::Observe => match look(ports, directory, presence, may_repair, now).await {
            Ok(Looked { is_sound, next_at }) => {
                sound = Some(is_sound);
                (next.into_iter().chain(next_at).min(), None)
            }
            Err(error) => {
                warn!(presence.id = %presence.id, error = %ErrorChain(&error), "could not look at the servers, will again");
                (again, None)
            }
        },
    };
    let cared = ports
        .lifecycle
        .cared(presence.id, seen, next, reminded)
        .await;
    if let Err(error) = cared {
        warn!(presence.id = %presence.id, error = %ErrorChain(&error), "could not note that a presence was cared for");
    }
    sound
}

/// An operation under way, or one that has changed the presence since it was read, is no failure: the
/// next look finds what came of it.
async fn ask_for(
    ports: &Ports,
    directory: &dyn Directory,
    presence: &Presence,
    request: &Request,
    asked_by: &str,
) -> Result<(), AskError> {
    let (lifecycle, rules) = (&*ports.lifecycle, &ports.settings.term);
    let now = ports.clock.now();
    match ask_as_seen(
        lifecycle,
        directory,
        rules,
        presence,
        request,
        By::name(asked_by),
        now,
    )
    .await
    {
        Ok(_) | Err(AskError::UnderWay { .. } | AskError::Illegal(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn remind(
    ports: &Ports,
    presence: &Presence,
    key: &str,
    notice: &Notice,
) -> Result<(), PortError> {
    // The same letter however often it is sent: its identifier is made of what it is about.
    let about: String = key
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let letter = ports
        .letters
        .notice(presence, &format!("{about}-{}", presence.id), notice);
    ports.messages.send(&letter).await?;
    let detail = json!({ "reminder": key });
    let now = ports.clock.now();
    ports
        .lifecycle
        .note(presence.id, "presence.reminded", detail, now)
        .await
}

/// Takes away what is over. No operation is under way; one that begins now makes what it needs young
/// first. A failure costs space alone, and the next look tries again.
async fn tidy(ports: &Ports, presence: &Presence, now: Timestamp) {
    let tidied = async {
        let revisions = tidy_revisions(ports, presence, now).await?;
        let pictures = tidy_pictures(ports, presence, now).await?;
        Ok::<_, PortError>((revisions, pictures))
    };
    match tokio::time::timeout(TIDY_TIMEOUT, tidied).await {
        Ok(Ok((revisions, 0))) if revisions == Tidied::default() => {}
        Ok(Ok((tidied, pictures))) => info!(
            presence.id = %presence.id,
            revisions = tidied.revisions,
            blobs = tidied.blobs,
            pictures,
            "what is over is taken away"
        ),
        Ok(Err(error)) => {
            warn!(presence.id = %presence.id, error = %ErrorChain(&error), "could not take away what is over, will again");
        }
        Err(_) => {
            warn!(presence.id = %presence.id, "taking away what is over took too long, will again");
        }
    }
}

async fn tidy_revisions(
    ports: &Ports,
    presence: &Presence,
    now: Timestamp,
) -> Result<Tidied, PortError> {
    let rules = &ports.settings.revisions;
    // Most presences have few, and nothing to be taken away from.
    let kept = ports.sites.revisions(presence.id).await?.len();
    if kept <= rules.last && !is_thorough(presence, now) {
        return Ok(Tidied::default());
    }
    let keeping = Keeping {
        rules: rules.clone(),
        named: presence.revision.iter().cloned().collect(),
        now,
    };
    ports.shelf.tidy(presence.id, &keeping).await
}

/// An upload may tell where it was taken, so it stays no longer than its picture needs it.
async fn tidy_pictures(
    ports: &Ports,
    presence: &Presence,
    now: Timestamp,
) -> Result<usize, PortError> {
    let images = ports.pictures.images(presence.id).await?;
    if images.is_empty() && !is_thorough(presence, now) {
        return Ok(0);
    }
    let before = now.saturating_sub(LEFT_BEHIND).unwrap_or(now);
    ports.picture_files.tidy(presence.id, &images, before).await
}

/// Whether this is the presence's day, one in [`THOROUGH_DAYS`], to be looked through whatever it has:
/// for what a crash has left, and for revisions of a former format.
fn is_thorough(presence: &Presence, now: Timestamp) -> bool {
    let day = now.as_second().div_euclid(24 * 60 * 60);
    let own = presence.id.as_uuid().as_u128() % THOROUGH_DAYS;
    u128::try_from(day).unwrap_or_default() % THOROUGH_DAYS == own
}

/// What drift makes of planes: each with all that was found of it.
fn degraded(drift: &[Drift]) -> Vec<PlaneChange> {
    let mut found: BTreeMap<Plane, Vec<&str>> = BTreeMap::new();
    for drift in drift {
        found.entry(drift.plane).or_default().push(&drift.found);
    }
    found
        .into_iter()
        .map(|(plane, found)| PlaneChange {
            reason: Some(found.join("; ")),
            ..plane_change(plane, PlaneState::Degraded)
        })
        .collect()
}

struct Looked {
    is_sound: bool,
    /// When its certificate is to be renewed.
    next_at: Option<Timestamp>,
}

/// Looks at the servers, and asks for what is missing.
async fn look(
    ports: &Ports,
    directory: &dyn Directory,
    presence: &Presence,
    may_repair: bool,
    now: Timestamp,
) -> Result<Looked, AskError> {
    // An operation under way changes the planes this moment: what is seen now means nothing.
    let operation = directory.operation(presence.operation).await;
    let operation = operation.map_err(AskError::Store)?;
    if operation.is_none_or(|operation| !operation.state.is_final()) {
        let next_at = now.saturating_add(AGAIN_AFTER).ok();
        return Ok(Looked {
            is_sound: true,
            next_at,
        });
    }
    let drift = observe(ports, presence).await;
    if !drift.is_empty() {
        info!(presence.id = %presence.id, drift = drift.len(), "the servers do not show what they should");
        let noted = ports
            .lifecycle
            .observed(presence, degraded(&drift), Some(json!(drift)), now);
        noted.await.map_err(AskError::Store)?;
        if may_repair {
            ask_for(ports, directory, presence, &Request::Repair, "reconciler").await?;
        }
        return Ok(Looked {
            is_sound: false,
            next_at: now.saturating_add(AGAIN_AFTER).ok(),
        });
    }
    let recovered: Vec<PlaneChange> = presence
        .planes
        .iter()
        .filter(|plane| plane.state == PlaneState::Degraded)
        .map(|plane| plane_change(plane.plane, resting_state(presence.standing, plane.plane)))
        .collect();
    if !recovered.is_empty() {
        let noted = ports.lifecycle.observed(presence, recovered, None, now);
        noted.await.map_err(AskError::Store)?;
    }
    tidy(ports, presence, now).await;
    let renewal_at = ports.certificates.renewal_at(presence.id).await;
    let renewal_at = renewal_at.map_err(AskError::Store)?;
    if renewal_at.is_some_and(|at| at <= now) && presence.standing != Standing::Expired {
        let renew = Request::Renew { term_ends_at: None };
        ask_for(ports, directory, presence, &renew, "clock").await?;
        return Ok(Looked {
            is_sound: true,
            next_at: now.saturating_add(AGAIN_AFTER).ok(),
        });
    }
    Ok(Looked {
        is_sound: true,
        next_at: renewal_at,
    })
}
