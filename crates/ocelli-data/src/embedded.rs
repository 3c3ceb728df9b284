//! Pictures that stand inside data files: their encoded bytes, ready to be read in any order.
//!
//! A data file is read once, from its beginning to its end, and Parquet cannot give the bytes of one row without
//! unpacking those around it. So the encoded bytes are copied into a temporary file without a name while the rows are
//! read. Memory holds a place and a size for each picture, whatever the size of the data set; the file is gone when the
//! data set is dropped or the program ends.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ocelli_core::Picture;

use crate::decode::{decode_picture_bytes, picture_size_bytes};
use crate::error::DataError;

/// Where a picture lies in the temporary file, and its sides in pixels.
#[derive(Clone, Copy, Debug)]
struct Stored {
    offset: u64,
    length: usize,
    size: (usize, usize),
}

/// The pictures of a data set that are no files of their own, by name.
#[derive(Debug)]
pub(crate) struct EmbeddedPictures {
    /// The folder of the data files and the column of the pictures: with them a name is unique among all data sets.
    folder: PathBuf,
    column: String,
    places: HashMap<String, Stored>,
    file: Mutex<File>,
}

impl EmbeddedPictures {
    /// Width and height in pixels of the picture `name`.
    ///
    /// # Errors
    /// If there is none of this name.
    pub(crate) fn size(&self, name: &str) -> Result<(usize, usize), DataError> {
        Ok(self.place(name)?.size)
    }

    /// The picture `name`, decoded.
    ///
    /// # Errors
    /// If there is none of this name, it cannot be read back, or it is damaged.
    pub(crate) fn decode(&self, name: &str) -> Result<Picture, DataError> {
        let place = self.place(name)?;
        let mut bytes = vec![0; place.length];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(place.offset))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(|source| DataError::read(&std::env::temp_dir(), source))?;
        }
        decode_picture_bytes(&bytes, &self.full_name(name).display().to_string())
    }

    /// The name with the folder of its data file, and with the column if it is not the usual one.
    pub(crate) fn full_name(&self, name: &str) -> PathBuf {
        match self.column.as_str() {
            "" => self.folder.join(name),
            column => self.folder.join(format!("{name} ({column})")),
        }
    }

    fn place(&self, name: &str) -> Result<Stored, DataError> {
        self.places.get(name).copied().ok_or_else(|| {
            DataError::picture(
                name,
                "the data set has no such picture: load the data that the row was read from",
            )
        })
    }
}

/// Collects pictures while rows are read.
pub(crate) struct Collector {
    folder: PathBuf,
    column: String,
    places: HashMap<String, Stored>,
    file: Option<BufWriter<File>>,
    end: u64,
}

impl Collector {
    /// Nothing yet; `folder` is that of the data files, `column` where the pictures stand, or "" for the usual one.
    pub(crate) fn new(folder: &Path, column: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            column: column.to_owned(),
            places: HashMap::new(),
            file: None,
            end: 0,
        }
    }

    /// Copies the picture file `bytes` under `name`, after a look at its header.
    ///
    /// # Errors
    /// Says what is wrong with the bytes, or that the temporary folder is full.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let size = picture_size_bytes(bytes, name).map_err(|error| error.to_string())?;
        let write = |file: &mut Option<BufWriter<File>>| {
            if file.is_none() {
                *file = Some(BufWriter::with_capacity(1 << 20, tempfile::tempfile()?));
            }
            match file {
                Some(file) => file.write_all(bytes),
                None => Ok(()),
            }
        };
        write(&mut self.file).map_err(no_room)?;
        let stored = Stored {
            offset: self.end,
            length: bytes.len(),
            size,
        };
        self.end += bytes.len() as u64;
        self.places.insert(name.to_owned(), stored);
        Ok(())
    }

    /// The pictures collected; `None` if there are none.
    ///
    /// # Errors
    /// If the temporary file cannot be completed.
    pub(crate) fn finish(self) -> Result<Option<EmbeddedPictures>, String> {
        let Some(file) = self.file else {
            return Ok(None);
        };
        let file = file
            .into_inner()
            .map_err(|error| no_room(error.into_error()))?;
        Ok(Some(EmbeddedPictures {
            folder: self.folder,
            column: self.column,
            places: self.places,
            file: Mutex::new(file),
        }))
    }
}

fn no_room(error: std::io::Error) -> String {
    format!(
        "its pictures cannot be copied to {}: {error}. Make room there, or set TMPDIR to a folder with room for them",
        std::env::temp_dir().display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::encode_png;

    #[test]
    fn columns_of_one_row_do_not_share_a_name() {
        let png = encode_png(&Picture::new(1, 1, vec![0; 3]));
        let named = |column| {
            let mut collector = Collector::new(Path::new("data"), column);
            collector.add("a.parquet#0/0", &png).unwrap();
            let pictures = collector.finish().unwrap().unwrap();
            pictures.full_name("a.parquet#0/0")
        };
        assert_eq!(named(""), Path::new("data/a.parquet#0/0"));
        assert_ne!(named(""), named("crops"));
    }

    #[test]
    fn pictures_come_back_in_any_order() {
        let mut collector = Collector::new(Path::new("data"), "");
        let picture = |shade: u8| Picture::new(3, 2, vec![shade; 18]);
        for shade in 0..20 {
            let name = format!("t.parquet#{shade}/0");
            collector.add(&name, &encode_png(&picture(shade))).unwrap();
        }
        let pictures = collector.finish().unwrap().unwrap();
        for shade in [7, 19, 0, 7] {
            let name = format!("t.parquet#{shade}/0");
            assert_eq!(pictures.decode(&name).unwrap(), picture(shade));
            assert_eq!(pictures.size(&name).unwrap(), (3, 2));
        }
        let error = pictures.decode("t.parquet#20/0").unwrap_err().to_string();
        assert!(error.contains("t.parquet#20/0"), "{error}");
        assert!(
            Collector::new(Path::new(""), "")
                .finish()
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let mut collector = Collector::new(Path::new("data"), "");
        for (bytes, wanted) in [(&b""[..], "empty"), (b"<html>", "convert")] {
            let error = collector.add("t.parquet#0/0", bytes).unwrap_err();
            assert!(
                error.contains(wanted) && error.contains("t.parquet#0/0"),
                "{error}"
            );
        }
    }
}
