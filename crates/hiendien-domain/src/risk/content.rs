//! What a site says, read for gambling, phishing, look-alikes, and an account that is not the owner's.
//!
//! People write with and without marks, and those who hide write letters apart or digits for letters.
//! A phrase is found where each word stands with its own marks or with none at all: `cá đỏ` is a fish.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;
use url::{Host, Url};

use super::{INSIDE_FROM, Risk, WORDS, letter_for, near};
use crate::claim::without_marks;
use crate::content::SiteContent;

const GAMBLING: u8 = 60;
const LINK: u8 = 70;
const HIDDEN_LINK: u8 = 30;
const LOOK_ALIKE: u8 = 60;
const FOREIGN_ACCOUNT: u8 = 60;
/// Letters apart from each other that make a word together, from this many on.
const APART_FROM: usize = 4;
/// A phrase written as one word is known by at least this many letters.
const JOINED_FROM: usize = 5;
/// A brand one letter away is known by at least this many letters.
const NEAR_FROM: usize = 7;
/// Members that are ours, the registry's or a machine's.
const NOT_THE_OWNERS: [&str; 4] = ["site", "legal", "placeholder", "id"];
/// What the site calls itself by.
const NAMES: [&str; 4] = ["trade_name", "tagline", "full_name", "headline"];
/// Words of a legal name that say nothing of who it is.
const LEGAL_WORDS: [&str; 14] = [
    "cong", "ty", "tnhh", "co", "phan", "cp", "mtv", "mot", "thanh", "vien", "ho", "kinh", "doanh",
    "dntn",
];

/// Reads all texts of a site; `registrants` are the names its owner is known by.
pub fn of_content(content: &SiteContent, registrants: &[&str]) -> Risk {
    let mut risk = Risk::default();
    let value = serde_json::to_value(content).expect("content has text keys only");
    texts(&value, "", &mut |field, text| {
        for (score, what) in of_text(field, text) {
            risk.add(field, score, what);
        }
    });
    if let SiteContent::Business(business) = content
        && let Some(bank) = &business.bank
        && !registrants
            .iter()
            .any(|name| is_same_holder(&bank.holder, name))
    {
        let holder = &bank.holder;
        risk.add(
            "bank.holder",
            FOREIGN_ACCOUNT,
            format!("the account's holder `{holder}` is not the registrant"),
        );
    }
    risk
}

fn texts(value: &Value, field: &str, read: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => read(field, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                texts(item, &format!("{field}[{index}]"), read);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                if !NOT_THE_OWNERS.contains(&name.as_str()) {
                    let dot = if field.is_empty() { "" } else { "." };
                    texts(member, &format!("{field}{dot}{name}"), read);
                }
            }
        }
        _ => {}
    }
}

/// A word of a text, in lower case.
struct Word {
    marked: String,
    plain: String,
}

impl Word {
    fn of(text: &str) -> Self {
        Self {
            plain: without_marks(text),
            marked: text.to_owned(),
        }
    }

    fn has_no_marks(&self) -> bool {
        self.marked == self.plain
    }

    /// Digits that stand for letters between letters, as in `c4sino`; not those behind a name.
    fn read(&self) -> String {
        let core = self
            .plain
            .trim_end_matches(|letter: char| letter.is_ascii_digit());
        core.chars().map(letter_for).collect()
    }
}

struct Phrase {
    words: Vec<Word>,
    joined: Word,
    /// Whether it means the same when its marks are left out.
    plain_too: bool,
    score: u8,
    kind: &'static str,
    text: &'static str,
}

static PHRASES: LazyLock<Vec<Phrase>> = LazyLock::new(|| {
    let phrase = |text: &'static str, score, kind| {
        let bare = text.trim_end_matches('!');
        Phrase {
            words: bare.split(' ').map(Word::of).collect(),
            joined: Word::of(&bare.replace(' ', "")),
            plain_too: bare == text,
            score,
            kind,
            text: bare,
        }
    };
    let gambling = WORDS.gambling_phrases.iter();
    let gambling = gambling.map(|text| phrase(text, GAMBLING, "gambling"));
    let brands = WORDS.gambling_brands.iter();
    let brands = brands.map(|text| phrase(text, GAMBLING, "a gambling brand"));
    let phishing = WORDS.phishing_phrases.iter();
    let phishing = phishing.map(|(text, score)| phrase(text, *score, "phishing"));
    gambling.chain(brands).chain(phishing).collect()
});

impl Phrase {
    fn begins(&self, words: &[Word]) -> bool {
        let same = |word: &Word, mine: &Word| {
            word.marked == mine.marked
                || self.plain_too && word.has_no_marks() && word.plain == mine.plain
        };
        let apart = words.len() >= self.words.len()
            && words
                .iter()
                .zip(&self.words)
                .all(|(word, mine)| same(word, mine));
        let together = words.first().is_some_and(|word| {
            let read = word.read();
            let long = self.joined.plain.len() >= JOINED_FROM;
            same(word, &self.joined) || long && word.has_no_marks() && read == self.joined.plain
        });
        apart || together
    }
}

fn of_text(field: &str, text: &str) -> Vec<(u8, String)> {
    let mut found = Vec::new();
    let words = words(text);
    for start in 0..words.len() {
        for phrase in PHRASES
            .iter()
            .filter(|phrase| phrase.begins(&words[start..]))
        {
            found.push((phrase.score, format!("{} `{}`", phrase.kind, phrase.text)));
        }
    }
    let last = field.rsplit('.').next().unwrap_or_default();
    if NAMES.contains(&last) {
        found.extend(look_alikes(&words));
    }
    for link in links(text) {
        found.extend(of_link(&link));
    }
    found
}

/// The words of a text; letters that stand apart are one word, as in `t à i x ỉ u`.
fn words(text: &str) -> Vec<Word> {
    let text: String = text.nfkc().filter(|letter| !is_unseen(*letter)).collect();
    let text = text.to_lowercase();
    let mut words: Vec<String> = Vec::new();
    let mut apart = String::new();
    let flush = |apart: &mut String, words: &mut Vec<String>| {
        if apart.chars().count() >= APART_FROM {
            words.push(apart.clone());
        }
        apart.clear();
    };
    for word in text
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        if word.chars().count() == 1 {
            apart.push_str(word);
        } else {
            flush(&mut apart, &mut words);
        }
        words.push(word.to_owned());
    }
    flush(&mut apart, &mut words);
    words.iter().map(|word| Word::of(word)).collect()
}

/// Characters without a shape, which only hide a word from who looks for it.
fn is_unseen(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
    )
}

/// Banks, wallets and offices that a site calls itself by.
fn look_alikes(words: &[Word]) -> Vec<(u8, String)> {
    let joined: Vec<String> = words.iter().map(|word| word.plain.clone()).collect();
    let all = joined.concat();
    let brands = WORDS.official_hosts.keys();
    let is_like = |brand: &&String| {
        joined.contains(*brand)
            || brand.len() >= NEAR_FROM
                && (all.contains(brand.as_str()) || joined.iter().any(|word| near(word, brand)))
    };
    brands
        .filter(is_like)
        .map(|brand| (LOOK_ALIKE, format!("calls itself by the brand `{brand}`")))
        .collect()
}

/// What in a text leads somewhere.
fn links(text: &str) -> Vec<Url> {
    let ends = |letter: char| {
        letter.is_whitespace() || matches!(letter, '<' | '>' | '"' | '(' | ')' | '[' | ']')
    };
    text.split(ends)
        .filter_map(|word| {
            let word = word.trim_end_matches(['.', ',', ';', ':', '!']);
            match word.to_ascii_lowercase() {
                lower if lower.starts_with("http://") || lower.starts_with("https://") => {
                    Url::parse(word).ok()
                }
                lower if lower.starts_with("www.") => Url::parse(&format!("https://{word}")).ok(),
                _ => None,
            }
        })
        .collect()
}

fn of_link(link: &Url) -> Vec<(u8, String)> {
    let mut found = Vec::new();
    let host = match link.host() {
        Some(Host::Domain(host)) => host.trim_start_matches("www.").to_owned(),
        Some(_) => {
            return vec![(LINK, format!("a link to a bare address, `{link}`"))];
        }
        None => return found,
    };
    if !link.username().is_empty() || link.password().is_some() {
        found.push((LINK, format!("a link that hides its host `{host}`")));
    }
    let is_within = |parent: &String| {
        host == *parent
            || host
                .strip_suffix(parent.as_str())
                .is_some_and(|head| head.ends_with('.'))
    };
    if WORDS.shorteners.iter().any(is_within) {
        found.push((
            HIDDEN_LINK,
            format!("a link whose end is hidden, by `{host}`"),
        ));
    }
    let labels: Vec<&str> = host.split(['.', '-']).collect();
    let gambling = WORDS.gambling_brands.iter().chain(&WORDS.gambling);
    for word in gambling {
        let within = word.len() >= INSIDE_FROM && host.replace('-', "").contains(word.as_str());
        let alone = labels.iter().any(|label| {
            label == word || label.trim_end_matches(|letter: char| letter.is_ascii_digit()) == word
        });
        if within || alone {
            found.push((LINK, format!("a link to a gambling site, `{host}`")));
            break;
        }
    }
    for (brand, hosts) in &WORDS.official_hosts {
        let official = hosts.iter().any(is_within) || host.ends_with(".gov.vn");
        let like = labels.contains(&brand.as_str())
            || brand.len() >= NEAR_FROM
                && (host.contains(brand.as_str()) || labels.iter().any(|label| near(label, brand)));
        if like && !official {
            found.push((
                LINK,
                format!("a link that looks like one of `{brand}`, `{host}`"),
            ));
        }
    }
    found
}

/// Whether an account's holder may be who is known by `name`: all that tells who one is stands in the other.
fn is_same_holder(holder: &str, name: &str) -> bool {
    let telling = |text: &str| -> BTreeSet<String> {
        let words = without_marks(text).to_lowercase();
        words
            .split(|letter: char| !letter.is_alphanumeric())
            .filter(|word| !word.is_empty() && !LEGAL_WORDS.contains(word))
            .map(str::to_owned)
            .collect()
    };
    let (holder, name) = (telling(holder), telling(name));
    !holder.is_empty() && !name.is_empty() && (holder.is_subset(&name) || name.is_subset(&holder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(text: &str) -> Vec<String> {
        of_text("about", text)
            .into_iter()
            .map(|(_, reason)| reason)
            .collect()
    }

    #[test]
    fn gambling_and_phishing_are_found_with_and_without_marks() {
        for text in [
            "Chơi TÀI XỈU trực tuyến",
            "choi tai xiu truc tuyen",
            "t.à.i x.ỉ.u uy tín",
            "t a i x i u",
            "#taixiu88 nạp rút nhanh",
            "ta\u{200b}i xi\u{200b}u",
            "ca\u{301} cược bóng đá",
            "c4sino số một",
            "Link vào Kubet mới nhất",
            "vui lòng nhập mã OTP để tiếp tục",
            "vui long nhap ma otp",
            "Tài khoản của bạn bị khóa",
            "Xem [tại đây](https://vietcombank-hotro.example/otp)",
            "www.vietconbank.example",
            "https://nohu88.example/",
            "http://203.0.113.7/",
            "https://vietcombank.com.vn@evil.example/",
        ] {
            assert!(!reasons(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn shops_and_students_are_left_alone() {
        for text in [
            "Cá đỏ, cá thu, cá nục tươi mỗi ngày",
            "ca do tuoi song",
            "Nhà cái gì cũng có: nồi, chảo, chén đũa",
            "Kẹo dừa, kẹo lạc; no hu tieu cung co",
            "Thanh toán qua Vietcombank, MoMo, ZaloPay đều được",
            "Nhắn https://zalo.me/0710000001 hoặc https://www.facebook.com/mau",
            "https://dichvucong.gov.vn/ và https://vietcombank.com.vn/ty-gia",
            "Đại lý vé số kiến thiết, thẻ cào",
            "Vẽ tranh, vẽ tường, vẽ xe",
        ] {
            assert_eq!(reasons(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_site_that_calls_itself_a_bank_is_a_look_alike() {
        let of = |text: &str| of_text("trade_name", text).len();
        assert!(of("Vietcombank Hà Nội") > 0);
        assert!(of("Vietcom Bank hỗ trợ") > 0);
        assert!(of("Techconbank") > 0);
        assert!(of("ACB") > 0);
        assert_eq!(of("Phở Hoà"), 0);
        assert_eq!(of("Tiệm may Vạn Lộc"), 0);
    }

    #[test]
    fn an_account_is_the_owners_own() {
        assert!(is_same_holder(
            "NGUYEN VAN MAU",
            "Hộ kinh doanh Nguyễn Văn Mẫu"
        ));
        assert!(is_same_holder(
            "CONG TY TNHH MAU XANH",
            "Công ty TNHH Mẫu Xanh"
        ));
        assert!(!is_same_holder(
            "TRAN THI KHAC",
            "Hộ kinh doanh Nguyễn Văn Mẫu"
        ));
        assert!(!is_same_holder("CONG TY TNHH", "Công ty TNHH Mẫu Xanh"));
    }
}
