//! Registrars at work: claims, then verbs on what came of them. Each asks with an `Idempotency-Key` until
//! it is answered; some ask twice, some go away before the answer and come again.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::faults::rest_for;
use super::random::Random;
use super::wire::{Answer, Api, pause, text};

const SAMPLES: [&str; 6] = [
    "pho-shop",
    "student",
    "minimal-business",
    "minimal-student",
    "no-prices",
    "blog",
];

/// How long a request is repeated until it is answered. A request that was cut off keeps its key for a minute.
const PATIENCE: Duration = Duration::from_mins(3);

/// What was promised to the registrars, and what became of their requests.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Presence by the reference of its claim, with the name.
    pub(super) claims: BTreeMap<String, (String, String)>,
    /// Operations that were begun, with verb and presence.
    pub(super) operations: BTreeMap<String, (String, String)>,
    /// Requests, each with a key of its own, by presence and verb.
    pub(super) keys: BTreeMap<(String, String), usize>,
    /// What was done twice.
    pub(super) doubled: Vec<String>,
    /// Answers by what was asked and status.
    pub(super) answers: BTreeMap<(String, String), u64>,
}

#[derive(Debug)]
pub(super) struct Load {
    api: Api,
    seed: u64,
    presences: usize,
    samples: Vec<Value>,
    told: Mutex<Told>,
    pub(super) requests: AtomicU64,
    pub(super) repeats: AtomicU64,
}

/// How a request is sent.
#[derive(Debug, Clone, Copy)]
enum Way {
    Once,
    /// Again, once it is answered.
    Twice,
    /// Two at the same time.
    AtOnce,
    /// The first one's answer is not waited for.
    Cut,
}

const WAYS: [(Way, usize); 4] = [
    (Way::Once, 65),
    (Way::Twice, 12),
    (Way::AtOnce, 8),
    (Way::Cut, 15),
];

#[derive(Debug, Clone, Copy)]
enum Action {
    Template,
    Content,
    Suspend,
    Resume,
    Renew,
    Transfer,
    Rename,
    ResetPassword,
    Repair,
    Release,
    Regrant,
    Purge,
    Abandon,
    Retry,
}

const ACTIONS: [(Action, usize); 14] = [
    (Action::Template, 6),
    (Action::Content, 14),
    (Action::Suspend, 10),
    (Action::Resume, 14),
    (Action::Renew, 8),
    (Action::Transfer, 8),
    (Action::Rename, 10),
    (Action::ResetPassword, 5),
    (Action::Repair, 6),
    (Action::Release, 10),
    (Action::Regrant, 14),
    (Action::Purge, 5),
    (Action::Abandon, 12),
    (Action::Retry, 3),
];

/// A name in one registrar's hands.
#[derive(Debug)]
struct Slot {
    number: usize,
    /// Claims that were handed in for the name.
    generation: usize,
    presences: Vec<String>,
    asked: usize,
}

impl Load {
    pub(super) fn new(api: Api, seed: u64, presences: usize) -> anyhow::Result<Self> {
        let samples = SAMPLES.iter().map(|sample| {
            let path = format!("tests/claims/good/{sample}.json");
            let bytes = fs::read(path).context("run this in the checkout")?;
            Ok(serde_json::from_slice(&bytes)?)
        });
        Ok(Self {
            api,
            seed,
            presences,
            samples: samples.collect::<anyhow::Result<_>>()?,
            told: Mutex::default(),
            requests: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
        })
    }

    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sample claim made another's: reference, name and subject of its own.
    fn claim(&self, number: usize, generation: usize) -> Value {
        let mut claim = self.samples[number % self.samples.len()].clone();
        let is_business = claim["programme"] == "biz";
        let suffix = if is_business { "biz.vn" } else { "id.vn" };
        claim["reference"] = format!("MAU-{number}-{generation}").into();
        claim["domain"] = format!("mau-so-{number}.{suffix}").into();
        claim["contact"]["email"] = format!("chu-{number}-{generation}@outside.test").into();
        let subject = generation * 100_000 + number;
        if is_business {
            // A household's old number with a false check digit is warned of, not refused.
            claim["business"]["tax_id"] = format!("1{:09}", 100 + subject).into();
        } else {
            claim["person"]["personal_id_hash"] = format!("{subject:064x}").into();
        }
        claim
    }

    /// Works for one of `lanes` registrars: hands its claims in over `ramp`, then asks verbs until `stop`.
    pub(super) fn work(
        &self,
        lane: usize,
        lanes: usize,
        ramp: Duration,
        gap_ms: usize,
        stop: &AtomicBool,
    ) {
        let mut random = Random::new(self.seed, 1000 + u64::try_from(lane).unwrap_or_default());
        let mut mine: Vec<Slot> = Vec::new();
        let mut next = lane;
        let began = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let share = |part: usize, whole: usize| {
                u32::try_from(part).unwrap_or(u32::MAX) * (ramp / u32::try_from(whole).unwrap_or(1))
            };
            if next < self.presences && began.elapsed() >= share(next, self.presences) {
                let mut slot = Slot {
                    number: next,
                    generation: 0,
                    presences: Vec::new(),
                    asked: 0,
                };
                self.hand_in(&mut slot, &mut random);
                mine.push(slot);
                next += lanes;
                continue;
            }
            if mine.is_empty() {
                pause(Duration::from_millis(50));
                continue;
            }
            rest_for(random.between(gap_ms / 2, gap_ms * 3 / 2), stop);
            let index = random.below(mine.len());
            let action = random.weighted(&ACTIONS);
            self.act(&mut mine[index], action, &mut random);
        }
    }

    fn note(&self, what: &str, answer: &Answer) {
        let end = match (answer.status, answer.code()) {
            (status, "") => status.to_string(),
            (status, code) => format!("{status} {code}"),
        };
        *self
            .told()
            .answers
            .entry((what.to_owned(), end))
            .or_default() += 1;
    }

    fn hand_in(&self, slot: &mut Slot, random: &mut Random) {
        let claim = self.claim(slot.number, slot.generation);
        let (reference, name) = (
            text(&claim, "reference").to_owned(),
            text(&claim, "domain").to_owned(),
        );
        let key = format!("chaos-claim-{reference}");
        let Some(answer) = self.ask("claim", "/v1/claims", &key, &claim.to_string(), random) else {
            return;
        };
        if answer.status == 202 {
            let presence = text(&answer.body, "presence").to_owned();
            let operation = text(&answer.body, "operation").to_owned();
            slot.presences.push(presence.clone());
            let mut told = self.told();
            told.claims.insert(reference, (presence.clone(), name));
            told.operations
                .insert(operation, ("provision".to_owned(), presence));
        }
    }

    fn act(&self, slot: &mut Slot, action: Action, random: &mut Random) {
        if matches!(action, Action::Regrant) {
            slot.generation += 1;
            self.hand_in(slot, random);
            return;
        }
        let Some(last) = slot.presences.last().cloned() else {
            // Its claim was never answered.
            self.hand_in(slot, random);
            return;
        };
        slot.asked += 1;
        let asked = slot.asked;
        // Drawn whatever comes of it, so that the decisions that follow are the same.
        let (drawn, of_presences) = (random.below(1000), random.below(slot.presences.len()));
        let presence = match action {
            Action::Purge => slot.presences[of_presences].clone(),
            _ => last,
        };
        let seen = self.get(&format!("/v1/presences/{presence}"));
        let mailbox = seen["mailboxes"][0].as_str().and_then(|address| {
            let (local, _) = address.split_once('@')?;
            Some(local.to_owned())
        });
        let mailbox = mailbox.unwrap_or_else(|| "khong-co".to_owned());
        let (verb, body) = match action {
            Action::Template => ("publish", json!({ "template": seen["template"] })),
            Action::Content => {
                let mut claim = self.claim(slot.number, slot.generation);
                claim["contact"]["phone"] = format!("0710 {:03} {drawn:03}", asked % 1000).into();
                ("publish", json!({ "claim": claim }))
            }
            Action::Suspend => ("suspend", json!({ "reason": "thử nghiệm" })),
            Action::Resume => ("resume", json!({})),
            Action::Renew if drawn % 2 == 0 => ("renew", json!({})),
            Action::Renew => {
                let days = i64::try_from(4000 + asked).unwrap_or(4000);
                let until = Timestamp::now()
                    .checked_add((days * 24).hours())
                    .unwrap_or(Timestamp::MAX);
                ("renew", json!({ "term_ends_at": until }))
            }
            Action::Transfer => {
                let registrant = json!({
                    "owner_name": format!("Chủ Mới {asked}"),
                    "contact_email": format!("moi-{}-{asked}@outside.test", slot.number),
                });
                ("transfer", json!({ "registrant": registrant }))
            }
            Action::Rename => (
                "rename-mailbox",
                json!({ "from": mailbox, "to": format!("hop-{asked}") }),
            ),
            Action::ResetPassword => ("reset-password", json!({ "mailbox": mailbox })),
            Action::Repair => ("repair", json!({})),
            Action::Release => ("release", json!({})),
            Action::Purge => ("purge", json!({})),
            Action::Abandon => ("abandon", json!({})),
            Action::Retry => ("retry", json!({})),
            Action::Regrant => return,
        };
        let key = format!("chaos-{}-{asked}", slot.number);
        let of = (presence.clone(), verb.replace('-', "_"));
        *self.told().keys.entry(of).or_default() += 1;
        let path = match action {
            Action::Abandon | Action::Retry => {
                let operation = text(&seen, "operation");
                if operation.is_empty() {
                    return;
                }
                format!("/v1/operations/{operation}/{verb}")
            }
            _ => format!("/v1/presences/{presence}/{verb}"),
        };
        let Some(answer) = self.ask(verb, &path, &key, &body.to_string(), random) else {
            return;
        };
        if answer.status == 202 {
            let operation = text(&answer.body, "id").to_owned();
            let mut told = self.told();
            told.operations
                .entry(operation)
                .or_insert((verb.to_owned(), presence));
        }
    }

    fn get(&self, path: &str) -> Value {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match self.api.get(path) {
                Ok(answer) if answer.status < 500 => return answer.body,
                _ => pause(Duration::from_millis(300)),
            }
        }
        Value::Null
    }

    /// Sends the same until there is an answer.
    fn until_answered(&self, path: &str, key: &str, body: &str) -> Option<Answer> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            self.requests.fetch_add(1, Ordering::Relaxed);
            match self.api.post(path, key, body) {
                Ok(answer) if answer.status < 500 && answer.code() != "in_flight" => {
                    return Some(answer);
                }
                _ => {
                    self.repeats.fetch_add(1, Ordering::Relaxed);
                    pause(Duration::from_millis(500));
                }
            }
        }
        None
    }

    fn ask(
        &self,
        what: &str,
        path: &str,
        key: &str,
        body: &str,
        random: &mut Random,
    ) -> Option<Answer> {
        let way = random.weighted(&WAYS);
        let (first, second) = match way {
            Way::Once => (self.until_answered(path, key, body), None),
            Way::Twice => (
                self.until_answered(path, key, body),
                self.until_answered(path, key, body),
            ),
            Way::AtOnce => std::thread::scope(|scope| {
                let other = scope.spawn(|| self.until_answered(path, key, body));
                let first = self.until_answered(path, key, body);
                (first, other.join().unwrap_or_default())
            }),
            Way::Cut => {
                self.requests.fetch_add(1, Ordering::Relaxed);
                // That it did not even arrive is as good a fault.
                let _ = self.api.post_and_cut(path, key, body);
                (self.until_answered(path, key, body), None)
            }
        };
        match &first {
            Some(answer) => self.note(what, answer),
            None => self.note(
                what,
                &Answer {
                    status: 0,
                    body: Value::Null,
                },
            ),
        }
        if let (Some(first), Some(second)) = (&first, &second)
            && (200..300).contains(&first.status)
            && (200..300).contains(&second.status)
            && made(first) != made(second)
        {
            self.told().doubled.push(format!(
                "`{path}` with key `{key}` made {} and {}",
                made(first),
                made(second)
            ));
        }
        // Of two at once, one may be refused because the other has begun it: what was begun counts.
        match (first, second) {
            (Some(first), Some(second)) if first.status != 202 && second.status == 202 => {
                Some(second)
            }
            (first, _) => first,
        }
    }
}

/// What an answer says was made.
fn made(answer: &Answer) -> String {
    let body = &answer.body;
    let operation = body["operation"].as_str().or_else(|| body["id"].as_str());
    operation.unwrap_or_default().to_owned()
}
