//! Provinces by (scheme, code). Names are never compared: their spelling is not stable.

use super::{Province, ProvinceScheme};

const GSO63: &str = include_str!("../../data/provinces_63.csv");
const GSO34: &str = include_str!("../../data/provinces_34.csv");

fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table
        .lines()
        .skip(1)
        .map(|line| line.trim_end().split(',').collect())
}

pub(crate) fn is_gso63(code: &str) -> bool {
    rows(GSO63).any(|row| row[0] == code)
}

/// All names, of both schemes.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    rows(GSO63).chain(rows(GSO34)).map(|row| row[1])
}

/// The name, since 2025-07-01, of the province that a code means; `None` for an unknown code.
pub(crate) fn current_name(province: &Province) -> Option<&'static str> {
    let code = match province.scheme {
        ProvinceScheme::Gso34 => province.code.as_str(),
        ProvinceScheme::Gso63 => rows(GSO63).find(|row| row[0] == province.code)?[2],
    };
    let name = rows(GSO34).find(|row| row[0] == code)?[1];
    // The bare name is a person's; everyone says the city's with its kind.
    Some(if code == "79" {
        "Thành phố Hồ Chí Minh"
    } else {
        name
    })
}
