-- What each version changed: the blocks that an upload over its parent puts, and the chunks that its parent does not hold.
-- docs/formats/plan.md has the table of what is put.
WITH pairs AS (
    SELECT snapshots.snapshot AS snapshot, older.snapshot AS parent
    FROM snapshots
    LEFT JOIN snapshots AS older ON older.snapshot = snapshots.parent
),
written AS (
    SELECT blocks.snapshot AS snapshot, blocks.state AS state
    FROM blocks
    JOIN pairs ON pairs.snapshot = blocks.snapshot
    LEFT JOIN blocks AS older ON older.snapshot = pairs.parent AND older.block = blocks.block
    WHERE
        older.state IS NULL
        OR older.state <> blocks.state
        OR (blocks.state = 'data' AND older.chunk <> blocks.chunk)
    UNION ALL
    -- A hole over data is put as zeros, or the parent's bytes would show.
    SELECT pairs.snapshot AS snapshot, 'zero' AS state
    FROM pairs
    JOIN blocks AS older ON older.snapshot = pairs.parent AND older.state = 'data'
    LEFT JOIN blocks ON blocks.snapshot = pairs.snapshot AND blocks.block = older.block
    WHERE blocks.block IS NULL
),
counted AS (
    SELECT
        snapshot,
        sum(CASE WHEN state = 'data' THEN 1 ELSE 0 END) AS data_blocks,
        sum(CASE WHEN state = 'zero' THEN 1 ELSE 0 END) AS zero_blocks
    FROM written
    GROUP BY snapshot
),
news AS (
    SELECT holders.snapshot AS snapshot, count(*) AS new_chunks
    FROM holders
    JOIN pairs ON pairs.snapshot = holders.snapshot
    LEFT JOIN holders AS older ON older.snapshot = pairs.parent AND older.chunk = holders.chunk
    WHERE older.chunk IS NULL
    GROUP BY holders.snapshot
)
SELECT
    pairs.snapshot AS snapshot,
    pairs.parent AS parent,
    CAST(coalesce(counted.data_blocks, 0) AS BIGINT) AS data_blocks,
    CAST(coalesce(counted.zero_blocks, 0) AS BIGINT) AS zero_blocks,
    CAST(coalesce(news.new_chunks, 0) AS BIGINT) AS new_chunks
FROM pairs
LEFT JOIN counted ON counted.snapshot = pairs.snapshot
LEFT JOIN news ON news.snapshot = pairs.snapshot
ORDER BY snapshot
