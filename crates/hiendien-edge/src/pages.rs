//! The edge's own pages, for people: Vietnamese first, English second.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hiendien_engine::ports::SiteService;
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::services::escape;

/// A page that is the same for every name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// The name is not ours.
    Unknown,
    /// The name is ours and nothing is published yet.
    Pending,
    /// The site has no such page and no page of its own that says so.
    NotFound,
    /// The store cannot be read.
    Unavailable,
    /// In place of a site that a decision stopped.
    Suspended,
    /// In place of a site whose term has ended.
    Expired,
}

impl Page {
    const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Pending,
        Self::NotFound,
        Self::Unavailable,
        Self::Suspended,
        Self::Expired,
    ];

    /// The notice in place of a site that is not served.
    pub(crate) fn notice(service: SiteService) -> Option<Self> {
        match service {
            SiteService::Serving => None,
            SiteService::Suspended => Some(Self::Suspended),
            SiteService::Expired => Some(Self::Expired),
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Unknown | Self::NotFound => StatusCode::NOT_FOUND,
            Self::Pending | Self::Unavailable | Self::Suspended | Self::Expired => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Seconds after which to ask again.
    pub(crate) fn retry_after_secs(self) -> Option<u16> {
        match self {
            Self::Unknown | Self::NotFound => None,
            Self::Pending => Some(10),
            Self::Unavailable => Some(30),
            // Whoever looks for the end of it, a search engine above all, has an hour's time.
            Self::Suspended | Self::Expired => Some(3600),
        }
    }

    /// The word of the header `x-service`, for pages that a probe must be able to tell from a site's own.
    pub(crate) fn service(self) -> Option<&'static str> {
        match self {
            Self::Unknown => Some(UNKNOWN_SERVICE),
            Self::Suspended => Some(SiteService::Suspended.word()),
            Self::Expired => Some(SiteService::Expired.word()),
            Self::Pending | Self::NotFound | Self::Unavailable => None,
        }
    }

    /// Whether it stands in a site's place: nobody may keep it, and no search engine may show it.
    pub(crate) fn is_notice(self) -> bool {
        matches!(self, Self::Suspended | Self::Expired)
    }

    /// Whether the visitor may wait for it to go away.
    fn reloads(self) -> bool {
        self.retry_after_secs().is_some() && !self.is_notice()
    }

    fn render(self, abuse_url: &str) -> String {
        let Texts {
            title,
            vietnamese,
            english,
        } = self.texts();
        let refresh = match self.retry_after_secs() {
            Some(secs) if self.reloads() => {
                format!("<meta http-equiv=\"refresh\" content=\"{secs}\">\n")
            }
            _ => String::new(),
        };
        let (vietnamese_report, english_report) = if self.is_notice() {
            let url = escape(abuse_url);
            (
                format!("\n<p><a href=\"{url}\">Báo cáo nội dung vi phạm</a></p>"),
                format!("\n<p><a href=\"{url}\">Report abuse</a></p>"),
            )
        } else {
            (String::new(), String::new())
        };
        format!(
            "<!doctype html>\n<html lang=\"vi\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n{refresh}\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n{vietnamese}{vietnamese_report}\n\
             <div lang=\"en\">\n{english}{english_report}\n</div>\n\
             </main>\n</body>\n</html>\n"
        )
    }

    fn texts(self) -> Texts {
        match self {
            Self::Unknown => Texts {
                title: "Chưa có trang web ở địa chỉ này",
                vietnamese: "<p>Địa chỉ bạn vừa mở chưa gắn với trang web nào. \
                    Hãy xem lại địa chỉ đã gõ.</p>\n\
                    <p>Nếu đây là tên miền của bạn, hãy liên hệ nhà đăng ký nơi bạn đăng ký tên miền.</p>",
                english: "<p>There is no website at this address. Please check what you typed. \
                    If this domain name is yours, contact your registrar.</p>",
            },
            Self::Pending => Texts {
                title: "Trang web đang được khởi tạo",
                vietnamese: "<p>Trang web này sẽ sẵn sàng trong ít phút nữa. \
                    Bạn không cần làm gì: trang sẽ tự tải lại.</p>",
                english: "<p>This website is being set up and will be ready in a few minutes. \
                    The page reloads by itself.</p>",
            },
            Self::NotFound => Texts {
                title: "Không tìm thấy trang",
                vietnamese: "<p>Trang bạn tìm không có ở đây, hoặc đã được chuyển đi. \
                    <a href=\"/\">Về trang chủ</a></p>",
                english: "<p>The page does not exist or has moved. \
                    <a href=\"/\">Go to the front page</a></p>",
            },
            Self::Unavailable => Texts {
                title: "Trang web tạm thời gián đoạn",
                vietnamese: "<p>Chúng tôi đang khắc phục sự cố. \
                    Bạn vui lòng quay lại sau ít phút; trang sẽ tự tải lại.</p>",
                english: "<p>This website is interrupted for the moment. \
                    Please come back in a few minutes; the page reloads by itself.</p>",
            },
            Self::Suspended => Texts {
                title: "Trang web đang tạm ngưng",
                vietnamese: "<p>Trang web ở địa chỉ này đang tạm ngưng hoạt động. \
                    Thư gửi đến các hộp thư của tên miền này vẫn được nhận và lưu giữ.</p>\n\
                    <p>Nếu đây là tên miền của bạn, hãy liên hệ nhà đăng ký nơi bạn đăng ký tên miền \
                    để biết lý do và cách khôi phục.</p>",
                english: "<p>The website at this address is suspended. \
                    Mail to the mailboxes of this domain name is still taken in and kept.</p>\n\
                    <p>If this domain name is yours, contact your registrar to learn why \
                    and how to restore it.</p>",
            },
            Self::Expired => Texts {
                title: "Trang web đã hết hạn",
                vietnamese: "<p>Thời hạn của tên miền này đã hết nên trang web tạm thời không hiển thị. \
                    Thư gửi đến các hộp thư của tên miền này vẫn được nhận và lưu giữ.</p>\n\
                    <p>Nếu đây là tên miền của bạn, hãy gia hạn tại nhà đăng ký nơi bạn đăng ký tên miền; \
                    trang web sẽ hoạt động trở lại sau khi gia hạn.</p>",
                english: "<p>The term of this domain name has ended, so the website is not shown. \
                    Mail to the mailboxes of this domain name is still taken in and kept.</p>\n\
                    <p>If this domain name is yours, renew it at your registrar; \
                    the website comes back once it is renewed.</p>",
            },
        }
    }
}

/// The word of the header `x-service` on the page of names that are not ours.
pub(crate) const UNKNOWN_SERVICE: &str = "unknown";

/// The pages of one edge, made once.
#[derive(Debug)]
pub(crate) struct Pages([Bytes; Page::ALL.len()]);

impl Pages {
    /// The notices link to `abuse_url`: what a site was reported for may be what it was stopped for.
    pub(crate) fn new(abuse_url: &str) -> Self {
        Self(Page::ALL.map(|page| page.render(abuse_url).into()))
    }

    pub(crate) fn html(&self, page: Page) -> Bytes {
        self.0[page as usize].clone()
    }
}

struct Texts {
    title: &'static str,
    vietnamese: &'static str,
    english: &'static str,
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;font:1.0625rem/1.65 system-ui,sans-serif;background:Canvas;color:CanvasText}\
main{max-width:36rem;margin:0 auto;padding:18vh 1.25rem 3rem}\
h1{font-size:1.625rem;line-height:1.4;margin:0 0 1rem;text-wrap:balance}\
p{margin:0 0 1rem}\
[lang=en]{margin-top:2rem;padding-top:1.25rem;border-top:1px solid GrayText;font-size:.9375rem}";

/// Allows the one style of these pages, by its hash, and nothing else.
pub(crate) fn policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        HeaderValue::from_str(&format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        ))
        .expect("a policy is ASCII")
    });
    POLICY.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_says_what_it_is_about() {
        let pages = Pages::new("https://hiendien.test/bao-cao?a&b");
        for page in Page::ALL {
            let html = String::from_utf8(pages.html(page).to_vec()).unwrap();
            assert!(html.contains(page.texts().title), "{page:?}");
            assert_eq!(html.contains("http-equiv"), page.reloads(), "{page:?}");
            assert!(html.contains(&format!("<style>{STYLE}</style>")));
            let report = "href=\"https://hiendien.test/bao-cao?a&amp;b\"";
            assert_eq!(html.matches(report).count() == 2, page.is_notice());
        }
    }
}
