//! The rows of `cargo xtask bench probes`: what is asked of nginx, and over which network.

use std::fmt;

/// How wrk asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asking {
    /// The same request again and again on kept connections.
    Kept,
    /// A new connection for each request.
    Anew,
    /// As a script in Lua says.
    Script(&'static str),
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Load {
    /// What it is called on the command line.
    name: &'static str,
    /// What it is called in the table.
    title: &'static str,
    /// Path that is asked for: see [`super::nginx`].
    pub path: &'static str,
    pub asking: Asking,
}

/// Eight requests at once on each connection, as scripts/pipeline.lua of wrk does; wrk waits for all their answers.
const PIPELINED: &str = "init = function()\n\
    eight = string.rep(wrk.format(), 8)\n\
    end\n\
    request = function() return eight end\n";

/// A body of 20 kB, which wrk gives its length.
const POST: &str = "wrk.method = 'POST'\n\
    wrk.headers['Content-Type'] = 'application/octet-stream'\n\
    wrk.body = string.rep('x', 20000)\n";

/// In the order of the table.
const LOADS: [Load; 8] = [
    Load {
        name: "keep-alive",
        title: "keep-alive, 12 B",
        path: "/",
        asking: Asking::Kept,
    },
    Load {
        name: "new-connections",
        title: "new connection each, 12 B",
        path: "/",
        asking: Asking::Anew,
    },
    Load {
        name: "pipelined",
        title: "pipelined by 8, 12 B",
        path: "/",
        asking: Asking::Script(PIPELINED),
    },
    Load {
        name: "100k",
        title: "keep-alive, 100 kB by sendfile",
        path: "/100k",
        asking: Asking::Kept,
    },
    Load {
        name: "1m",
        title: "keep-alive, 1 MB by sendfile",
        path: "/1m",
        asking: Asking::Kept,
    },
    Load {
        name: "chunked",
        title: "keep-alive, 12 B in one chunk",
        path: "/chunked",
        asking: Asking::Kept,
    },
    Load {
        name: "chunked-20k",
        title: "keep-alive, 20 kB in chunks of 4 kB",
        path: "/chunked-20k",
        asking: Asking::Kept,
    },
    Load {
        name: "post",
        title: "keep-alive, POST of 20 kB",
        path: "/post",
        asking: Asking::Script(POST),
    },
];

/// What the names of rows between two network namespaces begin with.
const VETH: &str = "veth-";

/// All that the table has if nothing is chosen.
pub(super) const ALL: [&str; 11] = [
    "keep-alive",
    "new-connections",
    "pipelined",
    "100k",
    "1m",
    "chunked",
    "chunked-20k",
    "post",
    "veth-keep-alive",
    "veth-new-connections",
    "veth-100k",
];

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row {
    pub load: Load,
    /// Between two network namespaces instead of over loopback.
    pub over_veth: bool,
}

impl Row {
    /// The row of a name.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        let (load, over_veth) = match name.strip_prefix(VETH) {
            Some(load) => (load, true),
            None => (name, false),
        };
        let found = LOADS.into_iter().find(|one| one.name == load);
        let load = found.ok_or_else(|| {
            let names: Vec<_> = LOADS.iter().map(|load| load.name).collect();
            format!(
                "there is no such row; there are {}, each with {VETH} before it as well",
                names.join(", ")
            )
        })?;
        Ok(Self { load, over_veth })
    }

    /// Its name on the command line.
    pub(super) fn name(self) -> String {
        let prefix = if self.over_veth { VETH } else { "" };
        format!("{prefix}{}", self.load.name)
    }
}

/// What it is called in the table.
impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = if self.over_veth { "veth: " } else { "" };
        write!(formatter, "{network}{}", self.load.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_found_by_its_name() {
        for name in ALL {
            assert_eq!(Row::parse(name).unwrap().name(), name);
        }
        for load in LOADS {
            assert!(ALL.contains(&load.name), "{}", load.name);
        }
    }

    #[test]
    fn a_row_that_is_not_there_is_refused_with_those_that_are() {
        let error = Row::parse("veth-2m").unwrap_err();

        assert!(error.contains("keep-alive, new-connections"), "{error}");
    }
}
