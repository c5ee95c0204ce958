//! Loopback addresses of a test. Under nextest each running test has a slot of its own.

use std::net::Ipv4Addr;

/// The third octet that is this test's: `127.77.<slot + 1>.x`. Without nextest all tests share
/// slot 0, so run them one at a time there.
#[expect(
    clippy::disallowed_methods,
    reason = "nextest tells the slot by the environment only"
)]
pub fn slot() -> u8 {
    let slot = std::env::var("NEXTEST_TEST_GLOBAL_SLOT").ok();
    slot.and_then(|text| text.parse::<u8>().ok())
        .map_or(1, |slot| slot + 1)
}

/// An address of this test.
pub fn address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, slot(), host)
}
