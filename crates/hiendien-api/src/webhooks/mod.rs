//! Webhooks: the routes by which registrars set endpoints up, and the sender.

mod address;
mod routes;
mod sender;

pub use routes::{
    DeliveryPage, DeliveryView, NewEndpoint, Replay, ReplayView, TestView, WebhookView,
};
pub(crate) use routes::{deliveries, list, put, remove, replay, rotate, test};
pub use sender::{HttpSender, SenderError, TargetError, TargetRules};
