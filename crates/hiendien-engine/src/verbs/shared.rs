//! What steps of several verbs do.

use std::time::Duration;

use hiendien_domain::content::SiteContent;
use hiendien_domain::lifecycle::Standing;
use hiendien_domain::name::{LocalPart, MailAddress};
use hiendien_domain::picture::SITE_PICTURES_BYTES_MAX;
use hiendien_domain::records::DkimRecord;
use hiendien_domain::site::{FileTree, RevisionHash};
use jiff::Timestamp;

use crate::ports::{
    BuildJob, MailDomain, MailService, Origin, PasswordLink, PortError, SiteService,
};
use crate::presence::PresencePlan;
use crate::step::{Notice, Run};

/// What the edge shows for a standing.
pub(crate) fn site_service(standing: Standing) -> SiteService {
    match standing {
        Standing::Suspended => SiteService::Suspended,
        Standing::Expired => SiteService::Expired,
        Standing::Provisioned
        | Standing::Serving
        | Standing::Released
        | Standing::Abandoned
        | Standing::Purged => SiteService::Serving,
    }
}

/// Builds a site and keeps it as a revision.
pub(crate) async fn build_site(run: &Run, job: &BuildJob) -> Result<RevisionHash, PortError> {
    let content = serde_json::to_vec(&job.content)
        .map_err(|error| PortError::misconfigured("writing the content down", error))?;
    let mut tree = run.ports.builder.build(job).await?;
    add_pictures(run, &job.content, &mut tree).await?;
    let origin = Origin {
        built_at: run.ports.clock.now(),
        template: job.template.clone(),
        operation: run.operation,
        content,
    };
    let sites = &run.ports.sites;
    sites.put_revision(run.presence.id, &tree, &origin).await
}

/// Puts the files of the content's pictures into the rendered site, so that the revision is whole.
async fn add_pictures(
    run: &Run,
    content: &SiteContent,
    tree: &mut FileTree,
) -> Result<(), PortError> {
    let action = "adding the pictures to the site";
    let mut bytes = 0;
    for picture in &content.site().pictures {
        let id = &picture.id;
        let kept = run.ports.picture_files.files(run.presence.id, picture);
        let files = kept
            .await?
            .ok_or_else(|| PortError::rejected(action, format!("image `{id}` is gone")))?;
        bytes += files.identity_bytes();
        if bytes > SITE_PICTURES_BYTES_MAX {
            let fault = format!("they have more than {SITE_PICTURES_BYTES_MAX} bytes in all");
            return Err(PortError::rejected(action, fault));
        }
        for (path, file) in files {
            tree.insert(&path, file)
                .map_err(|error| PortError::rejected(action, error))?;
        }
    }
    Ok(())
}

/// The revision that is served, whole again: where it is damaged it is built anew from what it was
/// built from. `meant` is built where nothing can be known of the served one, or its pictures are gone.
/// Otherwise a site that was rolled back stays so.
pub(crate) async fn mend_site(run: &Run, meant: BuildJob) -> Result<RevisionHash, PortError> {
    let (shelf, presence) = (&run.ports.shelf, run.presence.id);
    let Some(served) = &run.presence.revision else {
        return build_site(run, &meant).await;
    };
    if shelf.damage(presence, served).await?.is_empty() {
        return Ok(served.clone());
    }
    // A manifest that cannot be read says nothing, as one that is missing.
    let was = shelf.revision(presence, served).await.ok().flatten();
    let content = shelf.content(presence, served).await.ok().flatten();
    let content = content.and_then(|json| serde_json::from_slice(&json).ok());
    let job = match (was.and_then(|was| was.template), content) {
        (Some(template), Some(content)) if has_pictures(run, &content).await? => {
            BuildJob { template, content }
        }
        _ => meant,
    };
    build_site(run, &job).await
}

/// Whether all pictures of the content are kept: those of content that is not meant any more may have been removed.
async fn has_pictures(run: &Run, content: &SiteContent) -> Result<bool, PortError> {
    for picture in &content.site().pictures {
        let kept = run.ports.picture_files.files(run.presence.id, picture);
        if kept.await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes the revision the one that is served.
pub(crate) async fn serve(run: &Run, revision: &RevisionHash) -> Result<(), PortError> {
    let (presence, now) = (&run.presence, run.ports.clock.now());
    run.ports
        .publications
        .publish(presence.id, &presence.plan.name, revision, now)
        .await
}

/// Has the edge serve what it served before the operation.
pub(crate) async fn serve_as_before(run: &Run) -> Result<(), PortError> {
    let before = run.before.as_deref();
    match before.and_then(|before| before.revision.as_ref()) {
        Some(revision) => serve(run, revision).await,
        None => run.ports.publications.withdraw(run.presence.id).await,
    }
}

/// Makes the mail side so, and returns the DKIM records to publish.
pub(crate) async fn put_mail(
    run: &Run,
    plan: &PresencePlan,
    standing: Standing,
) -> Result<Vec<DkimRecord>, PortError> {
    let service = match standing {
        Standing::Suspended | Standing::Expired => MailService::Suspended,
        _ => MailService::Active,
    };
    let domain = MailDomain {
        name: plan.name.clone(),
        mailboxes: plan.mailboxes.clone(),
        quota_bytes: run.ports.settings.mailbox_quota_bytes,
        desk: run.ports.platform.report_address("abuse"),
        service,
    };
    run.ports
        .mailboxes
        .put_domain(run.presence.id, &domain)
        .await
}

/// Sees at every server that nothing of the presence is left.
pub(crate) async fn prove_absence(run: &Run) -> Result<(), PortError> {
    let (probes, plan) = (&run.ports.probes, &run.presence.plan);
    probes.zone_absent(&plan.name).await?;
    probes.site_absent(&plan.name).await?;
    for mailbox in &plan.mailboxes {
        probes
            .mail_absent(run.presence.id, &mailbox.at(&plan.name))
            .await?;
    }
    Ok(())
}

/// One-time pages on which passwords are set.
pub(crate) struct Links {
    pub(crate) urls: Vec<(MailAddress, String)>,
    pub(crate) expire_at: Timestamp,
}

/// Makes a link for each of these mailboxes; made again, they are the same.
pub(crate) async fn make_links(run: &Run, mailboxes: &[LocalPart]) -> Result<Links, PortError> {
    let expire_at = links_expire_at(run)?;
    let (ports, plan) = (&run.ports, &run.presence.plan);
    let mut urls = Vec::with_capacity(mailboxes.len());
    for mailbox in mailboxes {
        let link = PasswordLink {
            presence: run.presence.id,
            address: mailbox.at(&plan.name),
            expires_at: expire_at,
        };
        let token = ports.password_links.put_link(&link).await?;
        let url = format!("{}{}", ports.settings.password_url, token.expose());
        urls.push((link.address, url));
    }
    Ok(Links { urls, expire_at })
}

/// Until when links sent now are good: between half and all of `password_link_for` from now. Counted
/// in halves from when the operation began, so that a letter that is sent again says the same.
fn links_expire_at(run: &Run) -> Result<Timestamp, PortError> {
    let half = (run.ports.settings.password_link_for / 2).max(Duration::from_secs(1));
    let now = run.ports.clock.now();
    let passed = now.duration_since(run.began_at).unsigned_abs();
    let halves = u32::try_from(passed.as_secs() / half.as_secs() + 2).unwrap_or(u32::MAX);
    run.began_at
        .checked_add(half.saturating_mul(halves))
        .map_err(|error| PortError::misconfigured("adding up `password_link_for`", error))
}

/// Writes to the owner of the presence, once for an operation however often it is tried.
pub(crate) async fn tell(run: &Run, about: &str, notice: &Notice) -> Result<(), PortError> {
    let id = format!("{about}-{}", run.operation);
    let letter = run.ports.letters.notice(&run.presence, &id, notice);
    run.ports.messages.send(&letter).await
}
