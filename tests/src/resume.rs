//! The public sample of JSON Resume, as its makers publish it; fetched when it is needed, not copied.

use std::process::Command;

use serde_json::Value;

const PACKAGE: &str = "@jsonresume/schema@1.3.1";

/// The sample résumé of the `@jsonresume/schema` package on npm.
pub fn public_sample() -> Value {
    let directory = tempfile::tempdir().unwrap();
    let packed = Command::new("npm")
        .args(["pack", PACKAGE, "--silent", "--pack-destination"])
        .arg(directory.path())
        .output()
        .expect("npm is installed: apt-get install npm");
    assert!(
        packed.status.success(),
        "npm could not fetch {PACKAGE}; is there a network?\n{}",
        String::from_utf8_lossy(&packed.stderr)
    );
    let file = String::from_utf8(packed.stdout).unwrap();
    let unpacked = Command::new("tar")
        .arg("xzf")
        .arg(directory.path().join(file.trim()))
        .arg("-C")
        .arg(directory.path())
        .status()
        .unwrap();
    assert!(unpacked.success());
    let sample = std::fs::read(directory.path().join("package/sample.resume.json")).unwrap();
    serde_json::from_slice(&sample).unwrap()
}
