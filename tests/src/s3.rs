//! An S3 service of this test's own (`moto_server`, from `PyPI`), with one bucket in it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hiendien_store::S3Settings;
use reqwest::header::{HeaderMap, HeaderValue};

use crate::net::address;

/// The last octet of the address it listens on.
const HOST: u8 = 44;
const PORT: u16 = 5000;
const BUCKET: &str = "trang-web";
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=mau/20260101/us-east-1/s3/aws4_request, \
    SignedHeaders=host, Signature=0";
const START_LIMIT: Duration = Duration::from_mins(1);

/// A running service; killed when dropped, with all that is in it.
#[derive(Debug)]
pub struct S3 {
    server: Child,
    http: reqwest::Client,
    folder: tempfile::TempDir,
}

impl S3 {
    /// Starts it with an empty bucket.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("access", "mau"), ("secret", "bi mat mau\n")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let server = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "moto_server"])
            .args(["-H", &address(HOST).to_string(), "-p", &PORT.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // It asks whose the objects are, and takes any signature.
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static(SIGNED));
        let http = reqwest::Client::builder()
            .no_proxy()
            .default_headers(headers);
        let mut s3 = Self {
            server,
            http: http.build().unwrap(),
            folder,
        };
        let began = Instant::now();
        while TcpStream::connect((address(HOST), PORT)).is_err() {
            let ended = s3.server.try_wait().unwrap();
            assert!(
                ended.is_none() && began.elapsed() < START_LIMIT,
                "no `moto_server` here, or it does not start: `deploy/test` installs it, see `deploy/tools.txt`"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let made = s3.http.put(Self::url("")).send().await.unwrap();
        assert!(made.status().is_success(), "{}", made.status());
        s3
    }

    /// Where it is, and what opens it.
    pub fn settings(&self) -> S3Settings {
        S3Settings {
            endpoint: Self::endpoint().parse().unwrap(),
            bucket: BUCKET.to_owned(),
            prefix: "ban-dung".to_owned(),
            region: "us-east-1".to_owned(),
            access_key_file: self.file("access"),
            secret_key_file: self.file("secret"),
            path_style: true,
            roots: None,
        }
    }

    /// The same, as the configuration of the service has it.
    pub fn config(&self) -> String {
        format!(
            "[revisions.s3]\nendpoint = \"{}\"\nbucket = \"{BUCKET}\"\nprefix = \"ban-dung\"\n\
             access_key_file = \"{}\"\nsecret_key_file = \"{}\"\npath_style = true\n",
            Self::endpoint(),
            self.file("access").display(),
            self.file("secret").display(),
        )
    }

    fn endpoint() -> String {
        format!("http://{}:{PORT}", address(HOST))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(key: &str) -> String {
        format!("{}/{BUCKET}/{key}", Self::endpoint())
    }

    /// The octets of an object, under the prefix.
    pub async fn read(&self, key: &str) -> Vec<u8> {
        let url = Self::url(&format!("ban-dung/{key}"));
        let found = self.http.get(url).send().await.unwrap();
        let found = found.error_for_status().unwrap();
        found.bytes().await.unwrap().to_vec()
    }

    /// Puts octets in the place of an object, under the prefix.
    pub async fn write(&self, key: &str, octets: Vec<u8>) {
        let url = Self::url(&format!("ban-dung/{key}"));
        let put = self.http.put(url).body(octets).send().await.unwrap();
        put.error_for_status().unwrap();
    }

    /// The names of all objects under a folder of the prefix, page after page, without that folder.
    pub async fn names(&self, folder: &str) -> Vec<String> {
        let prefix = format!("ban-dung/{folder}");
        let mut names = Vec::new();
        loop {
            let after = names.last().map(|name| format!("{prefix}{name}"));
            let mut query = vec![("list-type", "2"), ("prefix", prefix.as_str())];
            query.extend(after.as_deref().map(|after| ("start-after", after)));
            let url = url::Url::parse_with_params(&Self::url(""), &query).unwrap();
            let page = self.http.get(url).send().await.unwrap();
            let page = page.text().await.unwrap();
            let before = names.len();
            for part in page.split("<Key>").skip(1) {
                let key = part.split("</Key>").next().unwrap();
                names.push(key.strip_prefix(&prefix).unwrap().to_owned());
            }
            if names.len() == before {
                return names;
            }
        }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // One that has ended already needs no killing.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The names of all files under a folder, without it; what is in none of its folders comes as well.
pub fn names_in(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(place) = folders.pop() {
        for entry in std::fs::read_dir(place).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(folder).unwrap();
                names.push(inside.to_str().unwrap().to_owned());
            }
        }
    }
    names.sort();
    names
}
