-- Who holds the chunks of the view `asked` (its column `chunk`).
SELECT DISTINCT holders.snapshot AS snapshot, amis.name AS name, holders.count AS blocks
FROM holders
JOIN asked ON asked.chunk = holders.chunk
JOIN amis ON amis.snapshot = holders.snapshot
ORDER BY snapshot, name
