//! The words of the letters owners get, Vietnamese first. No password is ever in one.

use std::sync::Arc;

use hiendien_domain::ids::OperationId;
use hiendien_domain::platform::Platform;
use hiendien_engine::ports::Letter;
use hiendien_engine::presence::Presence;
use hiendien_engine::step::{Letters, WelcomeFacts};

/// Writes letters for the owners of presences.
#[derive(Debug, Clone)]
pub struct OwnerLetters {
    pub platform: Arc<Platform>,
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Plain text as simple HTML: paragraphs, line breaks, and the links as links.
fn html(text: &str) -> String {
    let line = |line: &str| match line.trim() {
        url if url.starts_with("https://") || url.starts_with("http://") => {
            let url = escape(url);
            format!("<a href=\"{url}\">{url}</a>")
        }
        other => escape(other),
    };
    let paragraph = |text: &str| {
        format!(
            "<p>{}</p>",
            text.lines().map(line).collect::<Vec<_>>().join("<br>")
        )
    };
    let body: String = text.split("\n\n").map(paragraph).collect();
    format!(
        "<!doctype html><html lang=\"vi\"><head><meta charset=\"utf-8\"></head><body style=\"font:16px/1.6 sans-serif\">{body}</body></html>"
    )
}

impl Letters for OwnerLetters {
    fn welcome(&self, presence: &Presence, facts: &WelcomeFacts) -> Letter {
        let plan = &presence.plan;
        let name = plan.name.to_unicode();
        let (imap, smtp) = (self.platform.imap_host(), self.platform.smtp_host());
        let zone = jiff::tz::TimeZone::get("Asia/Ho_Chi_Minh").unwrap_or(jiff::tz::TimeZone::UTC);
        let until = facts
            .links_expire_at
            .to_zoned(zone)
            .strftime("%H:%M ngày %d/%m/%Y")
            .to_string();
        let links: Vec<String> = facts
            .password_urls
            .iter()
            .map(|(mailbox, url)| format!("{mailbox}:\n{url}\n\n"))
            .collect();
        let links = links.concat();
        let text = format!(
            "Kính gửi {owner},\n\n\
             Trang web của quý khách đã hoạt động:\nhttps://{host}/\n\n\
             Hộp thư đã sẵn sàng. Để dùng hộp thư, hãy đặt mật khẩu tại liên kết sau (mỗi liên kết chỉ dùng được một lần, đến {until}).\n\n\
             {links}\
             Cài đặt trên điện thoại hoặc máy tính:\n\
             - Nhận thư (IMAP): {imap}, cổng 993, SSL/TLS\n\
             - Gửi thư (SMTP): {smtp}, cổng 465, SSL/TLS\n\
             - Tên đăng nhập: địa chỉ hộp thư\n\n\
             Chúng tôi không bao giờ hỏi mật khẩu của quý khách. Nếu cần giúp đỡ, hãy liên hệ nhà đăng ký đã cấp tên miền.\n\n\
             ---\n\n\
             Your site {name} is live and your mailbox is ready. Set its password at the link above; it works once. \
             IMAP: {imap}:993, SMTP: {smtp}:465, both TLS. We never ask for your password.\n",
            owner = plan.owner_name,
            host = plan.name,
        );
        Letter {
            id: format!("welcome-{}", facts.operation),
            to: plan.contact_email.clone(),
            subject: format!("{name} đã hoạt động – đặt mật khẩu hộp thư"),
            html: Some(html(&text)),
            text,
        }
    }

    fn first(&self, presence: &Presence, operation: OperationId) -> Letter {
        let plan = &presence.plan;
        let name = plan.name.to_unicode();
        let text = format!(
            "Chào mừng {owner} đến với hộp thư mới của {name}!\n\n\
             Địa chỉ này đã nhận và gửi được thư. Trang web của quý khách ở đây:\nhttps://{host}/\n\n\
             Vài việc nên làm tiếp: gửi thử một lá thư cho người quen, in địa chỉ mới lên danh thiếp hoặc biển hiệu, \
             và kiểm tra lại thông tin trên trang web.\n\n\
             ---\n\n\
             Welcome to the new mailbox of {name}. It receives and sends mail already.\n",
            owner = plan.owner_name,
            host = plan.name,
        );
        Letter {
            id: format!("first-{operation}"),
            to: plan.mailboxes[0].at(&plan.name),
            subject: format!("Chào mừng đến với hộp thư {name}"),
            html: Some(html(&text)),
            text,
        }
    }
}
