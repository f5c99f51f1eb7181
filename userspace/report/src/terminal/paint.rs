//! Colours, if wanted. Nothing is told by colour alone.

pub(super) struct Paint {
    pub(super) colour: bool,
}

impl Paint {
    pub(super) fn bold(&self, text: &str) -> String {
        self.wrapped("1", text)
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.wrapped("2", text)
    }

    pub(super) fn underlined(&self, text: &str) -> String {
        self.wrapped("4", text)
    }

    pub(super) fn good(&self, text: &str) -> String {
        self.wrapped("32", text)
    }

    pub(super) fn warning(&self, text: &str) -> String {
        self.wrapped("1;33", text)
    }

    pub(super) fn alarm(&self, text: &str) -> String {
        self.wrapped("1;31", text)
    }

    fn wrapped(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
