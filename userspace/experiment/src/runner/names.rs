//! Whose a cgroup is.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use galileo_probes::cgroup::{self, CgroupId};

/// Who a cgroup belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A replica: its place in the list of replicas.
    Replica(usize),
    /// Galileo itself.
    Galileo,
    /// The root cgroup: kernel threads, and what nobody put elsewhere.
    System,
    /// Somebody else.
    Other,
}

/// A replica, as the names of cgroups need it.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub service: String,
    pub replica: String,
    /// Path of its cgroup below the mount; none without one.
    pub path: Option<String>,
}

/// The names of all cgroups seen so far. Cgroups come and go, so the tree is walked again when one is not known.
pub(crate) struct Names {
    mount: PathBuf,
    /// Path of Galileo's own cgroup below the mount; what lies below the same run belongs to Galileo as well.
    own: Option<String>,
    replicas: Vec<Named>,
    paths: Mutex<HashMap<CgroupId, String>>,
}

impl Names {
    pub(crate) fn new(mount: &Path, own: Option<String>, replicas: Vec<Named>) -> Self {
        let names = Self {
            mount: mount.to_owned(),
            own,
            replicas,
            paths: Mutex::default(),
        };
        names.refresh();
        names
    }

    /// Sees to it that all of these cgroups have names: walks the tree if one has none, and names it by its number if it is
    /// gone already.
    pub(crate) fn learn(&self, ids: impl Iterator<Item = CgroupId> + Clone) {
        if ids.clone().all(|id| self.knows(id)) {
            return;
        }
        self.refresh();
        let mut paths = self.paths();
        for id in ids {
            paths.entry(id).or_insert_with(|| numbered(id));
        }
    }

    /// Walks the tree; what was known and is gone stays known.
    fn refresh(&self) {
        let found = cgroup::below(&self.mount, &self.mount);
        self.paths().extend(found);
    }

    /// Names the cgroup with this folder, if it is there.
    pub(crate) fn enter(&self, folder: &Path) {
        if let Ok(id) = cgroup::id(folder) {
            let path = folder.strip_prefix(&self.mount).unwrap_or(folder);
            self.paths().insert(id, format!("/{}", path.display()));
        }
    }

    /// The folders of the replicas' cgroups.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let paths = self
            .replicas
            .iter()
            .filter_map(|replica| replica.path.as_deref());
        paths
            .map(|path| self.mount.join(path.trim_start_matches('/')))
            .collect()
    }

    fn paths(&self) -> MutexGuard<'_, HashMap<CgroupId, String>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Path of a cgroup below the mount; `cgroup:<id>` if it was gone before it could be named.
    pub(crate) fn path(&self, id: CgroupId) -> String {
        let known = self.paths().get(&id).cloned();
        known.unwrap_or_else(|| numbered(id))
    }

    /// Whether a cgroup has a name yet.
    fn knows(&self, id: CgroupId) -> bool {
        self.paths().contains_key(&id)
    }

    pub(crate) fn replica(&self, index: usize) -> &Named {
        &self.replicas[index]
    }

    /// Who a cgroup belongs to; those below a replica's are the replica's.
    pub(crate) fn owner(&self, id: CgroupId) -> Owner {
        let path = self.path(id);
        if path == "/" {
            return Owner::System;
        }
        let within = |outer: &str| {
            path == outer
                || path
                    .strip_prefix(outer)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        if let Some(index) = self
            .replicas
            .iter()
            .position(|replica| replica.path.as_deref().is_some_and(within))
        {
            return Owner::Replica(index);
        }
        // The guard's cgroup stands beside Galileo's own, in the same run.
        let run = self
            .own
            .as_deref()
            .and_then(|own| Path::new(own).parent())
            .and_then(Path::to_str);
        if run.is_some_and(within) {
            Owner::Galileo
        } else {
            Owner::Other
        }
    }

    /// The name by which results know a cgroup: `<service>/<replica>`, `galileo`, `system`, else its path.
    pub(crate) fn name(&self, id: CgroupId) -> String {
        match self.owner(id) {
            Owner::Replica(index) => format!(
                "{}/{}",
                self.replicas[index].service, self.replicas[index].replica
            ),
            Owner::Galileo => "galileo".to_owned(),
            Owner::System => "system".to_owned(),
            Owner::Other => self.path(id),
        }
    }

    /// The root cgroup.
    pub(crate) fn root(&self) -> Option<CgroupId> {
        cgroup::id(&self.mount).ok()
    }

    /// With whom stays what each of these cgroups counted once it is gone: the cgroup of the replica that it belongs to.
    pub(crate) fn heirs(&self, ids: &[CgroupId]) -> Vec<Option<CgroupId>> {
        self.learn(ids.iter().copied());
        let of_replica = |index: usize| {
            let path = self.replicas[index].path.as_ref()?;
            let paths = self.paths();
            let found = paths.iter().find(|(_, known)| *known == path);
            found.map(|(id, _)| *id)
        };
        let heir = |id: &CgroupId| match self.owner(*id) {
            Owner::Replica(index) => of_replica(index),
            Owner::Galileo | Owner::System | Owner::Other => None,
        };
        ids.iter().map(heir).collect()
    }

    /// All cgroups known that belong to a replica.
    pub(crate) fn of_replica(&self, index: usize) -> Vec<CgroupId> {
        let ids: Vec<CgroupId> = self.paths().keys().copied().collect();
        ids.into_iter()
            .filter(|id| self.owner(*id) == Owner::Replica(index))
            .collect()
    }
}

/// The name of a cgroup that was gone before it could be named.
fn numbered(id: CgroupId) -> String {
    format!("cgroup:{}", id.0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_replica_is_the_heir_of_itself_and_of_those_below_it_alone() {
        let tree = tempfile::tempdir().unwrap();
        let made = |path: &str| {
            let folder = tree.path().join(path);
            fs::create_dir(&folder).unwrap();
            cgroup::id(&folder).unwrap()
        };
        let (web, other) = (made("web-0"), made("web-01"));
        let replica = Named {
            service: "web".to_owned(),
            replica: "web-0".to_owned(),
            path: Some("/web-0".to_owned()),
        };
        let names = Names::new(tree.path(), None, vec![replica]);
        let child = made("web-0/worker");
        let heirs = names.heirs(&[web, other, child, CgroupId(0)]);
        assert_eq!(heirs, [Some(web), None, Some(web), None]);
        fs::remove_dir(tree.path().join("web-0/worker")).unwrap();
        assert_eq!(names.heirs(&[child]), [Some(web)], "it is remembered");
    }
}
