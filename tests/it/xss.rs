//! Hostile text in every field of the content model, opened in a real Chromium. `cargo xtask judge --only xss` tries
//! each text in each field; here each field has one of them, so that a new field or template is never without.

use std::net::IpAddr;
use std::sync::Arc;

use hiendien_render::Template;
use integration_tests::lab::root;
use integration_tests::net;
use integration_tests::site::templates;
use serde_json::{Value, json};
use site_lab::content::{Variant, at_host, content};
use site_lab::corpus::{fields, fill, mixed, texts};
use site_lab::plan::{Site, host, plan};
use tokio::sync::oneshot;

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_stays_text() {
    let texts = texts().unwrap();
    let mut sites = Vec::new();
    for (shift, name) in hiendien_render::names(&templates())
        .unwrap()
        .iter()
        .enumerate()
    {
        let template = Template::load(&templates(), name).unwrap();
        let sample = content(&templates(), name, Variant::Sample).unwrap();
        let fields = fields(&template, &sample).unwrap();
        assert!(fields.open.len() > 20, "`{name}` has fields: {fields:?}");
        let mut add = |label: &str, note: Value, text: &dyn Fn(usize) -> String| {
            let content = at_host(&sample, &host(name, label)).unwrap();
            sites.push(Site {
                template: name.clone(),
                content: label.to_owned(),
                tree: fill(&template, &content, &fields.open, text).unwrap().tree,
                note,
            });
        };
        add("harmless", json!({}), &|_| "lời thường".to_owned());
        add("mixed", json!({}), &|index| {
            mixed(&texts, index, shift).to_owned()
        });
    }
    let address = IpAddr::V4(net::address(80));
    let (served, plan) = plan(sites, address).unwrap();
    let edge = Arc::new(served).bind(address).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let edge = tokio::spawn(edge.run(async {
        let _ = stopped.await;
    }));
    let told = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(told.path(), json!({ "plan": plan }).to_string()).unwrap();
    let judged = tokio::process::Command::new("node")
        .arg(root().join("crates/xtask/judge/xss.mjs"))
        .arg(told.path())
        .output()
        .await
        .expect("node runs; install it with `apt-get install nodejs chromium`");
    drop(stop);
    edge.await.unwrap();
    let said = String::from_utf8_lossy(&judged.stdout);
    let fault = String::from_utf8_lossy(&judged.stderr);
    assert!(judged.status.success(), "{said}\n{fault}");
}
