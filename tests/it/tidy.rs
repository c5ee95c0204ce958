//! House rules that a tool can hold.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::MetadataCommand;
use integration_tests::lab::root;

/// Which of our crates a crate may depend on. A new arrow is a decision: it is made here.
const ARROWS: &[(&str, &[&str])] = &[
    ("hiendien-domain", &[]),
    ("hiendien-render", &["domain"]),
    ("hiendien-engine", &["domain", "render"]),
    ("hiendien-store", &["domain", "engine"]),
    ("hiendien-dns", &["domain", "engine"]),
    ("hiendien-acme", &["domain", "engine"]),
    ("hiendien-container", &["domain", "engine", "render"]),
    ("hiendien-mail", &["domain", "engine"]),
    ("hiendien-edge", &["domain", "engine"]),
    ("hiendien-api", &["domain", "engine", "render"]),
    (
        "hiendien",
        &[
            "acme",
            "api",
            "container",
            "dns",
            "domain",
            "edge",
            "engine",
            "mail",
            "render",
            "store",
        ],
    ),
    ("xtask", &["domain", "render"]),
    ("bench-engine", &["domain", "engine", "store"]),
    ("site-lab", &["domain", "edge", "engine", "render"]),
    (
        "integration-tests",
        &[
            "acme",
            "api",
            "container",
            "dns",
            "domain",
            "edge",
            "engine",
            "mail",
            "render",
            "store",
        ],
    ),
];

/// What lies at the top, and what tools leave there that is ignored.
const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    ".config",
    ".git",
    ".gitignore",
    ".taplo.toml",
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "_typos.toml",
    "clippy.toml",
    "crates",
    "deny.toml",
    "deploy",
    "docs",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "site-templates",
    "target",
    "tests",
];

#[test]
fn nothing_strays_at_the_top() {
    let strays: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !TOP.contains(&name.as_str()))
        .collect();
    assert_eq!(strays, Vec::<String>::new());
}

#[test]
fn arrows_point_inwards() {
    let metadata = MetadataCommand::new()
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap();
    let allowed: BTreeMap<&str, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(name, on)| {
            (
                *name,
                on.iter().map(|on| format!("hiendien-{on}")).collect(),
            )
        })
        .collect();
    let mut seen = BTreeSet::new();
    for package in &metadata.packages {
        let name = package.name.to_string();
        let row = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("`{name}` has no row in ARROWS"));
        for dependency in &package.dependencies {
            let ours = dependency.name.starts_with("hiendien-");
            assert!(
                !ours || row.contains(&dependency.name),
                "`{name}` must not depend on `{}`",
                dependency.name
            );
        }
        let directory = package
            .manifest_path
            .parent()
            .and_then(|path| path.file_name())
            .unwrap_or_default();
        assert!(
            directory == name || name == "integration-tests",
            "`{name}` lies in `{directory}`"
        );
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "`{name}` does not take the workspace's lints"
        );
        seen.insert(name);
    }
    for (name, _) in ARROWS {
        assert!(
            seen.contains(*name),
            "`{name}` has a row in ARROWS and no package"
        );
    }
}
