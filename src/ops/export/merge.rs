//! The runs of the table of holders as one.

use std::collections::BTreeSet;
use std::num::NonZero;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::tables::Sorter;
use crate::tables::Table;
use crate::tables::TablesFolder;
use crate::tables::Value;
use crate::tables::read_holders;
use crate::work::Watch;

/// Bytes of a row on its way: chunk, number of the snapshot, count.
const RECORD_LEN: usize = 44;

/// Merges the runs of all exported snapshots, if there are any that are not merged. Returns the rows.
///
/// # Errors
///
/// `Corrupt` if a run is damaged; `Io` if the system refuses. Then the table is as it was.
pub(super) fn merge(
    folder: &TablesFolder,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Option<u64>> {
    let exported = folder.ids(Table::Snapshots)?;
    if folder.each_holders(&exported, |_| Ok(()))? == 0 {
        return folder.sweep().map(|()| None);
    }
    // Numbers are in the order of the names, so that the rows come out in it.
    let names: Vec<String> = exported.iter().map(Digest::hex).collect();
    watch.prepare("merging holders", None);
    folder
        .merge_holders(|table, scratch| {
            let mut sorter = Sorter::<RECORD_LEN>::new(scratch);
            read_runs(folder, &exported, &names, &mut sorter, watch)?;
            let in_order = sorter.finish(watch)?;
            in_order.each_share(
                threads,
                watch,
                |records| Ok(records.to_vec()),
                |records| {
                    for record in &records {
                        let chunk = record.first_chunk().expect("a record");
                        let number =
                            u32::from_be_bytes(*record[32..].first_chunk().expect("a record"));
                        let count =
                            i64::from_be_bytes(*record[36..].first_chunk().expect("a record"));
                        let name = &names[usize::try_from(number).expect("32 bits")];
                        table.row(&[
                            Value::Digest(chunk),
                            Value::Text(name),
                            Value::Integer(count),
                        ])?;
                    }
                    Ok(())
                },
            )
        })
        .map(Some)
}

fn read_runs(
    folder: &TablesFolder,
    exported: &BTreeSet<Digest>,
    names: &[String],
    sorter: &mut Sorter<RECORD_LEN>,
    watch: &dyn Watch,
) -> Result<()> {
    let mut blocks = vec![0_i64; names.len()];
    folder.each_holders(exported, |input| {
        watch.check()?;
        let mut last = (String::new(), 0_u32);
        read_holders(folder.format(), input, &mut |row| {
            if last.0 != row.snapshot {
                let found = names.binary_search_by(|name| name.as_str().cmp(row.snapshot));
                let number = found.map_err(|_| {
                    let text = format!("a row names {:?}, which is not exported", row.snapshot);
                    Error::corrupt(text).in_file(input.path())
                })?;
                last = (row.snapshot.to_owned(), u32::try_from(number).expect("file names"));
            }
            let sum = &mut blocks[usize::try_from(last.1).expect("32 bits")];
            *sum = sum.saturating_add(row.count);
            let mut record = [0; RECORD_LEN];
            record[..32].copy_from_slice(row.chunk);
            record[32..36].copy_from_slice(&last.1.to_be_bytes());
            record[36..].copy_from_slice(&row.count.to_be_bytes());
            sorter.push(&record)
        })
    })?;
    // Runs go once they are merged, so what one of them has lost would be lost for good.
    let mut counted = exported.iter().zip(blocks);
    folder.each_data_blocks(exported, |id, expected| {
        let found = counted.find(|(other, _)| *other == id).map_or(0, |(_, count)| count);
        if i64::try_from(expected) == Ok(found) {
            return Ok(());
        }
        let text = format!("the holders of {id} have {found} blocks of data, expected {expected}");
        let place = folder.path().join(Table::Holders.name());
        Err(Error::corrupt(text).in_file(&place).advise("export into another folder"))
    })
}
