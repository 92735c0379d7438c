//! The table of spellings, and properties over random ones.

use proptest::prelude::*;

use super::*;

fn plain(path: &str) -> Result<String, Malformed> {
    canonical(path, PathRules::Plain).map(|new| new.unwrap_or_else(|| path.to_owned()))
}

fn policy(path: &str) -> Result<String, Malformed> {
    canonical(path, PathRules::Policy).map(|new| new.unwrap_or_else(|| path.to_owned()))
}

#[test]
fn canonical_paths_are_not_copied() {
    for path in [
        "/",
        "/a",
        "/a/b/",
        "/a%2Fb",
        "/caf%C3%A9",
        "/.well-known/x",
        "/..a/...",
        "/a;b=c",
        "/a%25b",
        "/a\\b",
    ] {
        assert_eq!(canonical(path, PathRules::Plain), Ok(None), "{path}");
    }
}

#[test]
fn one_spelling() {
    for (written, canonical) in [
        ("//", "/"),
        ("/a//b", "/a/b"),
        ("/a/", "/a/"),
        ("/a//", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/.", "/a/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../c", "/a/c"),
        ("/a/b/%2e%2e/c", "/a/c"),
        ("/a/b/.%2E/c", "/a/c"),
        ("/a/%2e/c", "/a/c"),
        ("/a/b/..//c", "/a/c"),
        ("/a//../c", "/c"),
        ("/a/..", "/"),
        ("/%61dmin", "/admin"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/%7euser", "/~user"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%252fb", "/a%252fb"),
        ("/%2e%2e%2fx/", "/..%2Fx/"),
    ] {
        assert_eq!(plain(written).as_deref(), Ok(canonical), "{written}");
    }
}

#[test]
fn refused_always() {
    for path in [
        "",
        "a",
        "*",
        "/..",
        "/../a",
        "/%2e%2e/a",
        "/a/../../b",
        "/a%00",
        "/a%0",
        "/a%",
        "/a%zz",
        "/a%%32e",
        "/é",
        "/a\u{7f}",
        "/a b",
        "/a#b",
        "/a\0b",
    ] {
        assert_eq!(plain(path), Err(Malformed::Path), "{path:?}");
        assert_eq!(policy(path), Err(Malformed::Path), "{path:?}");
    }
}

#[test]
fn refused_where_a_policy_reads_paths() {
    for path in [
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a%5Cb",
        "/a\\b",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/%2e%2e;/b",
        "/a/.;/b",
        "/a/%2E;v",
    ] {
        assert!(plain(path).is_ok(), "{path}");
        assert_eq!(policy(path), Err(Malformed::Path), "{path}");
    }
    assert_eq!(policy("/a;v=1/b.;c").as_deref(), Ok("/a;v=1/b.;c"));
    assert_eq!(policy("/file..;x").as_deref(), Ok("/file..;x"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn idempotent_and_never_climbing(path in "/[a-c./%;\\\\2eEfF5c-]{0,24}", strict: bool) {
        let rules = if strict { PathRules::Policy } else { PathRules::Plain };
        if let Ok(first) = canonical(&path, rules) {
            let first = first.unwrap_or(path);
            prop_assert_eq!(canonical(&first, rules), Ok(None));
            prop_assert!(!first.contains("//"));
            prop_assert!(first.split('/').all(|segment| segment != "." && segment != ".."));
        }
    }

    /// Escaping characters that need no escape changes nothing.
    #[test]
    fn encoded_variants_are_the_same(path in "(/[a-z.~_-]{0,5}){1,6}", mask in any::<u64>()) {
        let mut variant = String::new();
        for (at, byte) in path.bytes().enumerate() {
            if byte != b'/' && mask >> (at % 64) & 1 == 1 {
                let escape = if mask >> (at % 63) & 2 == 2 { format!("%{byte:02x}") } else { format!("%{byte:02X}") };
                variant.push_str(&escape);
            } else {
                variant.push(char::from(byte));
            }
        }
        prop_assert_eq!(policy(&path), policy(&variant));
    }

    #[test]
    fn never_panics(path in any::<String>()) {
        let _ = plain(&path);
        let _ = policy(&path);
    }
}
