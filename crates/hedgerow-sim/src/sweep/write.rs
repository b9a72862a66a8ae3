//! Writing tables to files.

use std::path::Path;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::error::SweepError;
use super::row::Field;
use super::table::Table;

impl Table {
    /// Formats the table as CSV.
    pub fn to_csv(&self) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let written = writer.write_record(&self.names).and_then(|()| {
            self.rows.iter().try_for_each(|row| writer.write_record(row.iter().map(Field::to_string)))
        });
        written.expect("rows as long as the header go to memory");
        writer.into_inner().expect("memory takes it all")
    }

    /// Formats the table as uncompressed Parquet; a column has whole numbers if all its values are whole, otherwise
    /// numbers or text.
    ///
    /// # Errors
    ///
    /// When the Parquet library fails.
    pub fn to_parquet(&self) -> Result<Vec<u8>, ParquetError> {
        let kinds: Vec<Kind> = (0..self.names.len()).map(|column| self.kind(column)).collect();
        let fields = self.names.iter().zip(&kinds).map(|(name, kind)| kind.field(name).map(Arc::new));
        let schema =
            Type::group_type_builder("table").with_fields(fields.collect::<Result<_, _>>()?).build()?;
        let mut writer =
            SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(WriterProperties::default()))?;
        let mut group = writer.next_row_group()?;
        for (column, kind) in kinds.iter().enumerate() {
            self.write_column(column, *kind, &mut group)?;
        }
        group.close()?;
        writer.into_inner()
    }

    /// Writes the table to `NAME.csv` and `NAME.parquet` in a folder. Each file appears whole or not at all.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), SweepError> {
        whole(&folder.join(name).with_extension("csv"), &self.to_csv())?;
        let path = folder.join(name).with_extension("parquet");
        let bytes = self.to_parquet().map_err(|error| SweepError::Unwritable {
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        whole(&path, &bytes)
    }

    fn kind(&self, column: usize) -> Kind {
        let fields = || self.rows.iter().map(|row| &row[column]);
        if fields().any(|field| matches!(field, Field::Text(_))) {
            Kind::Text
        } else if fields().any(|field| matches!(field, Field::Number(_))) {
            Kind::Number
        } else {
            Kind::Count
        }
    }

    fn write_column(
        &self,
        column: usize,
        kind: Kind,
        group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    ) -> Result<(), ParquetError> {
        let fields = || self.rows.iter().map(|row| &row[column]);
        // A missing text is an empty string, so only numbers can be null.
        let levels: Vec<i16> = fields().map(|field| i16::from(*field != Field::Missing)).collect();
        let mut writer = group.next_column()?.expect("there is a writer for each column");
        match kind {
            Kind::Text => {
                let texts: Vec<ByteArray> =
                    fields().map(|field| ByteArray::from(field.to_string().into_bytes())).collect();
                writer.typed::<ByteArrayType>().write_batch(&texts, None, None)?;
            }
            Kind::Number => {
                let numbers: Vec<f64> = fields().filter_map(Field::number).collect();
                writer.typed::<DoubleType>().write_batch(&numbers, Some(&levels), None)?;
            }
            Kind::Count => {
                let count = |field: &Field| match field {
                    Field::Count(count) => Some(*count),
                    Field::Missing | Field::Number(_) | Field::Text(_) => None,
                };
                let counts: Vec<i64> = fields().filter_map(count).collect();
                writer.typed::<Int64Type>().write_batch(&counts, Some(&levels), None)?;
            }
        }
        writer.close()
    }
}

/// The type of a column.
#[derive(Clone, Copy)]
enum Kind {
    Count,
    Number,
    Text,
}

impl Kind {
    fn field(self, name: &str) -> Result<Type, ParquetError> {
        let (physical, logical, repetition) = match self {
            Self::Count => (Physical::INT64, None, Repetition::OPTIONAL),
            Self::Number => (Physical::DOUBLE, None, Repetition::OPTIONAL),
            Self::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED),
        };
        Type::primitive_type_builder(name, physical)
            .with_logical_type(logical)
            .with_repetition(repetition)
            .build()
    }
}

/// Writes a file under a temporary name and renames it when complete.
pub(super) fn whole(path: &Path, bytes: &[u8]) -> Result<(), SweepError> {
    let unfinished = path.with_added_extension("part");
    std::fs::write(&unfinished, bytes)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(|source| SweepError::Unwritable { path: path.to_owned(), source })
}
