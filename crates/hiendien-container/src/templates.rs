//! Reads a template's directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hiendien_engine::ports::PortError;
use hiendien_render::Template;

/// Bound of one template file, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const FILES_MAX: usize = 500;

/// Reads the directory `name` under `root`. Rejected when there is none of that name.
pub(crate) async fn load(root: &Path, name: &str) -> Result<Template, PortError> {
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let directory = root.join(name);
    let action = format!("reading template `{name}`");
    if !plain(name) || !directory.is_dir() {
        return Err(PortError::rejected(
            action,
            format!("there is no directory of that name in `{}`", root.display()),
        ));
    }
    let read = move || -> std::io::Result<BTreeMap<String, String>> {
        let mut files = BTreeMap::new();
        read_directory(&directory, "", &mut files)?;
        Ok(files)
    };
    let files = tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| PortError::transient(action.clone(), error))?
        .map_err(|error| PortError::misconfigured(action, error))?;
    Ok(Template {
        name: name.to_owned(),
        files,
    })
}

fn read_directory(
    directory: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, String>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_directory(&entry.path(), &path, files)?;
        } else if kind.is_file() {
            if entry.metadata()?.len() > FILE_BYTES_MAX || files.len() >= FILES_MAX {
                return Err(std::io::Error::other(format!("`{path}` is out of bounds")));
            }
            files.insert(path, fs::read_to_string(entry.path())?);
        }
    }
    Ok(())
}
