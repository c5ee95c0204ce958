//! The edge's own pages, for people: Vietnamese first, English second.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

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
}

impl Page {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Unknown | Self::NotFound => StatusCode::NOT_FOUND,
            Self::Pending | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Seconds after which to ask again.
    pub(crate) fn retry_after_secs(self) -> Option<u16> {
        match self {
            Self::Unknown | Self::NotFound => None,
            Self::Pending => Some(10),
            Self::Unavailable => Some(30),
        }
    }

    pub(crate) fn html(self) -> Bytes {
        static ALL: LazyLock<[Bytes; 4]> = LazyLock::new(|| {
            [
                Page::Unknown,
                Page::Pending,
                Page::NotFound,
                Page::Unavailable,
            ]
            .map(|page| page.render().into())
        });
        ALL[self as usize].clone()
    }

    fn render(self) -> String {
        let Texts {
            title,
            vietnamese,
            english,
        } = self.texts();
        let refresh = match self.retry_after_secs() {
            Some(secs) => format!("<meta http-equiv=\"refresh\" content=\"{secs}\">\n"),
            None => String::new(),
        };
        format!(
            "<!doctype html>\n<html lang=\"vi\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n{refresh}\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n{vietnamese}\n<div lang=\"en\">\n{english}\n</div>\n\
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
        }
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
        for page in [
            Page::Unknown,
            Page::Pending,
            Page::NotFound,
            Page::Unavailable,
        ] {
            let html = String::from_utf8(page.html().to_vec()).unwrap();
            assert!(html.contains(page.texts().title), "{page:?}");
            assert_eq!(html.contains("refresh"), page.retry_after_secs().is_some());
            assert!(html.contains(&format!("<style>{STYLE}</style>")));
        }
    }
}
