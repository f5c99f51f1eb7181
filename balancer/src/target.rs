//! What a request asks for: the service in its path, and the path that its replica sees.

/// A request target taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The service, as it stands in the path (no escapes are decoded).
    pub service: &'a str,
    /// Path and query for the replica.
    pub path: Vec<u8>,
    /// Host and port of an absolute-form target (RFC 9112, section 3.2.2).
    pub authority: Option<&'a [u8]>,
}

/// Takes `/function/<service>[/<rest>][?<query>]` apart; none for every other target.
///
/// What follows the service is kept byte for byte: escapes, doubled slashes and dot segments are the replica's matter.
pub(crate) fn split(target: &[u8]) -> Option<Target<'_>> {
    let (authority, path) = origin_form(target)?;
    let tail = path.strip_prefix(b"/function/")?;
    let end = tail
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(tail.len());
    let (service, rest) = tail.split_at(end);
    if service.is_empty() {
        return None;
    }
    let service = std::str::from_utf8(service).ok()?;
    let slash: &[u8] = if rest.first() == Some(&b'/') {
        b""
    } else {
        b"/"
    };
    Some(Target {
        service,
        path: [slash, rest].concat(),
        authority,
    })
}

fn origin_form(target: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    if target.first() == Some(&b'/') {
        return Some((None, target));
    }
    let scheme = target.windows(3).position(|window| window == b"://")?;
    let rest = &target[scheme + 3..];
    let path = rest.iter().position(|&byte| byte == b'/')?;
    let (authority, path) = rest.split_at(path);
    Some((Some(authority), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(target: &str) -> Option<(String, String)> {
        split(target.as_bytes()).map(|target| {
            (
                target.service.to_owned(),
                String::from_utf8(target.path).expect("text"),
            )
        })
    }

    #[test]
    fn the_replica_sees_what_follows_the_service() {
        for (target, path) in [
            ("/function/web", "/"),
            ("/function/web/", "/"),
            ("/function/web?q=1", "/?q=1"),
            ("/function/web/a/b/c?x=/y&z=%2F", "/a/b/c?x=/y&z=%2F"),
            ("/function/web//a/../b%20c", "//a/../b%20c"),
            ("/function/web/function/web", "/function/web"),
            ("http://proxy:8080/function/web/a?b", "/a?b"),
        ] {
            assert_eq!(
                parts(target),
                Some(("web".to_owned(), path.to_owned())),
                "{target}"
            );
        }
    }

    #[test]
    fn other_targets_name_no_service() {
        for target in [
            "/",
            "",
            "*",
            "/function",
            "/function/",
            "/function//a",
            "/functions/web",
            "/web",
            "web:80",
            "http://h",
        ] {
            assert_eq!(parts(target), None, "{target}");
        }
    }

    #[test]
    fn an_absolute_target_names_the_host() {
        let target = split(b"http://proxy:8080/function/web").expect("it is one");
        assert_eq!(target.authority, Some(&b"proxy:8080"[..]));
    }

    #[test]
    fn paths_need_not_be_utf8_but_services_do() {
        assert_eq!(split(b"/function/web/\xff").expect("a path").path, b"/\xff");
        assert_eq!(split(b"/function/\xff/"), None);
    }
}
