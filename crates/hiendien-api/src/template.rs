//! Whether the template that a claim asks for is there and can show what the claim brings.

use std::path::Path;

use hiendien_domain::fault::Fault;
use hiendien_domain::lifecycle::Programme;
use hiendien_render::{ContentKind, TemplateManifest, manifest, names};
use serde::Deserialize;
use serde_json::Value;

/// The two members of a claim that this looks at, whatever else is wrong with it.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    template: Value,
    #[serde(default)]
    programme: Value,
}

/// The fault of a claim's `/template`, if it has one. A claim that names none gets its programme's own.
pub(crate) fn fault(root: &Path, claim: &[u8]) -> Option<Fault> {
    // Read as the claim's own reader does: a byte order mark and spaces around a word do not matter.
    let claim = claim.strip_prefix("\u{feff}".as_bytes()).unwrap_or(claim);
    let asked: Asked = serde_json::from_slice(claim).ok()?;
    let (wanted, programme) = (asked.template.as_str()?, asked.programme.as_str()?);
    let (wanted, programme) = (wanted.trim(), programme.trim());
    let kind = match programme.parse().ok()? {
        Programme::Biz => ContentKind::Business,
        Programme::Id => ContentKind::Cv,
    };
    let shows = |name: &str| {
        manifest(root, name).is_ok_and(|manifest: TemplateManifest| manifest.kinds.contains(&kind))
    };
    // A broken directory of templates is not the sender's fault; the build tells of it.
    let mut usable = names(root).ok()?;
    usable.retain(|name| shows(name));
    // One that another replaces is as good.
    if usable.is_empty() || shows(wanted) {
        return None;
    }
    let listed = usable
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>();
    Some(Fault {
        pointer: "/template".to_owned(),
        code: "template.unknown".to_owned(),
        vi: format!(
            "Không có mẫu trang này cho chương trình `{programme}`; hãy chọn {}, hoặc bỏ trường này.",
            listed.join(" hoặc ")
        ),
        en: format!(
            "there is no such template for programme `{programme}`: use {}, or leave it out",
            listed.join(" or ")
        ),
    })
}
