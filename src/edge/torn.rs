//! Files of lines that are only appended to, after a crash in the middle of a line.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// A crash may have cut the last line short: what comes now begins on a line of its own.
pub(in crate::edge) fn end_torn_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}
