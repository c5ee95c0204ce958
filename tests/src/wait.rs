//! Waits for states, never for time.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// Calls `observe` often until it answers `Ok`, at most for `limit`; then panics with the last status.
pub async fn wait_for<T, E, F>(what: &str, limit: Duration, mut observe: impl FnMut() -> F) -> T
where
    E: Debug,
    F: Future<Output = Result<T, E>>,
{
    let began = Instant::now();
    loop {
        match observe().await {
            Ok(value) => return value,
            Err(status) if began.elapsed() >= limit => {
                panic!("waited {limit:?} for {what}; last seen: {status:?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
