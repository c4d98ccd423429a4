-- What deleting the AMIs of the view `deleted` (its column `ami`) frees: in EBS the blocks that no other snapshot of the
-- same lineage refers to, in a store the chunks that nobody else holds.
WITH RECURSIVE above (snapshot, ancestor, distance) AS (
    SELECT snapshot, snapshot AS ancestor, 0 AS distance FROM snapshots
    UNION ALL
    SELECT above.snapshot, older.snapshot AS ancestor, above.distance + 1 AS distance
    FROM above
    JOIN snapshots ON snapshots.snapshot = above.ancestor
    JOIN snapshots AS older ON older.snapshot = snapshots.parent
),
alive AS (
    SELECT DISTINCT amis.snapshot AS snapshot
    FROM amis
    LEFT JOIN deleted ON deleted.ami = amis.ami
    WHERE deleted.ami IS NULL
),
written AS (
    SELECT blocks.snapshot AS snapshot, blocks.block AS block
    FROM blocks
    JOIN snapshots ON snapshots.snapshot = blocks.snapshot
    LEFT JOIN blocks AS older ON older.snapshot = snapshots.parent AND older.block = blocks.block
    WHERE
        older.state IS NULL
        OR older.state <> blocks.state
        OR (blocks.state = 'data' AND older.chunk <> blocks.chunk)
    UNION ALL
    SELECT snapshots.snapshot AS snapshot, older.block AS block
    FROM snapshots
    JOIN blocks AS older ON older.snapshot = snapshots.parent AND older.state = 'data'
    LEFT JOIN blocks ON blocks.snapshot = snapshots.snapshot AND blocks.block = older.block
    WHERE blocks.block IS NULL
),
-- Each block of a snapshot that stays is the one that was written last on the way to it.
referred AS (
    SELECT alive.snapshot AS snapshot, written.block AS block, min(above.distance) AS distance
    FROM alive
    JOIN above ON above.snapshot = alive.snapshot
    JOIN written ON written.snapshot = above.ancestor
    GROUP BY alive.snapshot, written.block
),
kept AS (
    SELECT DISTINCT above.ancestor AS snapshot, referred.block AS block
    FROM referred
    JOIN above ON above.snapshot = referred.snapshot AND above.distance = referred.distance
),
stored AS (
    SELECT chunk, sum(stored_bytes) AS stored_bytes FROM chunks GROUP BY chunk
),
freed AS (
    SELECT holders.chunk AS chunk
    FROM holders
    LEFT JOIN alive ON alive.snapshot = holders.snapshot
    GROUP BY holders.chunk
    HAVING count(alive.snapshot) = 0
),
in_ebs AS (
    SELECT (SELECT count(*) FROM written) - (SELECT count(*) FROM kept) AS blocks
),
in_store AS (
    SELECT count(*) AS chunks, CAST(coalesce(sum(stored.stored_bytes), 0) AS BIGINT) AS stored_bytes
    FROM freed
    LEFT JOIN stored ON stored.chunk = freed.chunk
)
SELECT in_ebs.blocks AS ebs_blocks, in_store.chunks AS store_chunks, in_store.stored_bytes AS store_bytes
FROM in_ebs CROSS JOIN in_store
