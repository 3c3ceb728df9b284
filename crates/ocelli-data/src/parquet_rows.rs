//! Rows of Parquet files.
//!
//! The Arrow schema that writers leave in the file is passed over: the plain types of the Parquet schema hold the same
//! values and are fewer.

use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTemporalType, Date32Type, Decimal128Type, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, StructArray};
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use crate::cell::{Cell, Columns};

/// Rows unpacked at once. Rows with pictures are large.
const BATCH: usize = 64;

/// How many rows the file has, from its footer.
///
/// # Errors
/// If it is no Parquet file.
pub(crate) fn count(file: &File) -> Result<usize, String> {
    guarded(|| {
        let rows = open(file)?.metadata().file_metadata().num_rows();
        usize::try_from(rows).map_err(|_| damaged(&format!("{rows} rows")))
    })
}

/// Shows the rows of `range` with their numbers, from 0, to `each` until it breaks.
///
/// # Errors
/// If it is no Parquet file, or is damaged. Errors of `each` are its own.
pub(crate) fn visit(
    file: &File,
    range: Range<usize>,
    each: &mut dyn FnMut(usize, Columns) -> ControlFlow<()>,
) -> Result<(), String> {
    guarded(|| {
        let builder = open(file)?;
        let rows = builder.metadata().file_metadata().num_rows();
        let end = usize::try_from(rows).unwrap_or(0).min(range.end);
        let range = range.start.min(end)..end;
        let reader = builder
            .with_batch_size(BATCH)
            .with_offset(range.start)
            .with_limit(range.len())
            .build()
            .map_err(|error| damaged(&error))?;
        let mut number = range.start;
        for batch in reader {
            let batch = StructArray::from(batch.map_err(|error| damaged(&error))?);
            for row in 0..batch.len() {
                if each(number, columns(&batch, row)).is_break() {
                    return Ok(());
                }
                number += 1;
            }
        }
        Ok(())
    })
}

fn open(file: &File) -> Result<ParquetRecordBatchReaderBuilder<File>, String> {
    let file = file
        .try_clone()
        .map_err(|error| format!("cannot be read: {error}"))?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .map_err(|error| damaged(&error))
}

fn damaged(error: &dyn std::fmt::Display) -> String {
    format!("damaged, or no Parquet file ({error}): copy, download or write it again")
}

/// The Parquet library may panic on damaged files; that, too, is an error of the file.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(damaged(&"its pages contradict its footer")))
}

fn columns(rows: &StructArray, row: usize) -> Columns {
    let names = rows.column_names();
    let values = rows.columns().iter().map(|column| cell(column, row));
    Columns(names.into_iter().map(str::to_owned).zip(values).collect())
}

/// The value at `row`. Times that are no calendar dates become null.
fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Int8 => integer::<Int8Type>(array, row),
        DataType::Int16 => integer::<Int16Type>(array, row),
        DataType::Int32 => integer::<Int32Type>(array, row),
        DataType::Int64 => integer::<Int64Type>(array, row),
        DataType::UInt8 => integer::<UInt8Type>(array, row),
        DataType::UInt16 => integer::<UInt16Type>(array, row),
        DataType::UInt32 => integer::<UInt32Type>(array, row),
        DataType::UInt64 => Cell::Number(array.as_primitive::<UInt64Type>().value(row).into()),
        DataType::Float16 => Cell::float(array.as_primitive::<Float16Type>().value(row).to_f64()),
        // By way of its shortest text: 0.1 in 32 bits is meant to be 0.1.
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            Cell::float(value.to_string().parse().unwrap_or(f64::from(value)))
        }
        DataType::Float64 => Cell::float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Cell::Text(array.as_string::<i64>().value(row).to_owned()),
        DataType::Binary => Cell::Bytes(array.as_binary::<i32>().value(row).to_owned()),
        DataType::LargeBinary => Cell::Bytes(array.as_binary::<i64>().value(row).to_owned()),
        DataType::FixedSizeBinary(_) => {
            Cell::Bytes(array.as_fixed_size_binary().value(row).to_owned())
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => Cell::Struct(columns(array.as_struct(), row)),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let entry = |i| {
                (
                    cell(keys, i).into_text().unwrap_or_default(),
                    cell(values, i),
                )
            };
            Cell::Struct(Columns((0..entries.len()).map(entry).collect()))
        }
        DataType::Decimal128(..) => {
            Cell::Text(array.as_primitive::<Decimal128Type>().value_as_string(row))
        }
        DataType::Date32 => array
            .as_primitive::<Date32Type>()
            .value_as_date(row)
            .map_or(Cell::Null, |date| Cell::Text(date.to_string())),
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => moment::<TimestampSecondType>(array, row),
            TimeUnit::Millisecond => moment::<TimestampMillisecondType>(array, row),
            TimeUnit::Microsecond => moment::<TimestampMicrosecondType>(array, row),
            TimeUnit::Nanosecond => moment::<TimestampNanosecondType>(array, row),
        },
        _ => Cell::Null,
    }
}

fn integer<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> Cell
where
    T::Native: Into<i64>,
{
    let value: i64 = array.as_primitive::<T>().value(row).into();
    Cell::Number(value.into())
}

fn moment<T: ArrowTemporalType>(array: &dyn Array, row: usize) -> Cell
where
    i64: From<T::Native>,
{
    let moment = array.as_primitive::<T>().value_as_datetime(row);
    moment.map_or(Cell::Null, |moment| Cell::Text(moment.to_string()))
}

fn list(items: &dyn Array) -> Cell {
    Cell::List((0..items.len()).map(|i| cell(items, i)).collect())
}
