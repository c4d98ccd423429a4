-- Who holds a package of the view `asked` (its columns `package` and `version`; a version that is null is any).
SELECT DISTINCT packages.snapshot AS snapshot, amis.name AS name, packages.version AS version
FROM packages
JOIN asked ON asked.package = packages.name AND (asked.version IS NULL OR asked.version = packages.version)
JOIN amis ON amis.snapshot = packages.snapshot
ORDER BY snapshot, name, version
