//! Names of services and nodes. They become parts of cgroup paths, URLs and file names, so few characters are allowed.

/// Longest name of a service or node in bytes.
pub(crate) const MAX_NAME: usize = 40;

/// What is wrong with a name; `kind` is "service" or "node".
pub(super) fn problem(name: &str, kind: &str) -> Option<String> {
    let rule = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > MAX_NAME {
        format!("has more than {MAX_NAME} characters")
    } else if name.starts_with('-') {
        "begins with '-'".to_owned()
    } else if !name.bytes().all(allowed) {
        "may hold a-z, 0-9 and '-' only".to_owned()
    } else {
        return None;
    };
    let hint = sanitised(name)
        .map(|name| format!("; write for example '{name}'"))
        .unwrap_or_default();
    Some(format!(
        "the {kind} name '{}' {rule}{hint}",
        shortened(name)
    ))
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

/// The nearest name that is allowed; none if nothing of it is left.
pub(crate) fn sanitised(name: &str) -> Option<String> {
    let mut result = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' => result.push(c),
            _ if !result.is_empty() && !result.ends_with('-') => result.push('-'),
            _ => {}
        }
    }
    result.truncate(MAX_NAME);
    let result = result.trim_end_matches('-');
    (!result.is_empty()).then(|| result.to_owned())
}

/// A foreign text for a message: its beginning if it is long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_lower_case_digits_and_dashes_are_sound() {
        for name in ["web", "web-2", "0", "a-", &"x".repeat(40)] {
            assert_eq!(problem(name, "service"), None, "{name}");
        }
    }

    #[test]
    fn other_names_are_told_what_to_be() {
        let told = |name| problem(name, "service").unwrap();
        assert_eq!(
            told("Web_1"),
            "the service name 'Web_1' may hold a-z, 0-9 and '-' only; write for example 'web-1'"
        );
        assert_eq!(
            told("-web"),
            "the service name '-web' begins with '-'; write for example 'web'"
        );
        assert_eq!(told(""), "the service name '' is empty");
        assert_eq!(
            told("../x"),
            "the service name '../x' may hold a-z, 0-9 and '-' only; write for example 'x'"
        );
        assert!(told(&"x".repeat(41)).contains("has more than 40 characters"));
    }

    proptest! {
        #[test]
        fn a_sanitised_name_is_sound(text: String) {
            if let Some(name) = sanitised(&text) {
                prop_assert_eq!(problem(&name, "service"), None);
            }
        }
    }
}
