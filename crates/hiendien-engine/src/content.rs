//! What a page is made from: the owner's document over what the claim gives.

use std::collections::BTreeMap;

use hiendien_domain::claim;
use hiendien_domain::content::{ImageId, Picture, SiteContent};
use hiendien_domain::document::{self, Checked, Facts};
use hiendien_domain::fault::Faults;
use hiendien_domain::platform::Platform;
use hiendien_domain::secret::Secret;

use crate::ports::PortError;
use crate::presence::Presence;
use crate::request::NewContent;
use crate::store::{Contents, KeptContent};

/// All that the content of one presence is judged by and made from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// JSON of the document published last.
    pub document: Option<Secret>,
    pub facts: Facts,
    pub pictures: BTreeMap<ImageId, Picture>,
}

/// Reads what the page of a presence is made from.
pub async fn sources(
    contents: &dyn Contents,
    platform: &Platform,
    presence: &Presence,
) -> Result<Sources, PortError> {
    let pictures = contents.pictures(presence.id).await?;
    let (document, facts) = if let Some(kept) = contents.content(presence.id).await? {
        let facts = Facts::from_json(kept.facts.expose())
            .map_err(|error| PortError::misconfigured("reading what a claim gave", error))?;
        (kept.document, facts)
    } else {
        let claim = contents.claim_document(presence.id).await?;
        (None, of_claim(claim, platform, &presence.plan.content))
    };
    Ok(Sources {
        document,
        facts,
        pictures,
    })
}

/// What the claim gave, where it still makes the page that is shown; else the page itself is what
/// there is to go by: rules may have changed since, and earlier programs took the claim again for new content.
fn of_claim(claim: Option<Secret>, platform: &Platform, page: &SiteContent) -> Facts {
    let facts = claim
        .and_then(|claim| claim::parse(claim.expose().as_bytes()).ok())
        .map(|checked| checked.claim.facts(platform));
    facts
        .filter(|facts| {
            let mut made = facts.content().clone();
            made.keep_identity(page.site());
            made == *page
        })
        .unwrap_or_else(|| Facts::of_page(page))
}

impl Sources {
    /// Takes another claim's facts in the place of those there are.
    #[must_use]
    pub fn with_facts(self, facts: Facts) -> Self {
        Self { facts, ..self }
    }

    /// Checks a document and fills the page, as the presence `page` belongs to shows it.
    pub fn check(&self, document: &[u8], page: &SiteContent) -> Result<Checked, Faults> {
        let mut checked = document::check(document, &self.facts, &self.pictures)?;
        checked.content.keep_identity(page.site());
        Ok(checked)
    }

    /// The document, or one that makes the page of the claim where there is none.
    pub fn document_json(&self) -> Secret {
        self.document
            .clone()
            .unwrap_or_else(|| self.facts.document().canonical_json())
    }

    /// What is published with a document that was checked.
    pub fn publication(&self, checked: &Checked) -> NewContent {
        NewContent {
            page: checked.content.clone(),
            kept: KeptContent {
                document: Some(checked.document.canonical_json()),
                facts: self.facts.to_json(),
            },
        }
    }

    /// What is published where there is no document: the page of the claim.
    pub fn publication_of_facts(&self) -> NewContent {
        NewContent {
            page: self.facts.content().clone(),
            kept: KeptContent {
                document: None,
                facts: self.facts.to_json(),
            },
        }
    }
}
