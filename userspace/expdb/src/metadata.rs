//! What describes an experiment beside its records: one JSON document, and facts about its nodes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Database;
use crate::error::{Error, Result, is_constraint};

impl Database {
    /// Stores the experiment's JSON document in place of the one it has.
    ///
    /// # Errors
    /// [`Error::Metadata`] if `data` cannot be JSON, [`Error::NotFound`] if there is no such experiment.
    pub async fn put_metadata<T: Serialize>(&self, id: &str, data: &T) -> Result<()> {
        let json = serde_json::to_string(data).map_err(|source| Error::Metadata {
            id: id.to_owned(),
            source,
        })?;
        sqlx::query(
            "INSERT INTO metadata (EXP_ID, DATA) VALUES (?, ?) ON CONFLICT (EXP_ID) DO UPDATE SET DATA = excluded.DATA",
        )
        .bind(id)
        .bind(json)
        .execute(&self.pool)
        .await
        .map_err(|error| self.no_such_experiment(id, error))?;
        Ok(())
    }

    /// The experiment's JSON document as a `T`; none if it has none. `serde_json::Value` takes any.
    ///
    /// # Errors
    /// [`Error::Metadata`] if it is no `T`.
    pub async fn get_metadata<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>> {
        let json: Option<String> = sqlx::query_scalar("SELECT DATA FROM metadata WHERE EXP_ID = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.error(error))?;
        json.map(|json| serde_json::from_str(&json))
            .transpose()
            .map_err(|source| Error::Metadata {
                id: id.to_owned(),
                source,
            })
    }

    /// Stores facts about a node of the experiment; those with the same key are replaced.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such experiment.
    pub async fn put_node_info(
        &self,
        id: &str,
        node: &str,
        facts: &BTreeMap<String, String>,
    ) -> Result<()> {
        let mut transaction = self.write().await?;
        for (key, value) in facts {
            sqlx::query("INSERT OR REPLACE INTO nodeinfo (EXP_ID, NODE, INFO_KEY, INFO_VALUE) VALUES (?, ?, ?, ?)")
                .bind(id)
                .bind(node)
                .bind(key)
                .bind(value)
                .execute(&mut *transaction)
                .await
                .map_err(|error| self.no_such_experiment(id, error))?;
        }
        transaction
            .commit()
            .await
            .map_err(|error| self.error(error))
    }

    /// What is known of the experiment's nodes: facts by node.
    ///
    /// # Errors
    /// [`Error::Busy`] and what else keeps a database from being read.
    pub async fn node_info(&self, id: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT NODE, INFO_KEY, INFO_VALUE FROM nodeinfo WHERE EXP_ID = ?")
                .bind(id)
                .fetch_all(&self.pool)
                .await
                .map_err(|error| self.error(error))?;
        let mut nodes = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (node, key, value) in rows {
            nodes.entry(node).or_default().insert(key, value);
        }
        Ok(nodes)
    }

    fn no_such_experiment(&self, id: &str, error: sqlx::Error) -> Error {
        if is_constraint(&error) {
            Error::NotFound(id.to_owned())
        } else {
            self.error(error)
        }
    }
}
