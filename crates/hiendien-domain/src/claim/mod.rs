//! The approved claim, version 1: its JSON form, its rules, and what a site is filled with from it.
//!
//! [`parse`] is the only way in. It lists every fault at once; what it returns is normalised and
//! keeps nothing that must not be kept: a citizen number that was sent along is checked and dropped.

pub(crate) mod check;
pub(crate) mod content;
pub(crate) mod identifiers;
mod names;
mod policy;
mod provinces;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::civil::Date;
use jiff::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::content::SiteContent;
use crate::document::Facts;
use crate::fault::Fault;
use crate::lifecycle::Programme;
use crate::name::{DomainName, LocalPart, MailAddress};
use crate::platform::Platform;
use crate::secret::Secret;
use crate::site::hex;

pub use check::parse;
pub use names::ascii_name;
pub(crate) use names::without_marks;
pub use policy::reserved_local_parts;

/// Largest claim, bytes.
pub const CLAIM_BYTES_MAX: usize = 1024 * 1024;

/// A claim that keeps every rule, and what deserves a second look.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub claim: Claim,
    /// Not wrong, but worth a look by the registrar.
    pub warnings: Vec<Fault>,
}

/// An entitlement that a registrar has approved and hands over to be provisioned.
///
/// There is no `Deserialize`: [`parse`] is the only way to one. `Debug` tells which claim it is and nothing of the subject.
#[derive(Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(
    title = "claim/v1",
    description = "An entitlement that a registrar has approved and hands over to be provisioned.",
    deny_unknown_fields,
    extend("allOf" = [
        {"if": {"properties": {"programme": {"const": "biz"}}}, "then": {"required": ["business"]}},
        {"if": {"properties": {"programme": {"const": "id"}}}, "then": {"required": ["person"]}},
    ])
)]
pub struct Claim {
    /// Always `claim/v1`.
    #[schemars(regex(pattern = r"^claim/v1$"))]
    schema_version: String,
    /// The registrar that approved the claim: 1 to 64 of a-z, 0-9, `-`.
    #[schemars(regex(pattern = r"^[a-z0-9-]{1,64}$"))]
    registrar: String,
    /// The registrar's own reference, unique with it for ever: 1 to 128 printable ASCII characters.
    #[schemars(regex(pattern = r"^[!-~]{1,128}$"))]
    reference: String,
    programme: Programme,
    /// The granted name below the programme's suffix, in U-labels or A-labels.
    #[schemars(regex(pattern = r"\.([Bb][Ii][Zz]|[Ii][Dd])\.[Vv][Nn]\.?$"))]
    domain: DomainName,
    #[schemars(with = "String", extend("format" = "date"))]
    granted_on: Date,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    expires_on: Option<Date>,
    /// RFC 3339 with offset.
    #[schemars(with = "String", extend("format" = "date-time"))]
    approved_at: Timestamp,
    #[schemars(length(min = 1, max = 200))]
    approved_by: String,
    evidence: Evidence,
    #[serde(skip_serializing_if = "Option::is_none")]
    dossier: Option<Dossier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delegation: Option<Delegation>,
    /// The plan that the registrar sells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9-]{1,64}$"))]
    plan: Option<String>,
    /// A directory under the site templates; by default one that fits what the owner does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9-]{1,64}$"))]
    template: Option<String>,
    /// The language of the site; Vietnamese where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<Locale>,
    /// Local parts of the mailboxes, the one shown on the site first; 1 to 5.
    #[schemars(
        length(min = 1, max = 5),
        inner(regex(pattern = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"))
    )]
    mailboxes: Vec<LocalPart>,
    contact: Contact,
    address: PostalAddress,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
    #[schemars(default, length(max = 20))]
    consents: Vec<Consent>,
    /// For programme `biz`.
    #[serde(skip_serializing_if = "Option::is_none")]
    business: Option<Business>,
    /// For programme `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<Person>,
}

/// Who verified the subject's eligibility, how and when. Never an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    method: EvidenceMethod,
    #[schemars(length(min = 1, max = 200))]
    verifier: String,
    /// RFC 3339 with offset.
    #[schemars(with = "String", extend("format" = "date-time"))]
    verified_at: Timestamp,
    #[schemars(length(min = 1, max = 200))]
    reference: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceMethod {
    Ekyc,
    DigitalSignature,
    DeptDatabase,
    Manual,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dossier {
    state: DossierState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    deadline: Option<Date>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DossierState {
    Complete,
    Pending,
}

/// Where the registrar delegates the name to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// Full names of the name servers.
    #[schemars(length(min = 2, max = 13))]
    ns: Vec<DomainName>,
    /// Whether the registrar can set DS records at the registry.
    #[serde(default)]
    ds_supported: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Locale {
    Vi,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// Vietnamese number, kept as `+84…`.
    #[schemars(regex(pattern = r"^[+(]?[0-9][0-9 ().-]{8,30}$"))]
    phone: String,
    /// An address that exists already, outside of the granted name.
    email: MailAddress,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostalAddress {
    /// House number and street.
    #[schemars(length(min = 1, max = 200))]
    line: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    ward: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{5}$"))]
    ward_code: Option<String>,
    /// As older dossiers have it; districts ended on 2025-07-01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    district_text: Option<String>,
    /// The whole address as the dossier has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    raw: Option<String>,
    province: Province,
}

/// A province by code; the code alone is ambiguous, since 7 codes were given to other provinces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Province {
    scheme: ProvinceScheme,
    /// Two digits.
    #[schemars(regex(pattern = r"^[0-9]{2}$"))]
    code: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProvinceScheme {
    /// The 63 provinces until 2025-06-30.
    Gso63,
    /// The 34 provinces since 2025-07-01.
    Gso34,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    channel: Channel,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    org_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    support_point_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    campaign: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Portal,
    Dept,
    Union,
    SupportPoint,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    pub(crate) purpose: Purpose,
    pub(crate) given: bool,
    /// RFC 3339 with offset.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) at: Timestamp,
    #[schemars(length(min = 1, max = 64))]
    pub(crate) text_version: String,
}

/// What a consent is for. All but `provision` count as not given unless they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Provision,
    Directory,
    PublishPhone,
    PublishQr,
    Statistics,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Business {
    subject_type: SubjectType,
    #[schemars(length(min = 2, max = 200))]
    legal_name: String,
    /// What the sign over the door says.
    #[schemars(length(min = 2, max = 200))]
    trade_name: String,
    /// 10 or 13 digits; a household may have its owner's 12-digit personal id.
    #[schemars(regex(pattern = r"^[0-9]([ .-]*[0-9]){9,12}$"))]
    tax_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    registration_no: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    registered_on: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    registered_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    representative: Option<Representative>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    industry: Option<Industry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectType {
    Enterprise,
    Household,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Representative {
    #[schemars(length(min = 2, max = 100))]
    full_name: String,
    #[schemars(length(min = 1, max = 100))]
    role: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Industry {
    /// VSIC code, 4 or 5 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{4,5}$"))]
    code: Option<String>,
    /// In a few words, such as `quán ăn, phở và bún`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120))]
    text: Option<String>,
}

impl Industry {
    /// The template for a trade, by the division of its code (Decision 27/2018/QĐ-TTg) or else its words.
    fn template(&self) -> &'static str {
        const BY_WORDS: [(&str, &[&str]); 3] = [
            (
                "homestay",
                &["homestay", "nhà nghỉ", "khách sạn", "lưu trú", "nhà trọ"],
            ),
            (
                "food-drink",
                &[
                    "quán ăn",
                    "nhà hàng",
                    "ăn uống",
                    "cà phê",
                    "phở",
                    "bún",
                    "cơm",
                    "trà sữa",
                    "giải khát",
                    "bánh mì",
                ],
            ),
            (
                "services",
                &[
                    "dịch vụ",
                    "tư vấn",
                    "sửa chữa",
                    "thiết kế",
                    "xây dựng",
                    "vận tải",
                ],
            ),
        ];
        let division = self.code.as_deref().and_then(|code| code.get(..2));
        if let Some(division) = division.and_then(|digits| digits.parse::<u8>().ok()) {
            return match division {
                55 => "homestay",
                56 => "food-drink",
                // Building, repair of vehicles, transport, and services from information to the home.
                41..=43 | 45 | 49..=53 | 58..=96 => "services",
                _ => "storefront",
            };
        }
        let text = self.text.as_deref().unwrap_or_default().to_lowercase();
        let fits = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let found = BY_WORDS.into_iter().find(|(_, words)| fits(words));
        found.map_or("storefront", |(template, _)| template)
    }
}

/// What a shop says of itself; everything in it is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4000))]
    about: Option<String>,
    #[serde(default)]
    #[schemars(length(max = 21))]
    hours: Vec<Hours>,
    #[serde(default)]
    #[schemars(length(max = 200))]
    products: Vec<Product>,
    #[serde(default)]
    #[schemars(length(max = 10))]
    links: Vec<Link>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    geo: Option<Geo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bank: Option<Bank>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// ISO weekdays, 1 is Monday.
    #[schemars(length(min = 1, max = 7), inner(range(min = 1, max = 7)))]
    pub(crate) days: Vec<u8>,
    /// `HH:MM`.
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub(crate) opens: String,
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub(crate) closes: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Product {
    #[schemars(length(min = 1, max = 120))]
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30))]
    unit: Option<String>,
    /// Whole đồng; absent or null is shown as "giá liên hệ".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000_000_u64))]
    price_vnd: Option<u64>,
    #[serde(default)]
    tax_included: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    network: Network,
    /// `https:` URL at the network's own host.
    #[schemars(regex(pattern = r"^https:"), length(max = 300))]
    url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    Zalo,
    Facebook,
    Shopee,
    Tiktok,
    Lazada,
    Youtube,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Geo {
    #[schemars(range(min = -90.0, max = 90.0))]
    pub(crate) lat: f64,
    #[schemars(range(min = -180.0, max = 180.0))]
    pub(crate) lon: f64,
}

/// An account for transfers. Needs the consent `publish_qr`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bank {
    /// Six digits (Napas).
    #[schemars(regex(pattern = r"^[0-9]{6}$"))]
    pub(crate) bin: String,
    #[schemars(regex(pattern = r"^[0-9A-Za-z]{1,19}$"))]
    pub(crate) account: String,
    #[schemars(length(min = 2, max = 100))]
    pub(crate) holder: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Person {
    #[schemars(length(min = 2, max = 100))]
    full_name: String,
    #[schemars(with = "String", extend("format" = "date"))]
    birth_date: Date,
    /// HMAC-SHA-256 of the 12-digit personal id under the registrar's key, 64 hexadecimal digits.
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{64}$"))]
    personal_id_hash: String,
    /// The 12-digit personal id, if it is to be checked against the birth date; checked, never kept.
    #[serde(default, skip_serializing)]
    #[schemars(with = "Option<String>", regex(pattern = r"^[0-9]([ .-]*[0-9]){11}$"))]
    cccd: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    school: Option<School>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120))]
    study_field: Option<String>,
    /// JSON Resume 1.3.1, kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resume: Option<Value>,
    #[serde(default)]
    #[schemars(length(max = 100))]
    posts: Vec<Post>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct School {
    #[schemars(length(min = 2, max = 200))]
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    code: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Post {
    #[schemars(length(min = 1, max = 200))]
    title: String,
    #[schemars(with = "String", extend("format" = "date"))]
    date: Date,
    /// Markdown without HTML.
    #[schemars(length(min = 1, max = 50_000))]
    body: String,
}

/// The JSON Schema of a claim, as committed in `docs/claim-v1.schema.json`.
pub fn schema() -> Value {
    schemars::schema_for!(Claim).into()
}

impl Claim {
    pub fn registrar(&self) -> &str {
        &self.registrar
    }

    pub fn reference(&self) -> &str {
        &self.reference
    }

    pub fn programme(&self) -> Programme {
        self.programme
    }

    pub fn domain(&self) -> &DomainName {
        &self.domain
    }

    pub fn mailboxes(&self) -> &[LocalPart] {
        &self.mailboxes
    }

    pub fn contact_email(&self) -> &MailAddress {
        &self.contact.email
    }

    /// The template that was asked for, or one that fits what the owner does.
    pub fn template(&self) -> &str {
        let fitting = || match &self.business {
            Some(business) => business
                .industry
                .as_ref()
                .map_or("storefront", Industry::template),
            None => "cv",
        };
        self.template.as_deref().unwrap_or_else(fitting)
    }

    /// How the owner is addressed in letters.
    pub fn owner_name(&self) -> &str {
        match (&self.business, &self.person) {
            (Some(business), _) => &business.trade_name,
            (None, Some(person)) => &person.full_name,
            (None, None) => "",
        }
    }

    fn consents_to(&self, purpose: Purpose) -> bool {
        self.consents
            .iter()
            .rev()
            .find(|consent| consent.purpose == purpose)
            .is_some_and(|consent| consent.given)
    }

    fn policy(&self) -> Option<&'static policy::Policy> {
        policy::policy(self.programme, self.granted_on)
    }

    /// The row of the policy table the grant came under; `None` once the table no longer has it.
    pub fn policy_id(&self) -> Option<&'static str> {
        self.policy().map(|policy| policy.id.as_str())
    }

    /// How many live grants the policy allows one subject.
    pub fn per_subject_limit(&self) -> u32 {
        self.policy().map_or(1, |policy| policy.per_subject_limit)
    }

    /// The first day that is no longer free of charge; a 31st becomes the last day of a shorter month.
    pub fn free_until(&self) -> Option<Date> {
        let months = self.policy()?.free_months;
        Some(self.granted_on.saturating_add(Span::new().months(months)))
    }

    /// The day on which the service stops: the end of the term the registrar has told, else of the free months.
    pub fn term_ends_on(&self) -> Option<Date> {
        self.expires_on.or_else(|| self.free_until())
    }

    /// The day by which the registrant's papers are to be complete; `None` when they are.
    pub fn dossier_due_on(&self) -> Option<Date> {
        let dossier = self.dossier.as_ref()?;
        match dossier.state {
            DossierState::Pending => dossier.deadline,
            DossierState::Complete => None,
        }
    }

    /// The tax id fit for a screen: a 12-digit one is a person's and shows its last three digits only.
    pub fn tax_id_masked(&self) -> Option<String> {
        let business = self.business.as_ref()?;
        Some(identifiers::public_number(&business.tax_id))
    }

    /// The claim as it is kept: normalised, members sorted at every depth, without a citizen number
    /// that was sent only to be checked. [`parse`] reads it back to an equal claim. It still has the
    /// telephone number, the address and a household's 12-digit tax id, so store it encrypted.
    pub fn canonical_json(&self) -> Secret {
        let value = serde_json::to_value(self).expect("a claim has only string keys");
        Secret::new(sorted(value).to_string())
    }

    /// SHA-256 of the canonical form, 64 hexadecimal digits: the order of members and white space do not matter.
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(self.canonical_json().expose()))
    }

    /// Names the subject for the one-per-subject rule. May hold a citizen number: keep only a keyed hash of it.
    pub fn subject_key(&self) -> Secret {
        let subject = match (&self.business, &self.person) {
            (Some(business), _) => business.tax_id.as_str(),
            (None, Some(person)) => person.personal_id_hash.as_str(),
            (None, None) => "",
        };
        Secret::new(format!("{}:{subject}", self.programme))
    }

    /// Fills a site from the claim alone. Deterministic.
    pub fn content(&self, platform: &Platform) -> SiteContent {
        self.facts(platform).into_content()
    }

    /// What a document of the owner's is laid over, and what it may show of it.
    pub fn facts(&self, platform: &Platform) -> Facts {
        content::facts(self, platform)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Claim")
            .field("registrar", &self.registrar)
            .field("reference", &self.reference)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// Sorts members at every depth, however the JSON library is built to keep them.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|(left, _), (right, _)| left.cmp(right));
            let members = members
                .into_iter()
                .map(|(name, member)| (name, sorted(member)));
            Value::Object(members.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
