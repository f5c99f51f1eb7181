//! What keeps programs attached.

use aya::programs::links::FdLink;

use crate::Feature;

/// The attached programs of one feature; they are detached when this is dropped.
pub(crate) struct Links {
    feature: Feature,
    links: Vec<(&'static str, FdLink)>,
}

impl Links {
    /// Of no program yet.
    pub(crate) const fn new(feature: Feature) -> Self {
        Self {
            feature,
            links: Vec::new(),
        }
    }

    /// Adds that of a hook.
    pub(crate) fn push(&mut self, hook: &'static str, link: FdLink) {
        self.links.push((hook, link));
    }

    /// What they are for.
    pub(crate) const fn feature(&self) -> Feature {
        self.feature
    }
}
