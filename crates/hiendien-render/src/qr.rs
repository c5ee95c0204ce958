//! Bank transfers as a QR code: the `VietQR` text (`EMVCo`, NAPAS) and its picture.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};

/// Names NAPAS in tag 38.
const NAPAS: &str = "A000000727";
/// A transfer to an account.
const TO_ACCOUNT: &str = "QRIBFTTA";
/// Blank modules around a code, as its standard wants.
const QUIET: usize = 4;

/// Banks by the number NAPAS gave them, as people call them.
const BANKS: [(&str, &str); 61] = [
    ("422589", "CIMB"),
    ("458761", "HSBC"),
    ("533948", "Citibank"),
    ("546034", "CAKE"),
    ("546035", "Ubank"),
    ("668888", "KBank"),
    ("801011", "Nonghyup Bank"),
    ("963388", "Timo"),
    ("970400", "SAIGONBANK"),
    ("970403", "Sacombank"),
    ("970405", "Agribank"),
    ("970406", "Vikki Bank (DongA Bank)"),
    ("970407", "Techcombank"),
    ("970408", "GPBank"),
    ("970409", "BAC A BANK"),
    ("970410", "Standard Chartered"),
    ("970412", "PVcomBank"),
    ("970414", "MBV (OceanBank)"),
    ("970415", "VietinBank"),
    ("970416", "ACB"),
    ("970418", "BIDV"),
    ("970419", "NCB"),
    ("970421", "VRB"),
    ("970422", "MB Bank"),
    ("970423", "TPBank"),
    ("970424", "Shinhan Bank"),
    ("970425", "ABBANK"),
    ("970426", "MSB"),
    ("970427", "VietABank"),
    ("970428", "Nam A Bank"),
    ("970429", "SCB"),
    ("970430", "PGBank"),
    ("970431", "Eximbank"),
    ("970432", "VPBank"),
    ("970433", "VietBank"),
    ("970434", "Indovina Bank"),
    ("970436", "Vietcombank"),
    ("970437", "HDBank"),
    ("970438", "BaoViet Bank"),
    ("970439", "Public Bank"),
    ("970440", "SeABank"),
    ("970441", "VIB"),
    ("970442", "Hong Leong Bank"),
    ("970443", "SHB"),
    ("970444", "VCBNeo (CBBank)"),
    ("970446", "Co-opBank"),
    ("970448", "OCB"),
    ("970449", "LPBank"),
    ("970452", "KienlongBank"),
    ("970454", "BVBank"),
    ("970455", "IBK (Hà Nội)"),
    ("970456", "IBK (TP. Hồ Chí Minh)"),
    ("970457", "Woori Bank"),
    ("970458", "UOB"),
    ("970462", "Kookmin Bank (Hà Nội)"),
    ("970463", "Kookmin Bank (TP. Hồ Chí Minh)"),
    ("970466", "KEB Hana Bank (TP. Hồ Chí Minh)"),
    ("970467", "KEB Hana Bank (Hà Nội)"),
    ("971005", "Viettel Money"),
    ("971011", "VNPT Money"),
    ("999888", "Ngân hàng Chính sách Xã hội"),
];

/// What people call the bank; `None` for a number not in the list.
pub(crate) fn bank_name(bin: &str) -> Option<&'static str> {
    BANKS
        .iter()
        .find(|(number, _)| *number == bin)
        .map(|(_, name)| *name)
}

fn field(tag: &str, value: &str) -> String {
    format!("{tag}{:02}{value}", value.len())
}

/// CRC-16/CCITT-FALSE.
fn crc(text: &str) -> u16 {
    text.bytes().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

/// The text of a static `VietQR` code: whoever scans it types the amount. `None` where bank or account
/// are not what such a code can hold.
pub(crate) fn vietqr(bin: &str, account: &str) -> Option<String> {
    let fits = |text: &str, letters: usize| {
        !text.is_empty()
            && text.len() <= letters
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !fits(bin, 6) || !fits(account, 19) {
        return None;
    }
    let receiver = field("00", bin) + &field("01", account);
    let napas = field("00", NAPAS) + &field("01", &receiver) + &field("02", TO_ACCOUNT);
    let mut text = [
        field("00", "01"),
        field("01", "11"),
        field("38", &napas),
        field("53", "704"),
        field("58", "VN"),
    ]
    .concat();
    text.push_str("6304");
    let crc = crc(&text);
    write!(text, "{crc:04X}").expect("writing to a string cannot fail");
    Some(text)
}

/// The code as inline SVG, black on white in every scheme, since cameras want it so. `None` where
/// the text is too long for a code.
pub(crate) fn svg(text: &str, label: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let width = code.width();
    let modules = code.to_colors();
    let mut path = String::new();
    for (row, line) in modules.chunks(width).enumerate() {
        let mut column = 0;
        while column < width {
            let run = line[column..]
                .iter()
                .take_while(|module| **module == Color::Dark)
                .count();
            if run > 0 {
                write!(path, "M{} {}h{run}v1h-{run}z", column + QUIET, row + QUIET)
                    .expect("writing to a string cannot fail");
            }
            column += run.max(1);
        }
    }
    let size = width + 2 * QUIET;
    let label = minijinja::HtmlEscape(label);
    Some(format!(
        "<svg class=\"qr\" viewBox=\"0 0 {size} {size}\" role=\"img\" aria-label=\"{label}\" shape-rendering=\"crispEdges\">\
         <path fill=\"#fff\" d=\"M0 0h{size}v{size}H0z\"/><path d=\"{path}\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_is_the_one_banks_compute() {
        assert_eq!(crc("123456789"), 0x29b1);
        // The example of the VietQR specification.
        let example = "00020101021238570010A00000072701270006970403011300110123456780208QRIBFTTA530370454061800005802\
                       VN62340107NPS68690819thanh toan don hang6304";
        assert_eq!(crc(example), 0x2e2e);
    }

    #[test]
    fn an_account_becomes_a_static_code() {
        let text = vietqr("970403", "0011012345678").unwrap();
        assert_eq!(
            text,
            "00020101021138570010A00000072701270006970403011300110123456780208QRIBFTTA53037045802VN63049E6F"
        );
        for (bin, account) in [
            ("", "1"),
            ("970403", ""),
            ("970403", "1 2"),
            ("970403", "Đ"),
        ] {
            assert_eq!(vietqr(bin, account), None);
        }
        let picture = svg(&text, "a\" onload=\"x<&").unwrap();
        assert!(
            picture.contains("aria-label=\"a&quot; onload=&quot;x&lt;&amp;\""),
            "{picture}"
        );
    }

    #[test]
    fn a_bank_has_one_name() {
        let mut numbers: Vec<&str> = BANKS.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), BANKS.len());
        assert_eq!(bank_name("970436"), Some("Vietcombank"));
        assert_eq!(bank_name("000000"), None);
    }
}
