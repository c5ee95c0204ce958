//! The words of the letters owners get, Vietnamese first. No password is ever in one.

use std::sync::Arc;

use hiendien_domain::ids::OperationId;
use hiendien_domain::name::MailAddress;
use hiendien_domain::platform::Platform;
use hiendien_engine::ports::Letter;
use hiendien_engine::presence::Presence;
use hiendien_engine::step::{Letters, Notice, WelcomeFacts};
use jiff::Timestamp;

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

/// In Vietnam's time, as people there write it.
fn moment(at: Timestamp) -> String {
    zoned(at).strftime("%H:%M ngày %d/%m/%Y").to_string()
}

/// The same for the English part.
fn moment_english(at: Timestamp) -> String {
    zoned(at)
        .strftime("%H:%M on %-d %B %Y (Vietnam time)")
        .to_string()
}

fn zoned(at: Timestamp) -> jiff::Zoned {
    let zone = jiff::tz::TimeZone::get("Asia/Ho_Chi_Minh").unwrap_or(jiff::tz::TimeZone::UTC);
    at.to_zoned(zone)
}

/// Mailboxes with their links, a paragraph each.
fn list(password_urls: &[(MailAddress, String)]) -> String {
    let links: Vec<String> = password_urls
        .iter()
        .map(|(mailbox, url)| format!("{mailbox}:\n{url}\n\n"))
        .collect();
    links.concat()
}

/// The part of a notice that is its own.
struct Words {
    subject: String,
    vietnamese: String,
    english: String,
}

/// Says what has happened, what still works and what to do next, in this order.
fn words(name: &str, host: &str, notice: &Notice) -> Words {
    let (subject, vietnamese, english) = match notice {
        Notice::PasswordLinks {
            password_urls,
            links_expire_at,
        } => (
            format!("Đặt mật khẩu hộp thư {name}"),
            format!(
                "Đây là liên kết mới để đặt mật khẩu cho hộp thư của {name}. Mỗi liên kết chỉ dùng được một lần, đến {until}. \
                 Các liên kết gửi trước đây không còn dùng được.\n\n\
                 {links}\
                 Thư trong hộp thư vẫn còn nguyên. Sau khi đặt mật khẩu mới, hãy nhập mật khẩu đó trên điện thoại và máy tính của quý khách.\n\n\
                 Nếu quý khách không yêu cầu việc này, xin đừng chuyển liên kết cho ai và hãy báo ngay cho nhà đăng ký.",
                until = moment(*links_expire_at),
                links = list(password_urls),
            ),
            format!(
                "Set the password of your mailbox at the link above; it works once, until {until}. Earlier links no longer work. \
                 If you did not ask for this, tell your registrar.",
                until = moment_english(*links_expire_at),
            ),
        ),
        Notice::TermEnds { at } => (
            format!("{name} sắp hết hạn"),
            format!(
                "Thời hạn của tên miền {name} cùng trang web và hộp thư sẽ kết thúc lúc {at}. Đến lúc đó, mọi thứ vẫn hoạt động bình thường.\n\n\
                 Để dùng tiếp, xin quý khách gia hạn tại nhà đăng ký trước thời điểm này. \
                 Nếu không gia hạn, trang web sẽ tạm ngừng và hộp thư sẽ không đăng nhập, không gửi thư được.",
                at = moment(*at),
            ),
            format!(
                "The term of {name} ends at {at}. Until then everything works. Renew it at your registrar to keep site and mail.",
                at = moment_english(*at),
            ),
        ),
        Notice::TermEnded { renew_until } => (
            format!("{name} đã hết hạn"),
            format!(
                "Thời hạn của tên miền {name} đã kết thúc. Trang web đang hiện thông báo tạm ngừng; hộp thư tạm thời không đăng nhập và không gửi thư được.\n\n\
                 Thư gửi đến vẫn được nhận và cất giữ. Nội dung trang web, thư và mật khẩu không mất.\n\n\
                 Xin quý khách gia hạn tại nhà đăng ký trước {until}; khi đó mọi thứ sẽ trở lại như cũ. Sau thời điểm này, tên miền sẽ bị thu hồi.",
                until = moment(*renew_until),
            ),
            format!(
                "The term of {name} has ended: the site shows a notice, and the mailbox cannot be opened. Mail that comes in is kept. \
                 Renew it at your registrar by {until}, and all comes back as it was.",
                until = moment_english(*renew_until),
            ),
        ),
        Notice::Suspended { reason } => (
            format!("{name} đang tạm ngừng"),
            format!(
                "Trang web và hộp thư của {name} đã được tạm ngừng.\n\n\
                 Lý do: {reason}\n\n\
                 Trang web đang hiện thông báo tạm ngừng; hộp thư tạm thời không đăng nhập và không gửi thư được. \
                 Thư gửi đến vẫn được nhận và cất giữ. Nội dung trang web, thư và mật khẩu không mất.\n\n\
                 Để biết cần làm gì để hoạt động trở lại, xin quý khách liên hệ nhà đăng ký.",
                reason = one_line(reason),
            ),
            format!(
                "Site and mailbox of {name} are suspended; the reason is given above. Mail that comes in is kept, and nothing is lost. \
                 Ask your registrar what to do next.",
            ),
        ),
        Notice::Resumed => (
            format!("{name} đã hoạt động trở lại"),
            format!(
                "Trang web và hộp thư của {name} đã hoạt động trở lại:\nhttps://{host}/\n\n\
                 Quý khách đăng nhập hộp thư bằng mật khẩu như trước. Thư đến trong thời gian tạm ngừng đã có sẵn trong hộp thư.\n\n\
                 Quý khách không cần làm gì thêm. Nếu ứng dụng thư còn báo lỗi, hãy đóng và mở lại ứng dụng.",
            ),
            format!(
                "Site and mailbox of {name} work again, with the same password. Mail that came in meanwhile is in the mailbox.",
            ),
        ),
        Notice::Renewed { until } => {
            let (term, term_english) = match until {
                Some(until) => (
                    format!("Thời hạn mới kéo dài đến {}.", moment(*until)),
                    format!("It now runs until {}.", moment_english(*until)),
                ),
                None => (
                    "Hiện không có ngày hết hạn nào được ấn định.".to_owned(),
                    "No end of the term is set.".to_owned(),
                ),
            };
            (
                format!("Đã gia hạn {name}"),
                format!(
                    "Tên miền {name} đã được gia hạn. {term}\n\n\
                     Trang web và hộp thư hoạt động như thường lệ. Quý khách không cần làm gì thêm.",
                ),
                format!("{name} has been renewed. {term_english} There is nothing you need to do."),
            )
        }
        Notice::Transferred => (
            format!("{name} đã được chuyển giao cho quý khách"),
            format!(
                "Tên miền {name} cùng trang web và hộp thư đã được chuyển giao cho quý khách:\nhttps://{host}/\n\n\
                 Trang web vẫn hoạt động và thư gửi đến vẫn được nhận. Mật khẩu cũ của hộp thư không còn dùng được; \
                 liên kết để đặt mật khẩu mới được gửi trong một thư riêng.\n\n\
                 Xin quý khách đặt mật khẩu, rồi xem lại thông tin trên trang web. Nếu cần sửa, hãy liên hệ nhà đăng ký.",
            ),
            format!(
                "{name} with its site and mailbox has been transferred to you. Former passwords no longer work; \
                 a separate letter brings the link to set a new one. Please check what the site says.",
            ),
        ),
        Notice::Released { erased_at } => (
            format!("{name} đã ngừng hoạt động"),
            format!(
                "Tên miền {name} đã được trả lại. Trang web và hộp thư đã ngừng hoạt động; thư gửi đến địa chỉ cũ sẽ bị từ chối.\n\n\
                 Nội dung trang web và thư đã nhận được cất giữ đến {erased_at}, sau đó sẽ bị xoá vĩnh viễn.\n\n\
                 Nếu cần bản sao, xin quý khách liên hệ nhà đăng ký trước thời điểm này. \
                 Hãy báo địa chỉ thư mới cho khách hàng và những nơi quý khách đã dùng địa chỉ cũ để đăng ký.",
                erased_at = moment(*erased_at),
            ),
            format!(
                "{name} has been given back; its site and mailbox no longer work. Their content is kept until {erased_at} and then erased. \
                 Ask your registrar before then if you need a copy.",
                erased_at = moment_english(*erased_at),
            ),
        ),
        Notice::DossierDue { by } => (
            format!("Cần bổ sung hồ sơ của {name}"),
            format!(
                "Hồ sơ đăng ký tên miền {name} còn thiếu giấy tờ. Trang web và hộp thư vẫn hoạt động bình thường.\n\n\
                 Xin quý khách bổ sung hồ sơ tại nhà đăng ký trước {by}. Quá thời điểm này, trang web và hộp thư có thể bị tạm ngừng.\n\n\
                 Vì sự an toàn của quý khách, xin đừng gửi giấy tờ cá nhân bằng cách trả lời thư này.",
                by = moment(*by),
            ),
            format!(
                "Papers are missing for the registration of {name}. Hand them to your registrar by {by}; until then everything works. \
                 Do not send them in reply to this letter.",
                by = moment_english(*by),
            ),
        ),
        Notice::Dormant => (
            format!("Trang web và hộp thư {name} đang chờ quý khách"),
            format!(
                "Trang web của {name} chưa được chỉnh sửa lần nào và hộp thư chưa được mở lần nào. Cả hai đều hoạt động và sẵn sàng:\nhttps://{host}/\n\n\
                 Chỉ cần vài phút: xem lại nội dung trang web, đặt mật khẩu hộp thư và gửi thử một lá thư.\n\n\
                 Liên kết đặt mật khẩu ở trong thư chào mừng. Nếu liên kết đã hết hạn hoặc quý khách muốn sửa trang web, hãy liên hệ nhà đăng ký.",
            ),
            format!(
                "The site of {name} has not been changed yet, nor its mailbox opened. Both work. \
                 If the password link has expired, ask your registrar for a new one.",
            ),
        ),
    };
    Words {
        subject,
        vietnamese,
        english,
    }
}

/// What somebody else wrote, so that it can neither begin a paragraph of ours nor stand as a link.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Letters for OwnerLetters {
    fn welcome(&self, presence: &Presence, facts: &WelcomeFacts) -> Letter {
        let plan = &presence.plan;
        let name = plan.name.to_unicode();
        let (imap, smtp) = (self.platform.imap_host(), self.platform.smtp_host());
        let until = moment(facts.links_expire_at);
        let links = list(&facts.password_urls);
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

    fn notice(&self, presence: &Presence, id: &str, notice: &Notice) -> Letter {
        let plan = &presence.plan;
        let words = words(&plan.name.to_unicode(), plan.name.as_str(), notice);
        let text = format!(
            "Kính gửi {owner},\n\n\
             {vietnamese}\n\n\
             Chúng tôi không bao giờ hỏi mật khẩu của quý khách. Nếu cần giúp đỡ, hãy liên hệ nhà đăng ký đã cấp tên miền.\n\n\
             ---\n\n\
             {english} We never ask for your password.\n",
            owner = plan.owner_name,
            vietnamese = words.vietnamese,
            english = words.english,
        );
        Letter {
            id: id.to_owned(),
            to: plan.contact_email.clone(),
            subject: words.subject,
            html: Some(html(&text)),
            text,
        }
    }
}

#[cfg(test)]
mod tests;
