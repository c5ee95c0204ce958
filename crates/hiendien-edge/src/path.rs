//! From the path of a request to the path of a file, by rules without exceptions.

/// A request path in decoded form: begins with `/`, has no dot segment, no control character, no
/// backslash, and no `/` that was escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SitePath(String);

impl SitePath {
    /// `None` for a path no honest client sends: the caller answers 400.
    pub(crate) fn parse(raw: &str) -> Option<Self> {
        if !raw.starts_with('/') {
            return None;
        }
        let mut decoded = Vec::with_capacity(raw.len());
        let mut bytes = raw.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'%' => {
                    let escaped = hex_digit(bytes.next()?)? * 16 + hex_digit(bytes.next()?)?;
                    if escaped == b'/' {
                        return None;
                    }
                    decoded.push(escaped);
                }
                plain => decoded.push(plain),
            }
        }
        let text = String::from_utf8(decoded).ok()?;
        let honest = !text.chars().any(|c| c.is_control() || c == '\\')
            && !text.split('/').any(|segment| matches!(segment, "." | ".."));
        honest.then_some(Self(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The file this path names: a path that ends in `/` names the index of that directory.
    pub(crate) fn file(&self) -> String {
        let relative = &self.0[1..];
        if relative.is_empty() || relative.ends_with('/') {
            format!("{relative}index.html")
        } else {
            relative.to_owned()
        }
    }

    /// The same path as a directory, where it is not one already.
    pub(crate) fn directory(&self) -> Option<Self> {
        (!self.0.ends_with('/')).then(|| Self(format!("{}/", self.0)))
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::SitePath;

    #[test]
    fn honest_paths_name_files() {
        let file = |raw: &str| SitePath::parse(raw).unwrap().file();
        assert_eq!(file("/"), "index.html");
        assert_eq!(file("/bai-viet/"), "bai-viet/index.html");
        assert_eq!(file("/style.css"), "style.css");
        assert_eq!(file("/%73tyle.css"), "style.css");
        assert_eq!(file("/ph%E1%BB%9F"), "phở");
        assert_eq!(file("/a..b/...c"), "a..b/...c");
    }

    #[test]
    fn dishonest_paths_are_refused() {
        for raw in [
            "",
            "style.css",
            "*",
            "/..",
            "/../etc/passwd",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/",
            "/%2E%2e",
            "/.%2e/x",
            "/a%2fb",
            "/a%2F..%2Fb",
            "/%00",
            "/a%0d%0aset-cookie:x",
            "/a%5cb",
            "/a\\b",
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
            "/%c0%ae%c0%ae/",
        ] {
            assert_eq!(SitePath::parse(raw), None, "{raw}");
        }
    }
}
