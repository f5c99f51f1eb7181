//! Reading rows column by column.

use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};

use crate::error::Error;

/// Why a row could not be read.
pub(crate) enum ReadError {
    Sqlite(sqlx::Error),
    Content(Error),
}

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The columns of a row, from left to right.
pub(crate) struct Columns<'r> {
    row: &'r SqliteRow,
    table: &'static str,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(crate) fn new(table: &'static str, row: &'r SqliteRow) -> Self {
        Self {
            row,
            table,
            next: 0,
        }
    }

    pub(crate) fn next<T: Decode<'r, Sqlite> + Type<Sqlite>>(&mut self) -> Result<T, ReadError> {
        let value = self.row.try_get(self.next)?;
        self.next += 1;
        Ok(value)
    }

    /// A number that was written as the signed one with the same bits: SQLite has no unsigned ones.
    pub(crate) fn u64(&mut self) -> Result<u64, ReadError> {
        self.next().map(i64::cast_unsigned)
    }

    pub(crate) fn optional_u64(&mut self) -> Result<Option<u64>, ReadError> {
        Ok(self.next::<Option<i64>>()?.map(i64::cast_unsigned))
    }

    /// A text that stands for something else.
    pub(crate) fn parse<T>(
        &mut self,
        column: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ReadError> {
        let text = self.next::<&str>()?;
        parse(text).ok_or_else(|| self.unknown(column, text))
    }

    pub(crate) fn optional_parse<T>(
        &mut self,
        column: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ReadError> {
        match self.next::<Option<&str>>()? {
            None => Ok(None),
            Some(text) => parse(text)
                .map(Some)
                .ok_or_else(|| self.unknown(column, text)),
        }
    }

    pub(crate) fn unknown(&self, column: &'static str, value: &str) -> ReadError {
        ReadError::Content(Error::Content {
            table: self.table,
            column,
            value: value.to_owned(),
        })
    }
}
