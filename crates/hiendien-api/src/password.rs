//! The page on which the owner of a mailbox sets its password, once.

use axum::extract::{Form, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hiendien_domain::secret::Secret;
use hiendien_engine::ports::ErrorChain;
use serde::Deserialize;

use crate::{ApiState, Problem};

/// Shortest and longest password, characters.
const PASSWORD_LEN: std::ops::RangeInclusive<usize> = 10..=128;

const STYLE: &str = "body{font:1.05rem/1.6 system-ui,sans-serif;max-width:26rem;margin:2rem auto;padding:0 1rem;\
color:#1d2b2a;background:#fbfaf7}h1{font-size:1.4rem;line-height:1.35}label{display:block;margin:1rem 0 .25rem;font-weight:600}\
input{font:inherit;width:100%;padding:.6rem;border:1px solid #7b8785;border-radius:.4rem;box-sizing:border-box}\
button{font:inherit;font-weight:600;margin-top:1.25rem;width:100%;padding:.75rem;border:0;border-radius:.4rem;\
background:#0b5d56;color:#fff}p.en{color:#4d5957;font-size:.92rem}p.fault{color:#9b1c1c;font-weight:600}\
@media(prefers-color-scheme:dark){body{color:#e6edeb;background:#141a19}p.en{color:#a9b5b2}p.fault{color:#ff9d94}\
input{background:#1d2624;color:inherit}}";

#[derive(Deserialize)]
pub(crate) struct NewPassword {
    password: String,
    again: String,
}

impl std::fmt::Debug for NewPassword {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("NewPassword(****)")
    }
}

/// Shows the form; looking at it does not use the link up.
pub(crate) async fn show(
    State(state): State<ApiState>,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let link = state
        .password_links
        .link(&Secret::new(token), state.clock.now())
        .await?;
    Ok(match link {
        Some(link) => page(
            StatusCode::OK,
            "Đặt mật khẩu hộp thư",
            &form(link.address.as_str(), ""),
        ),
        None => gone(),
    })
}

/// Sets the password and uses the link up.
pub(crate) async fn set(
    State(state): State<ApiState>,
    Path(token): Path<String>,
    Form(new): Form<NewPassword>,
) -> Result<Response, Problem> {
    let token = Secret::new(token);
    let now = state.clock.now();
    let Some(link) = state.password_links.link(&token, now).await? else {
        return Ok(gone());
    };
    let fault = if !PASSWORD_LEN.contains(&new.password.chars().count()) {
        Some("Mật khẩu cần từ 10 đến 128 ký tự. <span lang=\"en\">Use 10 to 128 characters.</span>")
    } else if new.password != new.again {
        Some("Hai lần nhập không giống nhau. <span lang=\"en\">The two entries differ.</span>")
    } else {
        None
    };
    if let Some(fault) = fault {
        let body = form(
            link.address.as_str(),
            &format!("<p class=\"fault\">{fault}</p>"),
        );
        return Ok(page(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Đặt mật khẩu hộp thư",
            &body,
        ));
    }
    // The password comes first: a failure in between leaves a link that still works.
    state
        .mailboxes
        .set_password(link.presence, &link.address, &Secret::new(new.password))
        .await?;
    if state.password_links.take_link(&token, now).await?.is_none() {
        return Ok(gone());
    }
    tracing::info!(presence.id = %link.presence, "mailbox password set");
    // The password is set; that the owner was there is only noted.
    if let Err(error) = state.lifecycle.touch(link.presence, now).await {
        tracing::warn!(error = %ErrorChain(&error), "could not note a sign of the owner");
    }
    let body = format!(
        "<p>Hộp thư <strong>{}</strong> đã có mật khẩu mới. Hãy dùng mật khẩu này để đăng nhập trên điện thoại \
         hoặc máy tính.</p><p class=\"en\" lang=\"en\">Your mailbox has its new password. Sign in with it.</p>",
        escape(link.address.as_str())
    );
    Ok(page(StatusCode::OK, "Đã đặt mật khẩu", &body))
}

fn form(address: &str, fault: &str) -> String {
    let address = escape(address);
    format!(
        "<p>Hộp thư: <strong>{address}</strong></p>{fault}<form method=\"post\">\
         <input type=\"hidden\" name=\"username\" autocomplete=\"username\" value=\"{address}\">\
         <label for=\"password\">Mật khẩu mới (từ 10 ký tự)</label>\
         <input id=\"password\" name=\"password\" type=\"password\" required minlength=\"10\" maxlength=\"128\" \
         autocomplete=\"new-password\">\
         <label for=\"again\">Nhập lại mật khẩu</label>\
         <input id=\"again\" name=\"again\" type=\"password\" required minlength=\"10\" maxlength=\"128\" \
         autocomplete=\"new-password\"><button>Đặt mật khẩu</button></form>\
         <p class=\"en\" lang=\"en\">Choose the password of your mailbox. This link works once.</p>"
    )
}

fn gone() -> Response {
    let body = "<p>Liên kết này đã được dùng hoặc đã hết hạn. Nếu bạn vừa đặt mật khẩu, mật khẩu đó đã có hiệu lực. \
                Nếu chưa, hãy liên hệ nhà đăng ký đã cấp tên miền.</p>\
                <p class=\"en\" lang=\"en\">This link was used or has expired. A password you have just set is in force. \
                If you have not, ask your registrar.</p>";
    page(StatusCode::GONE, "Liên kết không còn dùng được", body)
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"vi\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>"
    );
    let mut response = (
        status,
        [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
        html,
    )
        .into_response();
    let headers = response.headers_mut();
    let mut put = |name, value| headers.insert(name, HeaderValue::from_static(value));
    put(header::CACHE_CONTROL, "no-store");
    put(header::REFERRER_POLICY, "no-referrer");
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    );
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
