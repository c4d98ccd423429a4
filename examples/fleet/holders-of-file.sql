-- Who holds a file with a content of the view `asked` (its column `digest`).
SELECT DISTINCT files.snapshot AS snapshot, amis.name AS name, files.path AS path
FROM files
JOIN asked ON asked.digest = files.digest
JOIN amis ON amis.snapshot = files.snapshot
ORDER BY snapshot, name, path
