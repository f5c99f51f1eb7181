//! Experiments: made, found, ended, deleted.

use galileo_wire::WallClock;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::Database;
use crate::error::{Error, Result, is_constraint};

/// What is known of an experiment when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// See [`new_id`](crate::new_id).
    pub id: String,
    /// Its name; need not be unique.
    pub name: String,
    /// Who made it.
    pub creator: String,
    /// When it was made.
    pub created_ns: u64,
    /// Converts the times of this experiment.
    pub clock: WallClock,
}

/// How far an experiment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Made, not begun.
    Queued,
    /// Begun, not ended; or the process that ran it is dead (see [`Database::mark_interrupted`]).
    Running,
    /// Ended as planned.
    Finished,
    /// Ended by an error.
    Failed,
    /// Ended before its plan did, by a signal or the death of the process.
    Aborted,
}

impl Status {
    const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Finished,
        Self::Failed,
        Self::Aborted,
    ];

    /// The word used in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Aborted => "ABORTED",
        }
    }
}

/// An experiment in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who made it.
    pub creator: String,
    /// How far it has come.
    pub status: Status,
    /// When it was made, on `CLOCK_BOOTTIME` of the machine and boot it ran in.
    pub created_ns: u64,
    /// When it began, if it did.
    pub started_ns: Option<u64>,
    /// When it ended, if it did and is known.
    pub ended_ns: Option<u64>,
    /// Converts its times.
    pub clock: WallClock,
}

/// How many records of an experiment there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests as clients saw them.
    pub traces: u64,
    /// Attempts as the balancer saw them.
    pub hops: u64,
    /// Exchanges as the kernel saw them.
    pub exchanges: u64,
    /// Figures.
    pub samples: u64,
    /// Events.
    pub events: u64,
}

/// The columns of an [`Experiment`] in the order that [`Database::experiment_of`] reads them, and what follows.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT EXP_ID, NAME, CREATOR, STATUS, CREATED_NS, START_NS, END_NS, CLOCK_OFFSET_NS FROM experiments ",
            $rest
        )
    };
}

impl Database {
    /// Makes an experiment, [`Status::Queued`].
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if one has this id.
    pub async fn create_experiment(&self, new: &New) -> Result<()> {
        sqlx::query(
            "INSERT INTO experiments (EXP_ID, NAME, CREATOR, CREATED, STATUS, CREATED_NS, CLOCK_OFFSET_NS)
             VALUES (?1, ?2, ?3, (?4 + ?5) / 1e9, ?6, ?4, ?5)",
        )
        .bind(&new.id)
        .bind(&new.name)
        .bind(&new.creator)
        .bind(new.created_ns.cast_signed())
        .bind(new.clock.offset_ns.cast_signed())
        .bind(Status::Queued.as_str())
        .execute(&self.pool)
        .await
        .map_err(|error| if is_constraint(&error) { Error::AlreadyExists(new.id.clone()) } else { self.error(error) })?;
        Ok(())
    }

    /// The experiment has begun.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none with this id.
    pub async fn set_running(&self, id: &str, started_ns: u64) -> Result<()> {
        let changed = sqlx::query(
            "UPDATE experiments SET STATUS = ?2, START_NS = ?3, START = (?3 + CLOCK_OFFSET_NS) / 1e9 WHERE EXP_ID = ?1",
        )
        .bind(id)
        .bind(Status::Running.as_str())
        .bind(started_ns.cast_signed())
        .execute(&self.pool)
        .await
        .map_err(|error| self.error(error))?;
        found(id, changed.rows_affected())
    }

    /// The experiment has ended, and how.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none with this id.
    pub async fn finish(&self, id: &str, status: Status, ended_ns: u64) -> Result<()> {
        let changed = sqlx::query(
            "UPDATE experiments SET STATUS = ?2, END_NS = ?3, \"END\" = (?3 + CLOCK_OFFSET_NS) / 1e9 WHERE EXP_ID = ?1",
        )
        .bind(id)
        .bind(status.as_str())
        .bind(ended_ns.cast_signed())
        .execute(&self.pool)
        .await
        .map_err(|error| self.error(error))?;
        found(id, changed.rows_affected())
    }

    /// The processes that ran these experiments are dead: those that are not ended become [`Status::Aborted`], with no
    /// time of their end. Returns how many became so.
    ///
    /// # Errors
    /// [`Error::Busy`] and what else keeps a database from being written.
    pub async fn mark_interrupted(&self, ids: &[String]) -> Result<u64> {
        let mut transaction = self.write().await?;
        let mut marked = 0;
        for id in ids {
            marked += sqlx::query(
                "UPDATE experiments SET STATUS = ?2 WHERE EXP_ID = ?1 AND STATUS IN (?3, ?4)",
            )
            .bind(id)
            .bind(Status::Aborted.as_str())
            .bind(Status::Queued.as_str())
            .bind(Status::Running.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(|error| self.error(error))?
            .rows_affected();
        }
        transaction
            .commit()
            .await
            .map_err(|error| self.error(error))?;
        Ok(marked)
    }

    /// All experiments, the newest first.
    ///
    /// # Errors
    /// [`Error::Content`] if a row is not what this program writes.
    pub async fn list(&self) -> Result<Vec<Experiment>> {
        let rows = sqlx::query(select!("ORDER BY CREATED DESC, rowid DESC"))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.error(error))?;
        rows.iter().map(|row| self.experiment_of(row)).collect()
    }

    /// The experiment with exactly this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub async fn experiment(&self, id: &str) -> Result<Experiment> {
        let row = sqlx::query(select!("WHERE EXP_ID = ?"))
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.error(error))?;
        self.experiment_of(&row.ok_or_else(|| Error::NotFound(id.to_owned()))?)
    }

    /// The id that is meant by `given`: `last` for the newest, an id, or the beginning of just one.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::NotFound`], [`Error::Ambiguous`].
    pub async fn resolve(&self, given: &str) -> Result<String> {
        let ids: Vec<String> =
            sqlx::query_scalar("SELECT EXP_ID FROM experiments ORDER BY CREATED DESC, rowid DESC")
                .fetch_all(&self.pool)
                .await
                .map_err(|error| self.error(error))?;
        let Some(last) = ids.first() else {
            return Err(Error::Empty);
        };
        if ids.iter().any(|id| id == given) {
            return Ok(given.to_owned());
        }
        if given == "last" {
            return Ok(last.clone());
        }
        // An empty word begins every id; it is more likely a variable that was never set than a wish.
        let mut candidates: Vec<String> = ids
            .into_iter()
            .filter(|id| !given.is_empty() && id.starts_with(given))
            .collect();
        match candidates.len() {
            0 => Err(Error::NotFound(given.to_owned())),
            1 => Ok(candidates.remove(0)),
            many => {
                candidates.truncate(Error::CANDIDATES);
                if many > Error::CANDIDATES {
                    candidates.push("…".to_owned());
                }
                Err(Error::Ambiguous {
                    given: given.to_owned(),
                    candidates,
                })
            }
        }
    }

    /// How many records of the experiment are stored.
    ///
    /// # Errors
    /// [`Error::Busy`] and what else keeps a database from being read.
    pub async fn counts(&self, id: &str) -> Result<Counts> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM traces WHERE EXP_ID = ?1), (SELECT count(*) FROM hops WHERE EXP_ID = ?1),
                    (SELECT count(*) FROM exchanges WHERE EXP_ID = ?1), (SELECT count(*) FROM telemetry WHERE EXP_ID = ?1),
                    (SELECT count(*) FROM events WHERE EXP_ID = ?1)",
        )
        .bind(id)
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.error(error))?;
        let count = |column: usize| {
            row.try_get::<i64, _>(column)
                .map(i64::cast_unsigned)
                .map_err(|error| self.error(error))
        };
        Ok(Counts {
            traces: count(0)?,
            hops: count(1)?,
            exchanges: count(2)?,
            samples: count(3)?,
            events: count(4)?,
        })
    }

    /// Deletes the experiment with all that belongs to it and gives its space back.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none with this id.
    pub async fn delete(&self, id: &str) -> Result<()> {
        let deleted = sqlx::query("DELETE FROM experiments WHERE EXP_ID = ?")
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(|error| self.error(error))?;
        found(id, deleted.rows_affected())?;
        self.give_space_back().await
    }

    /// The pages of what was deleted go back to the file system, and so does the write-ahead log's space unless a reader
    /// still needs it.
    async fn give_space_back(&self) -> Result<()> {
        for sql in [
            "PRAGMA incremental_vacuum",
            "PRAGMA wal_checkpoint(TRUNCATE)",
        ] {
            sqlx::query(sql)
                .fetch_all(&self.pool)
                .await
                .map_err(|error| self.error(error))?;
        }
        Ok(())
    }

    fn experiment_of(&self, row: &SqliteRow) -> Result<Experiment> {
        let status: String = row.try_get(3).map_err(|error| self.error(error))?;
        let status = Status::ALL
            .into_iter()
            .find(|known| known.as_str() == status)
            .ok_or(Error::Content {
                table: "experiments",
                column: "STATUS",
                value: status,
            })?;
        let read = || -> sqlx::Result<Experiment> {
            let ns = |column: usize| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
            let optional_ns = |column: usize| {
                row.try_get::<Option<i64>, _>(column)
                    .map(|value| value.map(i64::cast_unsigned))
            };
            Ok(Experiment {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                creator: row.try_get(2)?,
                status,
                created_ns: ns(4)?,
                started_ns: optional_ns(5)?,
                ended_ns: optional_ns(6)?,
                clock: WallClock { offset_ns: ns(7)? },
            })
        };
        read().map_err(|error| self.error(error))
    }
}

fn found(id: &str, rows: u64) -> Result<()> {
    if rows == 0 {
        Err(Error::NotFound(id.to_owned()))
    } else {
        Ok(())
    }
}
