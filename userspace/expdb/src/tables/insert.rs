//! Inserts of many rows by one statement.

use std::marker::PhantomData;
use std::sync::Arc;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, SqliteConnection};

use super::Stored;

/// The largest statement has 2 to this power rows.
const LARGEST: usize = 7;

/// Statements that insert 1, 2, 4, … 128 records. Any number is a sum of these, so that a handful of statements serves all
/// batches and the connection keeps them prepared.
#[derive(Debug)]
pub(crate) struct Inserts<T> {
    statements: [Arc<str>; LARGEST + 1],
    of: PhantomData<fn(T)>,
}

impl<T: Stored> Inserts<T> {
    pub(crate) fn new() -> Self {
        Self {
            statements: std::array::from_fn(|power| statement::<T>(1 << power).into()),
            of: PhantomData,
        }
    }

    /// Writes the records on a connection that is in a transaction.
    pub(crate) async fn insert(
        &self,
        connection: &mut SqliteConnection,
        experiment: &str,
        clock_offset_ns: u64,
        records: Vec<T>,
    ) -> sqlx::Result<()> {
        let mut records = records.into_iter();
        while let Some(power) = records.len().checked_ilog2() {
            let power = LARGEST.min(power as usize);
            let mut arguments = SqliteArguments::default();
            arguments.reserve(2 + (T::VALUES << power), 0);
            arguments.add(experiment).map_err(sqlx::Error::Encode)?;
            arguments
                .add(clock_offset_ns.cast_signed())
                .map_err(sqlx::Error::Encode)?;
            for record in records.by_ref().take(1 << power) {
                record.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
            }
            let sql = AssertSqlSafe(Arc::clone(&self.statements[power]));
            sqlx::query_with(sql, arguments)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

fn statement<T: Stored>(rows: usize) -> String {
    let mut sql = T::INSERT.to_owned();
    for row in 0..rows {
        sql.push_str(if row == 0 { " " } else { ", " });
        push_row(&mut sql, T::ROW, 2 + row * T::VALUES);
    }
    sql
}

/// Appends `template` with `#n` as parameter number `before + n`.
fn push_row(sql: &mut String, template: &str, before: usize) {
    let mut parts = template.split('#');
    sql.extend(parts.next());
    for part in parts {
        let digits = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        let number: usize = part[..digits].parse().unwrap_or(0);
        sql.push_str(&format!("?{}", before + number));
        sql.push_str(&part[digits..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_each_row_follow_those_of_the_row_before() {
        let mut sql = String::new();
        push_row(&mut sql, "(?1, #1, (#2 + ?2) / 1e9, #2)", 2);
        push_row(&mut sql, "(?1, #1, (#2 + ?2) / 1e9, #2)", 4);
        assert_eq!(
            sql,
            "(?1, ?3, (?4 + ?2) / 1e9, ?4)(?1, ?5, (?6 + ?2) / 1e9, ?6)"
        );
    }
}
